"""moto's state, seen as a whole: the one lock, the live things, and what must follow a change.

Whoever changes something does it inside `change()`: on leaving, every follower (network, load balancer, machine
queue, store) runs once, in the order in which they were registered, still under the lock.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

from moto.core.base_backend import BackendDict
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

from . import settings

LOCK = threading.RLock()
FOLLOWERS: list[Callable[[], None]] = []
WAITS = threading.local()


def say(*words: object) -> None:
    print("emulator:", *words, file=sys.stderr, flush=True)


@contextlib.contextmanager
def change() -> Iterator[None]:
    """Holds the lock; afterwards brings everything that depends on the state up to date."""
    with LOCK:
        try:
            yield
        finally:
            for follow in FOLLOWERS:
                follow()


def before_answer(wait: Callable[[], object]) -> None:
    """Lets the current request wait for something after it gave the lock back and before it answers."""
    if not hasattr(WAITS, "calls"):
        WAITS.calls = []
    WAITS.calls.append(wait)


def waits() -> list[Callable[[], object]]:
    calls, WAITS.calls = getattr(WAITS, "calls", []), []
    return calls


def in_use() -> Iterator[tuple[str, str, str, object]]:
    """Every backend somebody has used: service, account, region, backend."""
    for service in list(BackendDict._instances):
        for account, regions in list(service.items()):
            for region, backend in list(regions.items()):
                yield service.service_name, account, region, backend


def ec2() -> list:
    return [backend for _, backend in sorted(ec2_backends[settings.ACCOUNT].items())]


def elb() -> list:
    return [backend for _, backend in sorted(elbv2_backends[settings.ACCOUNT].items())]


def instances(backend: object) -> list:
    """Every instance of one region, those terminated included."""
    return [i for reservation in backend.reservations.values() for i in reservation.instances]


def live_instances(backend: object) -> list:
    return [i for i in instances(backend) if i._state.name != "terminated"]


def groups_of(eni: object) -> list:
    """The security groups that guard an interface: an instance's replace those of its first interface."""
    if eni.instance and eni.instance.security_groups:
        return list(eni.instance.security_groups)
    return list(eni._group_set)


def instance(instance_id: str) -> object | None:
    for backend in ec2():
        for candidate in instances(backend):
            if candidate.id == instance_id:
                return candidate
    return None


def instance_at(address: str) -> object | None:
    for backend in ec2():
        for candidate in live_instances(backend):
            if candidate.private_ip == address:
                return candidate
    return None
