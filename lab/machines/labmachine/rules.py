"""Security groups as an nftables ruleset: what decides, without touching the kernel.

The whole table is one text, so that the kernel takes it at once or not at all. A packet that opens a connection goes
through the sender's egress rules and then through the receiver's ingress rules; what answers it is let through by
connection tracking. Senders are recognised by address, and an address is believed only on its own cable.

    forward, input, output ── from_machine ── out_ID ── egress_GROUP ─┐
                          └────────────(operator)──────── to_receiver ┴─ in_ID ── ingress_GROUP ── accept

Chains that end without a verdict end in the base chain's policy, which is drop.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator

from .place import METADATA, OPERATOR, RESOLVER, link_name

TABLE = "inet sre_lab"
EVERYBODY = ipaddress.ip_network("0.0.0.0/0")
NUMBERS = {"6": "tcp", "17": "udp", "1": "icmp"}


def identifier(text: str) -> str:
    """A name that nft takes."""
    return re.sub(r"[^A-Za-z0-9]", "_", text)


def one_of(values: Iterable[str]) -> str:
    return "{ " + ", ".join(values) + " }"


def a_set(name: str, kind: str, elements: Iterable[str]) -> list[str]:
    listed = sorted(set(elements))
    content = f" elements = {one_of(listed)};" if listed else ""
    return [f"  set {name} {{ type {kind};{content} }}"]


def chain(name: str, rules: Iterable[str]) -> list[str]:
    return [f"  chain {name} {{", *(f"    {rule}" for rule in rules), "  }"]


def base(name: str, hook: str, rules: Iterable[str], kind: str = "filter", priority: str = "filter") -> list[str]:
    policy = " policy drop;" if kind == "filter" else ""
    return chain(name, [f"type {kind} hook {hook} priority {priority};{policy}", *rules])


def ports(rule: dict) -> str:
    """The part of a rule that looks at protocol and port."""
    protocol = str(rule["proto"]).lower()
    protocol = NUMBERS.get(protocol, protocol)
    if protocol in ("-1", "all"):
        return ""
    if protocol not in ("tcp", "udp"):
        return f"ip protocol {protocol} "
    first, last = int(rule["from"]), int(rule["to"])
    if (first, last) in ((0, 65535), (-1, -1)):
        return f"ip protocol {protocol} "
    return f"{protocol} dport {first} " if first == last else f"{protocol} dport {first}-{last} "


def peers(rule: dict, side: str) -> Iterator[str]:
    """The part of a rule that looks at the other side: one text for its ranges, one for each group."""
    ranges = (ipaddress.ip_network(c, strict=False) for c in rule.get("cidrs") or [] if ":" not in c)
    merged = list(ipaddress.collapse_addresses(ranges))
    if EVERYBODY in merged:
        yield ""
    elif merged:
        yield f"ip {side} {one_of(str(m) for m in merged)} "
    for group in rule.get("groups") or []:
        yield f"ip {side} @members_{identifier(group)} "


def group_chains(group: str, rules: dict) -> list[str]:
    name = identifier(group)
    lines = []
    for direction, side, verdict in (("ingress", "saddr", "accept"), ("egress", "daddr", "goto to_receiver")):
        texts = [f"{peer}{ports(rule)}{verdict}" for rule in rules.get(direction) or [] for peer in peers(rule, side)]
        lines += chain(f"{direction}_{name}", texts)
    return lines


class Members:
    """Everything with an address in a VPC: machines and load balancers, by one shape."""

    def __init__(self, given: dict) -> None:
        self.all: list[tuple[str, list[str], str, list[str] | None]] = []
        for machine in given.get("machines") or []:
            self.all.append((identifier(machine["id"]), [machine["ip"]], machine["vpc"], machine["groups"] or []))
        for nlb in given.get("nlbs") or []:
            name = "nlb_" + identifier(nlb["dns"])
            self.all.append((name, nlb["addresses"], nlb["vpc"], nlb.get("groups")))
        for floating in given.get("floating") or []:  # passed on among machines, which find each other's by ARP
            name = "floating_" + identifier(floating["address"])
            self.all.append((name, [floating["address"]], floating["vpc"], None))

    def of_vpc(self, vpc: str) -> list[str]:
        return [a for _, addresses, theirs, _ in self.all for a in addresses if theirs == vpc]

    def of_group(self, group: str) -> list[str]:
        return [a for _, addresses, _, groups in self.all for a in addresses if groups and group in groups]

    def jump_table(self, direction: str) -> str:
        pairs = [f"{a} : goto {direction}_{name}" for name, addresses, _, _ in self.all for a in addresses]
        return f"vmap {one_of(pairs)}" if pairs else ""


def every_group(given: dict) -> dict[str, dict]:
    """All groups that anything names; one without a definition has no rules."""
    groups = {name: rules for name, rules in (given.get("groups") or {}).items()}
    for thing in [*(given.get("machines") or []), *(given.get("nlbs") or [])]:
        for name in thing.get("groups") or []:
            groups.setdefault(name, {})
    for rules in list(groups.values()):
        for rule in [*(rules.get("ingress") or []), *(rules.get("egress") or [])]:
            for name in rule.get("groups") or []:
                groups.setdefault(name, {})
    return groups


def member_chains(members: Members) -> list[str]:
    lines = []
    for name, _, _, groups in members.all:
        free = groups is None  # a load balancer without groups lets everything through
        out = ["goto to_receiver"] if free else [f"jump egress_{identifier(g)}" for g in groups]
        into = ["accept"] if free else [f"jump ingress_{identifier(g)}" for g in groups]
        lines += chain(f"out_{name}", out) + chain(f"in_{name}", into)
    return lines


def hooks(given: dict, members: Members, vpcs: list[str]) -> list[str]:
    """The base chains, and the two that find a member's own."""
    believed = ["iifname . ip saddr != @cables drop", "ct state established,related accept"]
    within = [f"ip saddr @vpc_{identifier(v)} ip daddr != @vpc_{identifier(v)} drop" for v in vpcs]
    out, into = members.jump_table("out"), members.jump_table("in")
    public = [f"{m['public_ip']} : {m['ip']}" for m in given.get("machines") or [] if m.get("public_ip")]
    lines = base("forward", "forward", [*believed, "goto from_machine"])
    lines += base(
        "input",
        "input",
        [
            'iifname "lo" goto from_here',
            *believed,
            f"ip daddr {METADATA} tcp dport 80 accept",
            f"ip daddr {RESOLVER} udp dport 53 accept",
            f"ip daddr {RESOLVER} tcp dport 53 accept",
            "ip daddr @balancers goto from_machine",
        ],
    )
    lines += base(
        "output",
        "output",
        [
            # A public address is the lab's own until it is translated, so what goes to a machine by it leaves by `lo`, too.
            'oifname "lo" ip daddr != @machines accept',
            "ct state established,related accept",
            f"ip saddr {OPERATOR} goto to_receiver",
            "ip saddr @balancers goto from_machine",
            # A load balancer that preserves its clients' addresses: the client's egress was asked on its way in.
            *within,
            "ip saddr @machines goto to_receiver",
        ],
    )
    here = ["ct state established,related accept", "ip daddr != @balancers accept"]
    lines += chain("from_here", [*here, f"ip saddr {OPERATOR} goto to_receiver"])
    lines += chain("from_machine", [*within, *([f"ip saddr {out}"] if out else [])])
    lines += chain("to_receiver", [f"ip daddr {into}"] if into else [])
    lines += base(
        "public",
        "output",
        [f"dnat ip to ip daddr map {one_of(public)}"] if public else [],
        kind="nat",
        priority="-100",
    )
    return lines


