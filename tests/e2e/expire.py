"""Reads or sets the tag that tells when an environment ends: `expire.py ENVIRONMENT_ID [TIME]`; prints id → time as JSON.

With a time it is set on all that carries it, as if the environment had been made that long ago.
"""

import json
import sys

import boto3

TAG = "sre:expires"


def main(environment: str, time: str | None = None) -> None:
    ec2, elb = boto3.client("ec2"), boto3.client("elbv2")
    told = {}
    for tag in ec2.describe_tags(Filters=[{"Name": "key", "Values": ["sre:environment"]}])["Tags"]:
        if tag["Value"] != environment:
            continue
        of_it = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [tag["ResourceId"]]}])["Tags"]
        told |= {one["ResourceId"]: one["Value"] for one in of_it if one["Key"] == TAG}
    arns = [one["LoadBalancerArn"] for one in elb.describe_load_balancers()["LoadBalancers"]]
    arns += [one["TargetGroupArn"] for one in elb.describe_target_groups()["TargetGroups"]]
    for described in elb.describe_tags(ResourceArns=arns)["TagDescriptions"] if arns else []:
        tags = {one["Key"]: one["Value"] for one in described["Tags"]}
        if tags.get("sre:environment") == environment and TAG in tags:
            told[described["ResourceArn"]] = tags[TAG]
    if time:
        here = [thing for thing in told if not thing.startswith("arn:")]
        ec2.create_tags(Resources=here, Tags=[{"Key": TAG, "Value": time}])
        elb.add_tags(ResourceArns=[thing for thing in told if thing.startswith("arn:")], Tags=[{"Key": TAG, "Value": time}])
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
