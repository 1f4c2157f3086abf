"""The lab's own doors, under /lab/: faults, save and restore, a guest that switched itself off."""

import json

from . import faults, network, state
from .patches import instances

Answer = tuple[int, list[tuple[str, str]], bytes]


def answer(method: str, path: str, body: bytes) -> Answer:
    """Answers with JSON; a bad request says what is wrong with it."""
    door = DOORS.get((method, path))
    if door is None:
        return said(404, {"error": f"no door {method} {path}; there are {sorted(' '.join(d) for d in DOORS)}"})
    try:
        return said(200, door(json.loads(body or b"{}")))
    except (ValueError, TypeError, KeyError, OSError) as wrong:
        return said(400, {"error": f"{type(wrong).__name__}: {wrong}"})


def said(status: int, what: object) -> Answer:
    return status, [("Content-Type", "application/json")], (json.dumps(what) + "\n").encode()


def clear(_: dict) -> list:
    faults.clear()
    return []


DOORS = {
    ("POST", "/lab/fault"): lambda given: faults.plant(given),
    ("GET", "/lab/fault"): lambda _: faults.listed(),
    ("DELETE", "/lab/fault"): clear,
    ("POST", "/lab/save"): lambda given: state.save(given["file"]),
    ("POST", "/lab/restore"): lambda given: state.restore(given["file"]),
    ("POST", "/lab/poweroff"): lambda given: {"heard": state.changed(instances.powered_off, given["id"])},
    ("GET", "/lab/ready"): lambda _: {"ready": True, "network": network.failed or "applied"},
}
