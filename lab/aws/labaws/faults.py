"""Planted faults: errors, delays, lost answers, per action and counted.

`action` is an API action (`RunInstances`, `elasticloadbalancing:RegisterTargets`, `*`) or a call of the machine
command (`machine:up`). `match` narrows it to requests whose body holds that text. `count` -1 means until cleared.
A lost answer lets the effect happen and closes the connection without a word. `then` is a verb of the machine command
that follows on the machine at once: `machine:up then=freeze` is a machine that is switched on and never boots.
"""

import threading
from dataclasses import asdict, dataclass

LOCK = threading.Lock()
PLANTED: list["Fault"] = []


@dataclass
class Fault:
    action: str
    error: str | None = None
    message: str = "injected by the lab"
    status: int = 400
    count: int = 1
    delay: float = 0.0
    lose_answer: bool = False
    then: str = ""
    match: str = ""
    hits: int = 0

    def fits(self, service: str, action: str, body: str) -> bool:
        if self.count == 0 or self.match not in body:
            return False
        return self.action in (action, f"{service}:{action}") or (self.action == "*" and service != "machine")


def plant(given: dict) -> dict:
    """Adds one fault; an unknown key is a TypeError that names it."""
    fault = Fault(**given)
    fault.count, fault.status, fault.delay = int(fault.count), int(fault.status), float(fault.delay)
    with LOCK:
        PLANTED.append(fault)
    return asdict(fault)


def listed() -> list[dict]:
    with LOCK:
        return [asdict(fault) for fault in PLANTED]


def clear() -> None:
    with LOCK:
        PLANTED.clear()


def take(service: str, action: str, body: str) -> Fault | None:
    """The first fault that fits, counted down."""
    with LOCK:
        for fault in PLANTED:
            if fault.fits(service, action, body):
                fault.hits += 1
                fault.count -= 1 if fault.count > 0 else 0
                return fault
    return None


def machine(verb: str) -> Fault | None:
    return take("machine", verb, "")


def waits_for(verb: str) -> bool:
    """Is a fault planted for this call of the machine command?"""
    with LOCK:
        return any(fault.fits("machine", verb, "") for fault in PLANTED)
