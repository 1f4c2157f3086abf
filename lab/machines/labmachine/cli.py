"""The verbs of the machine command, and their words."""

import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from . import disk, faults, guest, network
from .place import Failure, Lab, Machine

USAGE = """\
machine VERB …   one machine per cloud instance, in the lab named by LAB_NAME

  up ID IP IMAGE [PUBKEY_FILE [USERDATA_FILE [METADATA_FILE]]]
                                                 make a machine and switch it on; with a metadata file of its own it
                                                 asks no metadata service
  start|stop|reboot|down ID                      power; down takes it away with its disk
  image IMAGE ID | copyimage NEW OLD | rmimage IMAGE
  network [PLATFORM]                             apply the network given as JSON on standard input; another platform's
                                                 part of it stays
  list                                           id, address, state and image of every machine
  crash ID | freeze ID | thaw ID                 power loss; a machine that hangs
  cut ID | heal ID                               its cable
  fill ID [PATH] | unfill ID [PATH]              no space left under PATH (default /var)
  exec ID CMD… | log ID                          look inside without SSH
  save DIR | restore DIR | downall               all machines and images
"""


@contextmanager
def alone(machine: Machine):
    """One call at a time per machine, whoever calls."""
    machine.lab.machines.mkdir(parents=True, exist_ok=True)
    with open(machine.lab.machines / f".{machine.id}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(lab: Lab, machine_id: str, ip: str, image: str, *files: str) -> None:
    if len(files) > 3:
        raise Failure("up: at most three files are taken")
    public_key, user_data, metadata = [*(Path(f) if f else None for f in files), None, None, None][:3]
    machine = lab.machine(machine_id)
    with alone(machine):
        disk.create(machine, ip, image, public_key, user_data, metadata)
        guest.boot(machine)


def start(machine: Machine) -> None:
    machine.note("ip")
    guest.boot(machine)


def down(machine: Machine) -> None:
    guest.down(machine)
    disk.collect(machine.lab)


def crash(machine: Machine) -> None:
    machine.note("ip")
    guest.crash(machine)


def image(lab: Lab, image_id: str, machine_id: str) -> None:
    machine = lab.machine(machine_id)
    with alone(machine):
        disk.capture(machine, image_id)


def state(machine: Machine) -> str:
    if guest.frozen(machine):
        return "frozen"
    return "on" if guest.running(machine) else "off"


def list_machines(lab: Lab) -> None:
    for machine in lab.every_machine():
        print(machine.id, machine.note("ip"), state(machine), machine.note("image"))


def execute(lab: Lab, machine_id: str, *command: str) -> None:
    if not command:
        raise Failure("exec: no command given")
    inside = guest.enter(lab.machine(machine_id), list(command))
    os.execvp(inside[0], inside)


def log(lab: Lab, machine_id: str) -> None:
    machine = lab.machine(machine_id)
    machine.note("ip")
    sys.stdout.write(machine.console.read_text(errors="replace"))


def restore(lab: Lab, source: str) -> None:
    running = disk.restore(lab, Path(source))
    for machine in running:
        (machine.dir / "was-on").unlink()
        guest.boot(machine)


def downall(lab: Lab) -> None:
    for machine in lab.every_machine():
        guest.down(machine)
    disk.collect(lab)


ON_ONE: dict[str, Callable[..., None]] = {
    "start": start,
    "stop": guest.stop,
    "reboot": guest.reboot,
    "down": down,
    "crash": crash,
    "freeze": guest.freeze,
    "thaw": guest.thaw,
    "cut": faults.cut,
    "heal": faults.heal,
    "fill": faults.fill,
    "unfill": faults.unfill,
}
ON_LAB: dict[str, Callable[..., None]] = {
    "up": up,
    "image": image,
    "copyimage": disk.alias,
    "rmimage": disk.forget,
    "list": list_machines,
    "network": lambda lab, platform="": network.apply(lab, sys.stdin.read(), platform),
    "exec": execute,
    "log": log,
    "save": lambda lab, target: disk.save(lab, Path(target)),
    "restore": restore,
    "downall": downall,
}


def carry_out(verb: str, words: list[str]) -> None:
    lab = Lab.from_environment()
    if verb in ON_ONE:
        machine = lab.machine(words[0] if words else "")
        with alone(machine):
            ON_ONE[verb](machine, *words[1:])
    else:
        ON_LAB[verb](lab, *words)


def main(words: list[str]) -> int:
    verb, rest = (words[0], words[1:]) if words else ("help", [])
    if verb not in ON_ONE and verb not in ON_LAB:
        print(USAGE, end="", file=sys.stdout if verb in ("help", "--help") else sys.stderr)
        return 0 if verb in ("help", "--help") else 2
    if os.geteuid() != 0:
        print("error: machines need root; type: sudo " + " ".join(["lab/machines/machine", *words]), file=sys.stderr)
        return 1
    try:
        carry_out(verb, rest)
    except Failure as failure:
        print(f"error: {verb}: {failure}", file=sys.stderr)
        return 1
    except TypeError as error:
        if "positional argument" not in str(error):
            raise
        print(f"error: {verb}: wrong number of words\n{USAGE}", end="", file=sys.stderr)
        return 2
    return 0
