"""Takes each rule of an environment's security groups away in turn and tries what it is there for; JSON on stdout.

    groups.py try NAME CNI [ONLY]   in the lab: `lab/lab exec -- python3 tests/e2e/groups.py try small canal`
    groups.py revoke NAME RULE      takes one rule away and prints what `authorize` wants to know
    groups.py authorize RULE_JSON   the same rule again
    groups.py tie NAME              puts a rule of a person's between each two groups of the nodes, in no state
    groups.py across NAME OTHER     whether machines of two environments reach each other, and the operator both

`try` prints a list: `rule`, its `check`, and whether that was possible `before`, `without` and `after`. The rules are
those that the API tells of the environment's VPC, in both directions; each is authorized again as it was, under a new
id. ONLY is a pattern of names. What stands behind the rules must be up: a server and an agent that serve, a load
balancer with the server behind it.
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterator

import boto3
from checks import AGENT, BALANCER, JUMP, OPERATOR, SECOND, SERVER, Check, of_rule
from vantage import Vantage

PATIENCE = 10.0  # for what must be possible; on a busy machine
REFUSAL = 0.5  # for what must not be: the kernels answer what is let through within milliseconds
KEPT = ("IpProtocol", "FromPort", "ToPort")
ec2, elb = boto3.client("ec2"), boto3.client("elbv2")


def filters(**wanted: str) -> list[dict]:
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in wanted.items()]


def tag(thing: dict, key: str) -> str:
    return next((one["Value"] for one in thing.get("Tags", []) if one["Key"] == key), "")


class Scene:
    """The machines and the load balancer of an environment, as places to connect from and to."""

    def __init__(self, name: str):
        self.name = name
        self.machines = self.find_machines()
        self.vpc = next(iter(self.machines.values()))["VpcId"]
        self.places = {OPERATOR: Vantage.operator()}
        for role, machine in self.machines.items():
            self.places[role] = place(role, machine)
        if address := self.balancer_address():
            self.places[BALANCER] = Vantage(BALANCER, address)

    def find_machines(self) -> dict[str, dict]:
        """One machine of each role."""
        wanted = [{"Name": "tag:sre:name", "Values": [self.name]}, *filters(instance_state_name="running")]
        found = ec2.describe_instances(Filters=wanted)["Reservations"]
        machines = sorted((one for group in found for one in group["Instances"]), key=lambda one: tag(one, "sre:node"))
        groups = {one["InstanceId"]: {group["GroupName"] for group in one["SecurityGroups"]} for one in machines}
        return {
            role: one
            for role in (JUMP, AGENT, SERVER)
            for one in reversed(machines)
            if any(name.endswith(f"-{role}") for name in groups[one["InstanceId"]])
        }

    def balancer_address(self) -> str | None:
        for balancer in elb.describe_load_balancers()["LoadBalancers"]:
            if balancer["VpcId"] == self.vpc:
                wanted = filters(description=f"ELB {balancer['LoadBalancerArn'].split('loadbalancer/')[1]}")
                found = ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]
                return found[0]["PrivateIpAddress"]
        return None

    def rules(self) -> list[dict]:
        """Every rule of every group of the VPC."""
        groups = [group["GroupId"] for group in ec2.describe_security_groups(Filters=filters(vpc_id=self.vpc))["SecurityGroups"]]
        wanted = [{"Name": "group-id", "Values": groups}]
        pages = ec2.get_paginator("describe_security_group_rules").paginate(Filters=wanted)
        return [rule for page in pages for rule in page["SecurityGroupRules"]]

    @contextlib.contextmanager
    def second(self) -> Iterator[None]:
        """One more machine for as long as the rules are tried; a group of the test's own lets everybody in."""
        model, nodes = self.machines[SERVER], [group["GroupId"] for group in self.machines[SERVER]["SecurityGroups"]]
        open_group = ec2.create_security_group(GroupName="everybody", Description="lets everybody in", VpcId=self.vpc)["GroupId"]
        everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        ec2.revoke_security_group_egress(GroupId=open_group, IpPermissions=everything)
        ec2.authorize_security_group_ingress(GroupId=open_group, IpPermissions=everything)
        started = ec2.run_instances(
            ImageId=model["ImageId"],
            InstanceType=model["InstanceType"],
            SubnetId=model["SubnetId"],
            SecurityGroupIds=[*nodes, open_group],
            MinCount=1,
            MaxCount=1,
        )
        ids = [started["Instances"][0]["InstanceId"]]
        try:
            ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
            self.places[SECOND] = place(SECOND, ec2.describe_instances(InstanceIds=ids)["Reservations"][0]["Instances"][0])
            yield
        finally:
            ec2.terminate_instances(InstanceIds=ids)
            ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
            ec2.delete_security_group(GroupId=open_group)

    def possible(self, check: Check, limit: float) -> bool:
        """Whether this connection can be made at every port that the check names."""
        sender, receiver = self.places[check.sender], self.places[check.receiver]
        # An address of the load balancer has listeners of its own.
        ports = () if check.receiver == BALANCER or check.protocol == "udp" else check.ports
        with receiver.listening(check.protocol, ports):
            tried = [sender.reaches(receiver, check.protocol, port, limit) for port in check.ports]
        if len(set(tried)) > 1:
            raise RuntimeError(f"{check.name}: only some of the ports {check.ports} are reached: {tried}")
        return tried[0]


