"""Error answers in the form each AWS protocol documents, so that SDKs read code and message out of them."""

import json
from xml.sax.saxutils import escape


def error(call, status: int, code: str, message: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of an error answer to `call`."""
    if call.environ.get("HTTP_X_AMZ_TARGET") or not (call.query or call.service == "s3"):
        text = json.dumps({"__type": code, "message": message})
        return status, [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", code)], text.encode()
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if call.service == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>lab</RequestID></Response>"
    elif call.service == "s3":
        text = f"<Error>{inner}<RequestId>lab</RequestId></Error>"
    else:
        kind = "Sender" if status < 500 else "Receiver"
        text = f"<ErrorResponse><Error><Type>{kind}</Type>{inner}</Error><RequestId>lab</RequestId></ErrorResponse>"
    return status, [("Content-Type", "text/xml")], text.encode()
