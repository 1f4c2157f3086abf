"""What the machine command must know to wire and guard the machines: `machine network` reads it as JSON.

Told before the answer to every call that changes it, and before an instance's machine comes up. Prefix lists and IPv6
ranges are left out: the lab has neither.
"""

import json

from . import machines, world

told = ""
failed: str | None = None  # why the machine command did not take the last picture


def picture() -> dict:
    """Ranges, machines, group rules, load balancers and names, of all regions."""
    made = {"vpcs": [], "machines": [], "groups": {}, "nlbs": [], "names": {}}
    for backend in world.ec2():
        lived_in = {instance.vpc_id for instance in world.live_instances(backend)}
        for vpc in backend.vpcs.values():
            if not vpc.is_default or vpc.id in lived_in:
                made["vpcs"].append({"id": vpc.id, "cidr": vpc.cidr_block})
                for group in backend.groups.get(vpc.id, {}).values():
                    made["groups"][group.id] = rules_of(group)
        for instance in world.live_instances(backend):
            made["machines"].append(machine(instance))
            made["names"][instance.private_dns_name] = instance.private_ip
    for elb in world.elb():
        made["nlbs"] += [nlb(lb) for lb in elb.load_balancers.values() if lb.type == "network"]
    return made


def machine(instance) -> dict:
    return {
        "id": instance.id,
        "ip": instance.private_ip,
        "public_ip": instance.nics[0].public_ip,
        "vpc": instance.vpc_id,
        "groups": sorted({group.id for group in world.groups_of(instance.nics[0])}),
    }


def nlb(balancer) -> dict:
    return {
        "name": balancer.name,
        "dns": balancer.dns_name,
        "addresses": [eni.private_ip_address for eni in balancer.lab_addresses.values()],
        "vpc": balancer.vpc_id,
        "groups": balancer.security_groups or None,
    }


def rules_of(group) -> dict:
    return {
        "ingress": [rule(r) for r in group.ingress_rules if sources(r)],
        "egress": [rule(r) for r in group.egress_rules if sources(r)],
    }


def sources(given) -> bool:
    return bool(given.ip_range.get("CidrIp") or given.source_group.get("GroupId"))


def rule(given) -> dict:
    everything = given.ip_protocol in (None, "-1")
    cidr, group = given.ip_range.get("CidrIp"), given.source_group.get("GroupId")
    return {
        "proto": given.ip_protocol or "-1",
        "from": 0 if everything else given.from_port,
        "to": 65535 if everything else given.to_port,
        "cidrs": [cidr] if cidr else [],
        "groups": [group] if group else [],
    }


def follow() -> None:
    """A follower of world.change: tells the machine command if anything differs from what it was told last."""
    global told, failed
    now = json.dumps(picture(), sort_keys=True)
    if now != told:
        failed = machines.run("network", given=now)
        told = "" if failed else now
        if failed:
            world.say("NETWORK NOT APPLIED:", failed)
