"""Breaks machines as the world does, and repairs them: cable, power, a full disk. See also guest.freeze and crash."""

import subprocess

from . import guest
from .place import OPERATOR, Failure, Machine

# A file system of one page over PATH, its own files still readable beneath: whatever is written there finds no space.
FILL = """
set -e
path=$1 room=/run/lab/fill/$(echo "$1" | tr / _)
mkdir -p "$path" "$room"
if mountpoint -q "$room"; then echo "$path is full already" >&2; exit 1; fi
mount -t tmpfs -o size=64k,nr_inodes=64 full "$room"
mkdir "$room/upper" "$room/work"
mount -t overlay full -o "lowerdir=$path,upperdir=$room/upper,workdir=$room/work" "$path"
dd if=/dev/zero of="$path/.full" bs=4k 2>/dev/null && exit 1
df -h "$path" | tail -n 1
"""
UNFILL = """
set -e
room=/run/lab/fill/$(echo "$1" | tr / _)
mountpoint -q "$room" || { echo "$1 was not filled" >&2; exit 1; }
umount --lazy "$1"
umount --lazy "$room"
rmdir "$room"
"""


def link(machine: Machine, state: str) -> None:
    guest.need_running(machine)
    subprocess.run(machine.lab.inside("ip", "link", "set", machine.link, state), check=True)


def cut(machine: Machine) -> None:
    """Pulls the cable."""
    link(machine, "down")


def heal(machine: Machine) -> None:
    """Plugs the cable in again; the route went with the link."""
    link(machine, "up")
    route = ("ip", "route", "replace", f"{machine.note('ip')}/32", "dev", machine.link, "src", OPERATOR)
    subprocess.run(machine.lab.inside(*route), check=True)


def in_guest(machine: Machine, script: str, path: str) -> None:
    command = guest.enter(machine, ["sh", "-c", script, "fault", path])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"machine {machine.id}: {done.stderr.strip() or 'the disk took everything'}")
    print(done.stdout, end="")


def fill(machine: Machine, path: str = "/var") -> None:
    """Leaves no space under `path` for new files and changed ones, until `unfill` or the next boot."""
    in_guest(machine, FILL, path)


def unfill(machine: Machine, path: str = "/var") -> None:
    in_guest(machine, UNFILL, path)
