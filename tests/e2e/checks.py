"""What each rule of the environment's security groups is there for, and the connection that shows it: docs/network.md.

A rule is known by its name, without the environment's in front of it. One that no line here knows is a rule that nobody
checks, and fails the test.
"""

import ipaddress
import re
from dataclasses import dataclass

OPERATOR, SERVER, AGENT, JUMP, BALANCER = "operator", "server", "agent", "jump", "balancer"
SECOND = "second"  # one more machine with the groups of a server; and one that outsiders' rules let in at any port
PORTS = {"api": 6443, "supervisor": 9345, "http": 80, "https": 443}
WITHIN = r"(?:in|out)-"
CIDR = r"(?P<cidr>[0-9.]+/[0-9]+)"
ZONE = r"[a-z]+(?:-[a-z]+)+-[0-9][a-z]"


@dataclass(frozen=True)
class Check:
    """A connection that must be possible: what for, from where to where."""

    name: str
    sender: str
    receiver: str
    protocol: str
    ports: tuple[int, ...]


def pods(name: str, protocol: str, *ports: int) -> Check:
    return Check(f"pods: {name}", SERVER, AGENT, protocol, ports)


# Ports between nodes by the network of the pods.
PODS = {
    "none": {},
    "canal": {"vxlan": pods("VXLAN", "udp", 8472), "cni-health": pods("health", "tcp", 9099)},
    "calico": {
        "bgp": pods("BGP", "tcp", 179),
        "vxlan": pods("VXLAN", "udp", 4789),
        "typha": pods("Typha", "tcp", 5473),
        "cni-health": pods("health", "tcp", 9098, 9099),
    },
    "cilium": {
        "vxlan": pods("VXLAN", "udp", 8472),
        "cni-health": pods("health", "tcp", 4240),
        "wireguard": pods("WireGuard", "udp", 51871),
        "ping": pods("ping", "icmp", 0),
    },
    "flannel": {"vxlan": pods("VXLAN", "udp", 4789)},
}
BETWEEN = {
    "kubelet": Check("logs and exec", SERVER, AGENT, "tcp", (10250,)),
    "passing": Check("an upgrade's files passed on", SERVER, AGENT, "tcp", (9344,)),
    "api": Check("a node asks a server's API", AGENT, SERVER, "tcp", (6443,)),
    "supervisor": Check("a node registers at a server", AGENT, SERVER, "tcp", (9345,)),
    "etcd": Check("etcd's clients and peers", SECOND, SERVER, "tcp", (2379, 2380)),
    "jump-ssh": Check("SSH through the jump machine", JUMP, AGENT, "tcp", (22,)),
    "jump-api": Check("kubectl through the jump machine", JUMP, SERVER, "tcp", (6443,)),
}


def of_rule(rule: str, cni: str, holders: dict[str, str]) -> Check | None:
    """The check of a rule; `holders` says who has an address in a range: sender → address."""

    def matched(pattern: str) -> re.Match | None:
        return re.fullmatch(pattern, rule)

    if (found := matched(WITHIN + "([a-z-]+)")) and found[1] in (within := BETWEEN | PODS[cni]):
        return within[found[1]]
    if found := matched(f"in-balancer-{ZONE}-(api|supervisor)"):
        return Check(f"the load balancer forwards {found[1]}", BALANCER, SERVER, "tcp", (PORTS[found[1]],))
    if found := matched(f"in-balancer-{ZONE}-(server|agent)-(https?)"):
        return Check(f"the load balancer forwards {found[2]}", BALANCER, found[1], "tcp", (PORTS[found[2]],))
    if found := matched(f"out-balancer-{ZONE}-(jump-)?(api|supervisor)"):
        sender = JUMP if found[1] else AGENT
        return Check(f"{sender} asks the fixed address, {found[2]}", sender, BALANCER, "tcp", (PORTS[found[2]],))
    if matched(f"in-ssh-{CIDR}"):
        return Check("SSH to a node", OPERATOR, AGENT, "tcp", (22,))
    if matched(f"in-api-{CIDR}"):
        return Check("kubectl at a server", OPERATOR, SERVER, "tcp", (6443,))
    if matched(f"in-jump-{CIDR}"):
        return Check("SSH to the jump machine", OPERATOR, JUMP, "tcp", (22,))
    if matched("out-out-https"):
        return Check("nodes fetch what they need from outside", SERVER, SECOND, "tcp", (443,))
    if found := matched(f"nlb-in-(api|supervisor|https?)-{CIDR}"):
        sender = someone_in(found["cidr"], holders)
        name = f"{sender} is let in at the fixed address, {found[1]}"
        return Check(name, sender, BALANCER, "tcp", (PORTS[found[1]],)) if sender else None
    if found := matched(f"nlb-out-(api|supervisor|https?)-{CIDR}"):
        receiver = SERVER if found[1] in ("api", "supervisor") else AGENT
        return Check(f"the load balancer may forward {found[1]}", BALANCER, receiver, "tcp", (PORTS[found[1]],))
    return None


def someone_in(cidr: str, holders: dict[str, str]) -> str | None:
    """Who has an address in this range."""
    network = ipaddress.ip_network(cidr)
    return next((name for name, address in holders.items() if ipaddress.ip_address(address) in network), None)
