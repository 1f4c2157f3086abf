"""Connections as a machine of the lab would make them, without anything running in it.

A socket belongs to the network namespace it was made in, whoever uses it: this process enters a machine's namespace,
makes the socket and comes back. Runs in the lab's own namespace: `lab/lab exec -- python3 …`.
"""

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab/machines"))

from labmachine import guest  # noqa: E402
from labmachine.network import enter_net  # noqa: E402
from labmachine.place import OPERATOR, Lab  # noqa: E402

HERE = "/proc/self/ns/net"
SAID = b"reached?"
ICMP_ECHO = b"\x08\x00\xf7\xff\x00\x00\x00\x00"  # no data, identifier and number 0; the sum is right for that


class Vantage:
    """Where connections come from and go to: a machine, the operator, or an address of a load balancer."""

    def __init__(self, name: str, address: str, namespace: str = HERE, public: str | None = None):
        self.name, self.address, self.namespace, self.public = name, address, namespace, public

    @classmethod
    def operator(cls) -> "Vantage":
        return cls("operator", OPERATOR)

    @classmethod
    def machine(cls, name: str, instance: str, address: str, public: str | None = None) -> "Vantage":
        pid = guest.leader(Lab.from_environment().machine(instance))
        if pid is None:
            raise RuntimeError(f"{name}: machine {instance} does not run")
        return cls(name, address, f"/proc/{pid}/ns/net", public)

    def made(self, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        back = os.open(HERE, os.O_RDONLY)
        try:
            enter_net(os.open(self.namespace, os.O_RDONLY))
            return socket.socket(socket.AF_INET, kind, protocol)
        finally:
            enter_net(back)

    @contextlib.contextmanager
    def listening(self, protocol: str, ports: tuple[int, ...]) -> Iterator[list[socket.socket]]:
        """Listens on those ports where nobody does yet; what the machine serves itself is the better listener."""
        with contextlib.ExitStack() as opened:
            ears = []
            for port in ports if protocol in ("tcp", "udp") else ():
                kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
                one = opened.enter_context(self.made(kind))
                try:
                    one.bind((self.address, port))
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or protocol == "udp":
                        raise
                    continue
                if protocol == "tcp":
                    one.listen()
                ears.append(one)
            yield ears

    def reaches(self, other: "Vantage", protocol: str, port: int, limit: float) -> bool:
        """Whether a first packet gets there and, but for UDP, an answer back."""
        # Machines are reached from outside at their public address, if they have one.
        to = other.public if self.name == "operator" and other.public else other.address
        match protocol:
            case "tcp":
                return self.connects(to, port, limit)
            case "udp":
                return self.is_heard(other, port, limit)
            case "icmp":
                return self.pings(to, limit)
        raise ValueError(f"nobody tries {protocol} here")

    def connects(self, to: str, port: int, limit: float) -> bool:
        with self.made(socket.SOCK_STREAM) as one:
            one.settimeout(limit)
            one.bind((self.address, 0))
            try:
                one.connect((to, port))
            except TimeoutError:
                return False
            return True

    def is_heard(self, other: "Vantage", port: int, limit: float) -> bool:
        until = time.monotonic() + limit
        with other.listening("udp", (port,)) as [ear], self.made(socket.SOCK_DGRAM) as mouth:
            mouth.bind((self.address, 0))
            ear.settimeout(limit)
            mouth.sendto(SAID, (other.address, port))
            try:
                while ear.recvfrom(len(SAID)) != (SAID, mouth.getsockname()):
                    ear.settimeout(max(0.01, until - time.monotonic()))
            except TimeoutError:
                return False
            return True

    def pings(self, to: str, limit: float) -> bool:
        until = time.monotonic() + limit
        with self.made(socket.SOCK_RAW, socket.IPPROTO_ICMP) as one:
            one.sendto(ICMP_ECHO, (to, 0))
            while (left := until - time.monotonic()) > 0:
                one.settimeout(left)
                try:
                    packet, (sender, _) = one.recvfrom(2048)
                except TimeoutError:
                    return False
                if sender == to and packet[20] == 0:
                    return True
        return False
