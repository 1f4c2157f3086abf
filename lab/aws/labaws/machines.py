"""Calls of the lab's machine command: in order per machine, in the background, their outcome moves the state on.

A call is noted on the thing it is for (`lab_call`) until it is done, so that an emulator that was stopped or killed in
between asks again; the machine command's verbs may be repeated. Calls leave the outbox only after the network was
told (see world.change): a machine never comes up before its security groups.
"""

import concurrent.futures
import subprocess
import time
from typing import Any

from . import faults, settings, world

POOL = concurrent.futures.ThreadPoolExecutor(64, "machine")
OUTBOX: list[tuple[Any, str, tuple[str, ...]]] = []
LAST: dict[str, concurrent.futures.Future] = {}
ANSWER_AFTER = ("image", "copyimage")  # packer asks for an image's state every 15 s; a planted fault shows it pending


def ask(thing: Any, verb: str, *words: object) -> None:
    """Puts a call for `thing` (an instance or an image) into the outbox; `thing.lab_done(verb, why)` hears of it."""
    call = (verb, tuple(str(word) for word in words))
    thing.lab_call = call
    OUTBOX.append((thing, *call))


def send() -> None:
    """A follower of world.change: starts what was asked for."""
    while OUTBOX:
        thing, verb, words = OUTBOX.pop(0)
        queue = words[1] if verb == "image" else words[0]
        waits = verb in ANSWER_AFTER and not faults.waits_for(verb)
        job = LAST[queue] = POOL.submit(carry_out, LAST.get(queue), thing, verb, words)
        if waits:
            world.before_answer(job.result)


def carry_out(previous: Any, thing: Any, verb: str, words: tuple[str, ...]) -> None:
    if previous:
        concurrent.futures.wait([previous])
    why = run(verb, *words)
    with world.change():
        if getattr(thing, "lab_call", None) == (verb, words):
            thing.lab_call = None
        thing.lab_done(verb, why)


def run(verb: str, *words: str, given: str | None = None) -> str | None:
    """Runs one call; says why it failed, or None."""
    planted = faults.machine(verb)
    if planted:
        time.sleep(planted.delay)
        if planted.error:
            return planted.error
    if not settings.current.machine:
        return None
    started = time.monotonic()
    command = [*settings.current.machine, verb, *words]
    done = subprocess.run(command, input=given or "", capture_output=True, text=True)
    took = time.monotonic() - started
    if planted and planted.then and done.returncode == 0:
        after = [*settings.current.machine, planted.then, words[0]]
        done = subprocess.run(after, input="", capture_output=True, text=True)
    if verb != "network" or done.returncode != 0:
        world.say("machine", verb, *words, f"rc {done.returncode} {took:.2f} s", done.stderr.strip()[-500:])
    return None if done.returncode == 0 else done.stderr.strip()[-500:] or f"exit code {done.returncode}"


def resume() -> None:
    """Asks again for what was under way when the state was written."""
    with world.change():
        for backend in world.ec2():
            for thing in [*world.instances(backend), *backend.amis.values()]:
                call = getattr(thing, "lab_call", None)
                if call and hasattr(thing, "lab_files"):
                    thing.lab_files()
                if call:
                    ask(thing, call[0], *call[1])
