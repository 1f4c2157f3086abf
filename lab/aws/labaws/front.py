"""Every request passes here: planted faults, one lock, repeated client tokens, unimplemented actions, the log.

moto answers 500 to what it does not implement, and SDKs retry a 500 for minutes: here that is a 400 with the code
`LabNotImplemented`, said loudly. One line of JSON per call goes to DIR/api.jsonl.
"""

import io
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable

from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends

from . import answers, doors, faults, settings, tokens, world
from .calls import IDS, Call
from .settle import settle_all

Answer = tuple[int, list[tuple[str, str]], bytes]
MOTO = DomainDispatcherApplication(create_backend_app)
WRITING = threading.Lock()


def application(environ: dict, start_response: Callable) -> Iterable[bytes]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    path = environ.get("PATH_INFO", "")
    if path.startswith("/lab/"):
        status, headers, text = doors.answer(environ["REQUEST_METHOD"], path, body)
    else:
        call = Call(environ, body)
        answer = logged(call)
        if answer is None:
            return hang_up(environ)
        status, headers, text = answer
    start_response(f"{status} {'OK' if status < 400 else 'Error'}", headers)
    return [text]


def hang_up(environ: dict) -> Iterable[bytes]:
    """Closes the connection without an answer."""
    connection = environ.get("werkzeug.socket")
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("answer lost on purpose")


def logged(call: Call) -> Answer | None:
    started = time.time()
    fault = faults.take(call.service, call.action, call.body)
    answer, note = answered(call, fault)
    line = {
        "time": round(started, 3),
        "service": call.service,
        "action": call.action,
        "region": call.region,
        "iam": call.iam(),
        "key": call.key,
        "principal": principal(call.key),
        "agent": call.environ.get("HTTP_USER_AGENT", ""),
        "status": answer[0] if answer else 0,
        "ms": round(1000 * (time.time() - started)),
        "resources": call.resources(),
    }
    if answer and call.changes and answer[0] < 400:
        line["made"] = [i for i in dict.fromkeys(IDS.findall(answer[2].decode("utf-8", "replace")))][:50]
    line.update(note)
    with WRITING, (settings.current.dir / "api.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    return answer


def principal(key: str) -> str:
    """Whose access key it is: an assumed role's or a user's ARN, else the account."""
    with world.LOCK:
        for partition in sts_backends[settings.ACCOUNT].values():
            for role in partition.assumed_roles:
                if role.access_key_id == key:
                    return role.arn
        for partition in iam_backends[settings.ACCOUNT].values():
            for user in partition.users.values():
                if any(known.access_key_id == key for known in user.access_keys):
                    return user.arn
    return f"arn:aws:iam::{settings.ACCOUNT}:root"


def answered(call: Call, fault: faults.Fault | None) -> tuple[Answer | None, dict]:
    """The answer, None for a lost one, and what else the log should say."""
    note: dict = {"fault": fault.action} if fault else {}
    if fault and fault.delay:
        time.sleep(fault.delay)
    if fault and fault.error and not fault.lose_answer:
        return answers.error(call, fault.status, fault.error, fault.message), {**note, "error": fault.error}
    answer, error = effect(call)
    if error:
        note["error"] = error
    if fault and fault.lose_answer:
        return None, {**note, "lost": True}
    return answer, note


def effect(call: Call) -> tuple[Answer, str | None]:
    """Carries the call out under the lock; afterwards waits for what it must wait for."""
    with world.change():
        settle_all()
        known = tokens.known(call)
        answer = known or moto(call)
        if known is None:
            tokens.remember(call, answer)
    for wait in world.waits():
        wait()
    if answer[0] >= 500:
        return not_implemented(call, f"status {answer[0]}: {answer[2].decode('utf-8', 'replace')[-800:]}")
    return answer, tokens.code_in(answer) if answer[0] >= 400 else None


def moto(call: Call) -> Answer:
    got: dict = {}

    def start_response(status, headers, exc_info=None):
        got["status"], got["headers"] = int(status.split()[0]), headers

    try:
        text = b"".join(MOTO(call.environ, start_response))
    except Exception:
        return 599, [], traceback.format_exc().encode()
    return got["status"], got["headers"], text


def not_implemented(call: Call, why: str) -> tuple[Answer, str]:
    world.say(f"NOT IMPLEMENTED {call.service}:{call.action}:", why)
    message = f"the lab does not implement {call.service}:{call.action} with these parameters"
    return answers.error(call, 400, "LabNotImplemented", message), "LabNotImplemented"
