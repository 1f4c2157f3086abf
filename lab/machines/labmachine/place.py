"""Where everything of one lab lies, and the fixed addresses in it.

`LAB_NAME` names the lab (default `lab`), `SRE_LAB_DIR` its directory, `SRE_LAB_BASE` the root file system that
machines of an unknown image start from. `lab/lab` writes the last one into the lab's directory, so that the machine
command works with the first alone.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

OPERATOR = "192.0.2.10"  # whatever runs through `lab exec` comes from here
GATEWAY = "169.254.1.1"  # the next hop of every machine: the lab's namespace
METADATA = "169.254.169.254"
RESOLVER = "169.254.169.253"
PUBLIC = "203.0.113.0/24"


class Failure(Exception):
    """Why a verb could not be carried out, in words for the console."""


def cgroup_root() -> Path:
    """The cgroup v2 tree, wherever this machine has it."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise Failure("no cgroup2 file system is mounted; type: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def safe(word: str, what: str) -> str:
    """Refuses what could leave the lab's directory when used as a file name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", word):
        raise Failure(f"`{word}` is not a usable {what}")
    return word


@dataclass(frozen=True)
class Lab:
    """One lab by name."""

    name: str
    dir: Path

    @classmethod
    def from_environment(cls) -> "Lab":
        name = safe(os.environ.get("LAB_NAME") or "lab", "LAB_NAME")
        return cls(name, Path(os.environ.get("SRE_LAB_DIR") or f"/var/lib/sre-lab/{name}"))

    @property
    def netns(self) -> Path:
        return Path(f"/run/netns/sre-{self.name}")

    @cached_property
    def cgroup(self) -> Path:
        return cgroup_root() / "sre-lab" / self.name

    @property
    def machines(self) -> Path:
        return self.dir / "machines"

    @property
    def images(self) -> Path:
        return self.dir / "images"

    @property
    def base(self) -> Path:
        """The root file system of the base image."""
        given = os.environ.get("SRE_LAB_BASE")
        base = Path(given) if given else self.dir / "base"
        if not (base / "usr").is_dir():
            raise Failure(f"no base image at {base}; type: lab/lab setup, then lab/lab up")
        return base.resolve()

    def inside(self, *command: str) -> list[str]:
        """`command`, to be run in the lab's network namespace."""
        if not self.netns.exists():
            raise Failure(f"lab `{self.name}` is not up; type: lab/lab up")
        return ["nsenter", f"--net={self.netns}", *command]

    def machine(self, machine_id: str) -> "Machine":
        return Machine(self, safe(machine_id, "machine id"))

    def every_machine(self) -> list["Machine"]:
        if not self.machines.is_dir():
            return []
        return [Machine(self, d.name) for d in sorted(self.machines.iterdir()) if (d / "ip").exists()]


@dataclass(frozen=True)
class Machine:
    """One machine by id. `dir` holds `ip`, `image`, `lower`, the disk (`upper`, `work`) and `console.log`."""

    lab: Lab
    id: str

    @property
    def dir(self) -> Path:
        return self.lab.machines / self.id

    @property
    def cgroup(self) -> Path:
        return self.lab.cgroup / "machines" / self.id

    @property
    def link(self) -> str:
        return link_name(self.id)

    @property
    def console(self) -> Path:
        return self.dir / "console.log"

    def note(self, name: str) -> str:
        path = self.dir / name
        if not path.exists():
            raise Failure(f"no machine `{self.id}`")
        return path.read_text().strip()

    def write(self, name: str, text: str) -> None:
        (self.dir / name).write_text(text + "\n")


def link_name(machine_id: str) -> str:
    """The host's end of a machine's cable."""
    return "m" + hashlib.sha1(machine_id.encode()).hexdigest()[:12]
