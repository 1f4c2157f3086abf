"""Prints the node name of every live machine of the account, one a line; temporary ones as `build`."""

import boto3

pages = boto3.client("ec2").get_paginator("describe_instances").paginate()
for machine in (one for page in pages for group in page["Reservations"] for one in group["Instances"]):
    if machine["State"]["Name"] in ("terminated", "shutting-down"):
        continue
    tags = {tag["Key"]: tag["Value"] for tag in machine.get("Tags", [])}
    print(tags.get("sre:node", "build"), machine["InstanceId"])
