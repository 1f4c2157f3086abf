"""States that change by themselves after a while: a NAT gateway becomes available, an NLB active.

Due times stand on the things themselves, so they are saved and restored with them; every request first settles what
is due. Nothing runs in the background.
"""

import time
from typing import Any

from . import settings, world


def later(thing: Any, attribute: str, value: Any, seconds: float | None = None) -> None:
    """Sets `thing.attribute` to `value` in `seconds` (default: the lab's settle time)."""
    due = time.time() + (settings.current.settle if seconds is None else seconds)
    thing.__dict__.setdefault("lab_due", []).append((due, attribute, value))


def settle(thing: Any) -> None:
    now = time.time()
    waiting = []
    for due, attribute, value in thing.__dict__.get("lab_due", ()):
        if due <= now:
            setattr(thing, attribute, value)
        else:
            waiting.append((due, attribute, value))
    if "lab_due" in thing.__dict__:
        thing.lab_due = waiting


def settle_all() -> None:
    """Brings every thing up to now; interfaces marked `lab_gone` disappear with their address."""
    for backend in world.ec2():
        for snapshot in backend.snapshots.values():
            settle(snapshot)
        for gateway in backend.nat_gateways.values():
            settle(gateway)
            if gateway.state == "deleted" and gateway._eni:
                release_nat(backend, gateway)
        for eni in list(backend.enis.values()):
            settle(eni)
            if getattr(eni, "lab_gone", False):
                eni.delete()
    for backend in world.elb():
        for balancer in backend.load_balancers.values():
            settle(balancer)
        for group in backend.target_groups.values():
            forget_drained(group)


def release_nat(backend: Any, gateway: Any) -> None:
    """A deleted NAT gateway gives back its interface and lets go of its elastic address."""
    for address in backend.addresses:
        if address.eni is gateway._eni:
            backend.disassociate_address(address=address.public_ip)
    gateway._eni.lab_gone = True
    gateway._eni.delete()
    gateway._eni = None


def forget_drained(group: Any) -> None:
    now = time.time()
    for target, until in list(getattr(group, "lab_draining", {}).items()):
        if until <= now:
            del group.lab_draining[target]