def place(name: str, machine: dict) -> Vantage:
    return Vantage.machine(name, machine["InstanceId"], machine["PrivateIpAddress"], machine.get("PublicIpAddress"))


def revoke(rule: dict) -> None:
    call = ec2.revoke_security_group_egress if rule["IsEgress"] else ec2.revoke_security_group_ingress
    call(GroupId=rule["GroupId"], SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])


def authorize(rule: dict) -> None:
    """The same rule again, with its tags."""
    permission = {key: rule[key] for key in KEPT if key in rule}
    if cidr := rule.get("CidrIpv4"):
        permission["IpRanges"] = [{"CidrIp": cidr}]
    if group := rule.get("ReferencedGroupInfo"):
        permission["UserIdGroupPairs"] = [{"GroupId": group["GroupId"]}]
    call = ec2.authorize_security_group_egress if rule["IsEgress"] else ec2.authorize_security_group_ingress
    tags = [{"ResourceType": "security-group-rule", "Tags": rule.get("Tags", [])}]
    call(GroupId=rule["GroupId"], IpPermissions=[permission], TagSpecifications=tags)


def tried(scene: Scene, rule: dict, check: Check) -> dict:
    before = scene.possible(check, PATIENCE)
    revoke(rule)
    try:
        without = scene.possible(check, REFUSAL)
    finally:
        authorize(rule)
    return {"check": check.name, "before": before, "without": without, "after": scene.possible(check, PATIENCE)}


def each(name: str, cni: str, only: str = ".*") -> list[dict]:
    scene = Scene(name)
    named = [(tag(rule, "Name").removeprefix(f"{name}-"), rule) for rule in scene.rules()]
    holders = {who: place.address for who, place in scene.places.items() if who != BALANCER}
    results = []
    with scene.second():
        for known, rule in sorted(named, key=lambda pair: pair[0]):
            check = of_rule(known, cni, holders)
            if re.fullmatch(only, known):
                outcome = tried(scene, rule, check) if check else {"check": None}
                results.append({"rule": known or rule["SecurityGroupRuleId"], **outcome})
    return results


def tie(name: str) -> list[str]:
    """Rules without any tag, both ways between the groups of the machines; gives their ids."""
    machines = Scene(name).machines.values()
    groups = sorted({group["GroupId"] for machine in machines for group in machine["SecurityGroups"]})
    made = []
    for holder in groups:
        for named in groups:
            if holder != named:
                permission = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": named}]}
                answer = ec2.authorize_security_group_ingress(GroupId=holder, IpPermissions=[permission])
                made += [rule["SecurityGroupRuleId"] for rule in answer["SecurityGroupRules"]]
    return made


def across(name: str, other: str) -> dict[str, bool]:
    """Way → whether it is open: from each machine to each of the other environment, and from the operator to all."""
    ports = {SERVER: (22, 6443, 9345, 10250), AGENT: (22, 10250)}
    scenes = {one: Scene(one) for one in (name, other)}
    ways = {}
    for to, theirs in scenes.items():
        for role, port in ((role, port) for role, several in ports.items() for port in several):
            target = theirs.places[role]
            if port == 22:
                ways[f"operator → {to} {role}:{port}"] = theirs.places[OPERATOR].reaches(target, "tcp", port, PATIENCE)
            for start, ours in scenes.items():
                senders = [] if start == to else [SERVER, AGENT]
                for sender in senders:
                    reached = ours.places[sender].reaches(target, "tcp", port, REFUSAL)
                    ways[f"{start} {sender} → {to} {role}:{port}"] = reached
    return ways


def main(verb: str, *words: str) -> None:
    match verb, words:
        case "try", (name, cni, *only):
            print(json.dumps(each(name, cni, *only)))
        case "revoke", (name, known):
            [rule] = [rule for rule in Scene(name).rules() if tag(rule, "Name") == f"{name}-{known}"]
            revoke(rule)
            print(json.dumps(rule))
        case "authorize", (rule,):
            authorize(json.loads(rule))
        case "tie", (name,):
            print(json.dumps(tie(name)))
        case "across", (name, other):
            print(json.dumps(across(name, other)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
