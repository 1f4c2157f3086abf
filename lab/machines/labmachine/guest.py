"""Runs machines: boot, shutdown, reboot, power loss, and what is known of a running one.

A machine is a systemd-nspawn guest under one supervisor (boot.sh) in a cgroup of its own: the kernel knows exactly
which processes belong to it, and one write ends them all.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .place import GATEWAY, OPERATOR, Failure, Machine, cgroup_root

BOOT = Path(__file__).resolve().parent.parent / "boot.sh"
BOOT_LIMIT = 60.0  # until the guest's systemd runs, not until it is up
SHUTDOWN_LIMIT = 100.0  # pods outlive their kubelet; systemd waits 60 to 75 s for them
POWEROFF, REBOOT = signal.SIGRTMIN + 4, signal.SIGRTMIN + 5  # what systemd as PID 1 listens to
# What nspawn takes from a guest; who enters a guest from outside must give it up too.
DROPPED = (
    "sys_time,sys_module,sys_rawio,sys_pacct,mac_admin,mac_override,wake_alarm,block_suspend,perfmon,bpf,"
    "checkpoint_restore,audit_read,ipc_lock"
)


def running(machine: Machine) -> bool:
    """Whether any process of the machine lives."""
    try:
        return "populated 1" in (machine.cgroup / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def leader(machine: Machine) -> int | None:
    """The guest's PID 1, as this side numbers it."""
    try:
        processes = (machine.cgroup / "payload/init.scope/cgroup.procs").read_text().split()
    except OSError:
        return None
    return int(processes[0]) if processes else None


def frozen(machine: Machine) -> bool:
    return running(machine) and (machine.cgroup / "cgroup.freeze").read_text().strip() == "1"


def boot(machine: Machine) -> None:
    """Switches a machine on; returns when its systemd runs. A running one is left alone."""
    if running(machine):
        return
    sweep(machine)
    machine.cgroup.mkdir(parents=True, exist_ok=True)
    for note in ("exit", "stopping"):
        (machine.dir / note).unlink(missing_ok=True)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "DIR": str(machine.dir),
        "ID": machine.id,
        "IP": machine.note("ip"),
        "LINK": machine.link,
        "CGROUP": str(machine.cgroup),
        "CGROUP_ROOT": str(cgroup_root()),
        "LOWER": machine.note("lower"),
        "GATEWAY": GATEWAY,
        "OPERATOR": OPERATOR,
        "ON_POWEROFF": os.environ.get("SRE_LAB_ON_POWEROFF", ""),
    }
    with open(machine.dir / "supervisor.log", "w") as log:
        supervisor = subprocess.Popen(
            machine.lab.inside("unshare", "--mount", "--propagation", "private", str(BOOT)),
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + BOOT_LIMIT
    while leader(machine) is None:
        if supervisor.poll() is not None:
            raise Failure(f"machine {machine.id} did not start\n{tail(machine)}")
        if time.monotonic() > until:
            crash(machine)
            raise Failure(f"machine {machine.id} did not start within {BOOT_LIMIT:.0f} s\n{tail(machine)}")
        time.sleep(0.02)


def tail(machine: Machine) -> str:
    """The last words of a machine that did not start."""
    lines: list[str] = []
    for name in ("supervisor.log", "console.log"):
        path = machine.dir / name
        if path.exists():
            lines += path.read_text(errors="replace").splitlines()[-5:]
    return "\n".join(lines)


def wait_until_off(machine: Machine, limit: float) -> bool:
    """Sleeps until the machine's last process is gone; the kernel wakes us. False: it still runs."""
    until = time.monotonic() + limit
    if not machine.cgroup.exists():
        return True
    with open(machine.cgroup / "cgroup.events") as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while True:
            events.seek(0)
            if "populated 0" in events.read():
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            poller.poll(left * 1000)


def stop(machine: Machine) -> None:
    """Shuts the guest down as a power button does; after SHUTDOWN_LIMIT the power is cut."""
    machine.note("ip")
    thaw(machine)
    pid = leader(machine)
    if pid is not None:
        (machine.dir / "stopping").touch()
        os.kill(pid, POWEROFF)
        wait_until_off(machine, SHUTDOWN_LIMIT)
    crash(machine)


def reboot(machine: Machine) -> None:
    """Asks the guest to restart; returns at once, as the API's call does."""
    pid = leader(machine)
    if pid is None:
        raise Failure(f"machine {machine.id} is not running")
    os.kill(pid, REBOOT)


def crash(machine: Machine) -> None:
    """Power loss: everything dies at once, the disk stays as it is."""
    if running(machine):
        (machine.cgroup / "cgroup.kill").write_text("1")
        if not wait_until_off(machine, 20):
            raise Failure(f"machine {machine.id} has processes that do not die")
    sweep(machine)


def sweep(machine: Machine) -> None:
    """Removes what a machine that is off has left in the kernel: its cable and its cgroups."""
    link = machine.lab.inside("ip", "link", "delete", machine.link)
    subprocess.run(link, stderr=subprocess.DEVNULL, check=False)  # mostly it went with the guest
    if not machine.cgroup.exists():
        return
    until = time.monotonic() + 5
    while True:
        try:
            for group in sorted(machine.cgroup.rglob("*/"), reverse=True):
                if group.is_dir():
                    group.rmdir()
            machine.cgroup.rmdir()
            return
        except OSError as error:  # the kernel lets go of a dead process's group a moment later
            if time.monotonic() > until:
                raise Failure(f"cannot remove {machine.cgroup}: {error}") from error
            time.sleep(0.02)


def down(machine: Machine) -> None:
    """Takes a machine away with its disk; one that does not exist is fine."""
    crash(machine)
    if machine.dir.exists():
        shutil.rmtree(machine.dir)


def freeze(machine: Machine) -> None:
    """The machine hangs: its kernel still answers a SYN, nothing else does."""
    need_running(machine)
    (machine.cgroup / "cgroup.freeze").write_text("1")


def thaw(machine: Machine) -> None:
    if frozen(machine):
        (machine.cgroup / "cgroup.freeze").write_text("0")


def need_running(machine: Machine) -> int:
    machine.note("ip")
    pid = leader(machine)
    if pid is None:
        raise Failure(f"machine {machine.id} is not running; type: lab/machines/machine start {machine.id}")
    return pid


def enter(machine: Machine, command: list[str]) -> list[str]:
    """A command that runs `command` as root inside the guest, in its cgroup and without what nspawn takes away."""
    pid = need_running(machine)
    join = f'echo $$ >{machine.cgroup}/payload/init.scope/cgroup.procs && exec "$@"'
    return [
        *("sh", "-c", join, "enter"),
        *("setpriv", "--bounding-set=-" + DROPPED.replace(",", ",-")),
        *("nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"),
        *("env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "LANG=C.UTF-8"),
        *command,
    ]
