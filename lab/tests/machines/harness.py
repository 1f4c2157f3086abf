"""A lab for each test module, driven as the emulator drives it: by the machine command and its network JSON."""

import json
import os
import shutil
import subprocess
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAB = Path(__file__).resolve().parents[2] / "lab"
PATIENCE = 30.0
# Seconds that the first boot of a machine may take where others boot and compile beside it.
BOOT = 120.0
EVERYWHERE = "0.0.0.0/0"
OPERATOR = "192.0.2.10/32"
PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])).close()
    print("open")
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("silent")
"""

CALL = """
import boto3, json, sys
from botocore.config import Config
service, call, given = sys.argv[1:]
client = boto3.client(service, config=Config(retries={"total_max_attempts": 1}))
print(json.dumps(getattr(client, call)(**json.loads(given)), default=str))
"""


def eventually(look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Looks until the answer is true; fails with the last answer when the time is up."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > end:
            raise AssertionError(f"still {seen!r} after {seconds} s")
        time.sleep(0.1)
    return seen


def rule(port: int | None, *, cidrs: list[str] | None = None, groups: list[str] | None = None, last: int = 0) -> dict:
    """One rule for TCP; `port` None is everything."""
    protocol = "-1" if port is None else "tcp"
    first = -1 if port is None else port
    return {"proto": protocol, "from": first, "to": last or first, "cidrs": cidrs or [], "groups": groups or []}


ANYTHING = rule(None, cidrs=[EVERYWHERE])


class Lab:
    def __init__(self, name: str) -> None:
        self.name = f"{name}-{os.getpid()}"
        self.environment = {**os.environ, "LAB_NAME": self.name}
        self.environment.pop("SRE_LAB_DIR", None)
        self.dir = Path("/var/lib/sre-lab") / self.name
        self.network: dict = {"vpcs": [], "machines": [], "groups": {}, "nlbs": [], "names": {}}

    def call(self, *words: object, given: str = "") -> subprocess.CompletedProcess:
        command = [str(LAB), *map(str, words)]
        return subprocess.run(command, env=self.environment, input=given, capture_output=True, text=True, timeout=300)

    def do(self, *words: object, given: str = "") -> str:
        done = self.call(*words, given=given)
        if done.returncode != 0:
            raise AssertionError(f"{words} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def up(self, *, aws: bool = False) -> "Lab":
        self.do("up", *([] if aws else ["--without-aws"]))
        return self

    def api(self, service: str, call: str, **given: Any) -> dict:
        """One call of the lab's AWS API, without retries."""
        return json.loads(self.do("exec", "--", "python3", "-c", CALL, service, call, json.dumps(given)))

    def down(self) -> None:
        """Takes the lab down, saved states included."""
        self.do("down")
        shutil.rmtree(self.dir, ignore_errors=True)

    def put(self, **parts: Any) -> None:
        """Changes parts of the network and applies it."""
        self.network |= parts
        self.do("machine", "network", given=json.dumps(self.network))

    def declare(self, machine: str, ip: str, vpc: str, groups: list[str], public: str | None = None) -> None:
        others = [m for m in self.network["machines"] if m["id"] != machine]
        entry = {"id": machine, "ip": ip, "public_ip": public, "vpc": vpc, "groups": groups}
        self.put(machines=[*others, entry])

    def boot(self, machine: str, ip: str, image: str = "ami-base", user_data: str = "") -> None:
        """Switches a machine on and waits until its first boot is through."""
        given = self.dir / "user-data"
        given.write_text(user_data)
        self.do("machine", "up", machine, ip, image, "", given)
        self.wait(machine)

    def wait(self, machine: str) -> None:
        done = ("test", "-e", "/run/cloud-init/result.json")
        eventually(lambda: self.call("machine", "exec", machine, *done).returncode == 0, BOOT)
        self.do("machine", "exec", machine, "systemctl", "is-system-running", "--wait")

    def on(self, machine: str, *command: str) -> str:
        return self.do("machine", "exec", machine, *command).strip()

    def serve(self, machine: str, port: int) -> None:
        """Something that listens on `port` of a machine."""
        server = ("python3", "-m", "http.server", str(port))
        self.on(machine, "systemd-run", "--quiet", f"--unit=web-{port}", *server)
        listens = ("sh", "-c", f"ss -Hltn 'sport = {port}'")
        eventually(lambda: self.on(machine, *listens))

    def reach(self, sender: str, ip: str, port: int, limit: float = 0.6) -> str:
        """`open`, `refused` or `silent`, as a machine sees it, or the operator."""
        probe = ("python3", "-c", PROBE, ip, str(port), str(limit))
        return self.do("exec", "--", *probe).strip() if sender == "operator" else self.on(sender, *probe)

    def state(self, machine: str) -> str:
        for line in self.do("machines").splitlines():
            if line.split()[0] == machine:
                return line.split()[2]
        return "gone"

    def remains(self) -> list[str]:
        """What a lab that is down has left behind."""
        left = [str(self.dir)] if self.dir.exists() else []
        left += [line for line in Path("/proc/mounts").read_text().splitlines() if self.name in line]
        left += [line for line in run("ip", "netns").splitlines() if self.name in line]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                cgroup = (process / "cgroup").read_text()
                command = (process / "cmdline").read_text().replace("\0", " ")
                dead = not alive(process.name)
            except OSError:
                continue
            if not dead and (f"sre-lab/{self.name}" in cgroup or f"sre-lab/{self.name}" in command):
                left.append(f"{process.name} {command}")
        left += [str(group) for group in Path("/sys/fs/cgroup").rglob(f"sre-lab/{self.name}")]
        return left


def alive(pid: str) -> bool:
    """Whether a process runs; one that has ended may stay until PID 1 collects it."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class InLab(unittest.TestCase):
    """Tests that share one lab; `prepare` fills it."""

    lab: Lab

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Lab(f"test-{cls.__name__.lower()}").up()
        cls.addClassCleanup(cls.lab.down)
        cls.prepare()

    @classmethod
    def prepare(cls) -> None:
        pass
