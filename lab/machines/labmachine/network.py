"""Puts a network into the lab's namespace: ruleset, load balancer addresses, names.

Idempotent: the ruleset is replaced as a whole, addresses and names only where they differ. A lock keeps two calls
apart. What was applied last lies in `network.json`; where two platforms share a lab, each has a part of it and the other's
lies in `network.PLATFORM.json`.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

from .place import OPERATOR, RESOLVER, Failure, Lab, safe
from .rules import ruleset

PROTOCOL = "99"  # marks the routes that are ours
KNOWN = {"vpcs", "machines", "groups", "nlbs", "names", "floating"}
ANSWER_LIMIT = 2.0


def apply(lab: Lab, text: str, platform: str = "") -> None:
    """Makes the namespace agree with the JSON in `text`, and with what other platforms told before."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise Failure(f"not JSON: {error}") from error
    if not isinstance(given, dict) or set(given) - KNOWN:
        raise Failure(f"expected an object with {', '.join(sorted(KNOWN))}")
    lab.dir.mkdir(parents=True, exist_ok=True)
    with open(lab.dir / "network.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        own = lab.dir / (f"network.{safe(platform, 'platform')}.json" if platform else "network.json")
        whole = merged([given, *others(lab, own)])
        run(lab, "nft", "-f", "-", given=ruleset(whole))
        addresses(lab, {a for nlb in whole.get("nlbs") or [] for a in nlb["addresses"]})
        names(lab, whole)
        replace(own, json.dumps(given, indent=1) + "\n")


def others(lab: Lab, own: Path) -> list[dict]:
    """What other platforms told."""
    parts = [part for part in sorted(lab.dir.glob("network*.json")) if part != own]
    return [json.loads(part.read_text()) for part in parts]


def merged(parts: list[dict]) -> dict:
    """One network of several platforms' parts; VPCs keep them apart."""
    whole: dict = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, dict):
                whole[key] = {**whole.get(key, {}), **value}
            else:
                whole[key] = [*whole.get(key, []), *(value or [])]
    return whole


def run(lab: Lab, *command: str, given: str = "") -> str:
    done = subprocess.run(lab.inside(*command), input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def replace(path: Path, text: str) -> bool:
    """Writes a file whole or not at all; says whether it changed."""
    if path.exists() and path.read_text() == text:
        return False
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)
    return True


def addresses(lab: Lab, wanted: set[str]) -> None:
    """Load balancer addresses are local routes, not addresses: so a connection to one comes from the operator's."""
    listed = run(lab, "ip", "-json", "route", "show", "table", "local", "proto", PROTOCOL)
    present = {route["dst"] for route in json.loads(listed or "[]")}
    commands = [f"route delete local {a} dev lo table local proto {PROTOCOL}" for a in sorted(present - wanted)]
    commands += [
        f"route replace local {a} dev lo table local proto {PROTOCOL} src {OPERATOR}" for a in sorted(wanted - present)
    ]
    if commands:
        run(lab, "ip", "-batch", "-", given="\n".join(commands) + "\n")


def names(lab: Lab, given: dict) -> None:
    """Writes the name service's table and returns when it answers from it."""
    records = sorted({(ip, name) for name, ip in (given.get("names") or {}).items()})
    records += sorted((a, nlb["dns"]) for nlb in given.get("nlbs") or [] for a in nlb["addresses"])
    directory = lab.dir / "dns"
    directory.mkdir(exist_ok=True)
    text = "".join(f"{ip} {name}\n" for ip, name in records)
    serial = directory / "serial"
    if (directory / "table").exists() and text == (directory / "table").read_text():
        return
    number = int(serial.read_text()) + 1 if serial.exists() else 1
    serial.write_text(str(number))
    proof = f"{number}.serial.lab.invalid"
    replace(directory / "hosts", f"{RESOLVER} {proof}\n{text}")
    pid = directory / "pid"
    if pid.exists():
        os.kill(int(pid.read_text()), 1)
        wait_for_name(lab, proof)
    replace(directory / "table", text)


def wait_for_name(lab: Lab, name: str) -> None:
    """Asks until the resolver knows `name`: a signal alone does not say when it has read its table."""
    with socket_inside(lab) as asker:
        asker.settimeout(0.05)
        until = time.monotonic() + ANSWER_LIMIT
        while time.monotonic() < until:
            asker.sendto(question(name), (RESOLVER, 53))
            try:
                answer = asker.recv(512)
            except TimeoutError:
                continue
            if struct.unpack(">H", answer[6:8])[0]:
                return
            time.sleep(0.002)
    raise Failure(f"the lab's name service did not read its table within {ANSWER_LIMIT:.0f} s")


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)


def socket_inside(lab: Lab) -> socket.socket:
    """A UDP socket in the lab's namespace; the process itself stays where it is."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        enter_net(os.open(lab.netns, os.O_RDONLY))
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    finally:
        enter_net(here)


def enter_net(descriptor: int) -> None:
    clone_newnet = 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.setns(descriptor, clone_newnet) != 0:
            raise Failure(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)
