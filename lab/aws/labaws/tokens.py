"""ClientToken: a call repeated with the same token and the same parameters is answered as the first was.

AWS documents this for most Create calls; moto knows it of none. RunInstances has its own memory (patches/instances.py)
because its repeated answer shows the instance as it is by then.
"""

import hashlib
import re

from . import answers

MEMORY: dict[tuple[str, str, str], tuple[str, tuple]] = {}
CODE = re.compile(rb"<Code>([^<]+)</Code>|\"__type\": ?\"([^\"]+)\"")


def token(call) -> str | None:
    return call.query.get("ClientToken") if call.changes and call.action != "RunInstances" else None


def digest(call) -> str:
    return hashlib.sha256(repr(sorted(call.query.items())).encode()).hexdigest()


def known(call) -> tuple | None:
    """The first answer, a refusal if the parameters differ, None if the token is new."""
    given = token(call)
    entry = MEMORY.get((call.region, call.action, given)) if given else None
    if entry is None:
        return None
    if entry[0] != digest(call):
        message = f"The client token {given} was used with other parameters."
        return answers.error(call, 400, "IdempotentParameterMismatch", message)
    return entry[1]


def remember(call, answer: tuple) -> None:
    given = token(call)
    if given and answer[0] < 400:
        MEMORY[call.region, call.action, given] = (digest(call), answer)


def code_in(answer: tuple) -> str:
    """The error code of an answer, for the log."""
    found = CODE.search(answer[2])
    return (found.group(1) or found.group(2)).decode() if found else str(answer[0])
