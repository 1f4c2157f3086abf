"""Prints the ids of all live things of one region as JSON, tagged or not, for a comparison before and after.

A fixed list of describe calls; terminated instances, deleted NAT gateways and things of AWS's own (managed policies,
the source images' snapshots) do not count. `inventory --against FILE` prints what came and went instead.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from .policy import OWN_LOOKS

GONE = ("terminated", "shutting-down")
KINDS: dict[str, tuple[str, str, dict, Callable[[dict], Iterator[str]]]] = {
    "instances": (
        "ec2",
        "describe_instances",
        {},
        lambda p: (
            i["InstanceId"] for r in p["Reservations"] for i in r["Instances"] if i["State"]["Name"] not in GONE
        ),
    ),
    "volumes": ("ec2", "describe_volumes", {}, lambda p: (v["VolumeId"] for v in p["Volumes"])),
    "snapshots": (
        "ec2",
        "describe_snapshots",
        {"OwnerIds": ["self"]},
        lambda p: (s["SnapshotId"] for s in p["Snapshots"]),
    ),
    "images": ("ec2", "describe_images", {"Owners": ["self"]}, lambda p: (i["ImageId"] for i in p["Images"])),
    "key pairs": ("ec2", "describe_key_pairs", {}, lambda p: (k["KeyPairId"] for k in p["KeyPairs"])),
    "security groups": ("ec2", "describe_security_groups", {}, lambda p: (g["GroupId"] for g in p["SecurityGroups"])),
    "subnets": ("ec2", "describe_subnets", {}, lambda p: (s["SubnetId"] for s in p["Subnets"])),
    "route tables": ("ec2", "describe_route_tables", {}, lambda p: (t["RouteTableId"] for t in p["RouteTables"])),
    "network acls": ("ec2", "describe_network_acls", {}, lambda p: (a["NetworkAclId"] for a in p["NetworkAcls"])),
    "dhcp options": ("ec2", "describe_dhcp_options", {}, lambda p: (d["DhcpOptionsId"] for d in p["DhcpOptions"])),
    "nat gateways": (
        "ec2",
        "describe_nat_gateways",
        {},
        lambda p: (g["NatGatewayId"] for g in p["NatGateways"] if g["State"] != "deleted"),
    ),
    "elastic addresses": ("ec2", "describe_addresses", {}, lambda p: (a["AllocationId"] for a in p["Addresses"])),
    "internet gateways": (
        "ec2",
        "describe_internet_gateways",
        {},
        lambda p: (g["InternetGatewayId"] for g in p["InternetGateways"]),
    ),
    "endpoints": (
        "ec2",
        "describe_vpc_endpoints",
        {},
        lambda p: (e["VpcEndpointId"] for e in p["VpcEndpoints"] if e["State"] != "deleted"),
    ),
    "vpcs": ("ec2", "describe_vpcs", {}, lambda p: (v["VpcId"] for v in p["Vpcs"])),
    "network interfaces": (
        "ec2",
        "describe_network_interfaces",
        {},
        lambda p: (e["NetworkInterfaceId"] for e in p["NetworkInterfaces"]),
    ),
    "flow logs": ("ec2", "describe_flow_logs", {}, lambda p: (f["FlowLogId"] for f in p["FlowLogs"])),
    "launch templates": (
        "ec2",
        "describe_launch_templates",
        {},
        lambda p: (t["LaunchTemplateId"] for t in p["LaunchTemplates"]),
    ),
    "log groups": ("logs", "describe_log_groups", {}, lambda p: (g["logGroupName"] for g in p["logGroups"])),
    "roles": ("iam", "list_roles", {}, lambda p: (r["Arn"] for r in p["Roles"])),
    "instance profiles": ("iam", "list_instance_profiles", {}, lambda p: (i["Arn"] for i in p["InstanceProfiles"])),
    "policies": ("iam", "list_policies", {"Scope": "Local"}, lambda p: (x["Arn"] for x in p["Policies"])),
    "load balancers": (
        "elbv2",
        "describe_load_balancers",
        {},
        lambda p: (b["LoadBalancerArn"] for b in p["LoadBalancers"]),
    ),
    "target groups": (
        "elbv2",
        "describe_target_groups",
        {},
        lambda p: (t["TargetGroupArn"] for t in p["TargetGroups"]),
    ),
    "buckets": ("s3", "list_buckets", {}, lambda p: (b["Name"] for b in p.get("Buckets", []))),
}


def take(region: str) -> dict[str, list[str]]:
    """Kind → sorted ids of what is alive."""
    config = Config(user_agent_extra=OWN_LOOKS, retries={"max_attempts": 3})
    session = boto3.session.Session(region_name=region)
    clients: dict[str, Any] = {}
    found = {}
    for kind, (service, operation, arguments, ids) in KINDS.items():
        client = clients.setdefault(service, session.client(service, config=config))
        pages = [getattr(client, operation)(**arguments)]
        if client.can_paginate(operation):
            pages = client.get_paginator(operation).paginate(**arguments)
        found[kind] = sorted(name for page in pages for name in ids(page))
    return found


def difference(before: dict, after: dict) -> dict[str, dict[str, list[str]]]:
    """Kind → what came and what went; kinds without a difference are left out."""
    changed = {}
    for kind in sorted(before.keys() | after.keys()):
        old, new = set(before.get(kind, [])), set(after.get(kind, []))
        if old != new:
            changed[kind] = {"came": sorted(new - old), "went": sorted(old - new)}
    return changed


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="inventory", description="The ids of all live things, as JSON.")
    parser.add_argument("--region", default=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"))
    parser.add_argument("--against", type=Path, help="an earlier inventory: print the difference, exit 1 if any")
    given = parser.parse_args(words)
    if not given.region:
        parser.error("no region: set AWS_REGION or give --region")
    found = take(given.region)
    if given.against:
        changed = difference(json.loads(given.against.read_text()), found)
        print(json.dumps(changed, indent=1))
        return 1 if changed else 0
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