def ruleset(given: dict) -> str:
    """The whole table for what the emulator says there is."""
    members, groups = Members(given), every_group(given)
    vpcs = sorted({vpc for _, _, vpc, _ in members.all})
    floating = [one["address"] for one in given.get("floating") or []]
    machines = given.get("machines") or []
    cables = [f'"{link_name(m["id"])}" . {address}' for m in machines for address in (m["ip"], *floating)]
    balancers = [a for nlb in given.get("nlbs") or [] for a in nlb["addresses"]]
    lines = [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"]
    lines += a_set("cables", "ifname . ipv4_addr", cables)
    lines += a_set("balancers", "ipv4_addr", balancers)
    lines += a_set("machines", "ipv4_addr", [m["ip"] for m in given.get("machines") or []])
    for vpc in vpcs:
        lines += a_set(f"vpc_{identifier(vpc)}", "ipv4_addr", members.of_vpc(vpc))
    for group in groups:
        lines += a_set(f"members_{identifier(group)}", "ipv4_addr", members.of_group(group))
    for declared in ("to_receiver",):
        lines += [f"  chain {declared} {{ }}"]
    for group, rules in groups.items():
        lines += group_chains(group, rules)
    lines += member_chains(members) + hooks(given, members, vpcs)
    return "\n".join([*lines, "}", ""])
