"""Plants images as builds leave them, and one machine; prints their names and ids as JSON.

    planted_images.py plant ENVIRONMENT_ID SOURCE     ten images of ours, from a copy of an image that is there
    planted_images.py show REGION                     every image of the account: id → name, tags and whether its snapshots are there
    planted_images.py snapshots                       the ids of all snapshots of the account
    planted_images.py tag IMAGE KEY VALUE
"""

import json
import sys

import boto3

KINDS = ["base", "base", "node", "node", "node", "node", "node", "node", "node", "node"]
# Which image each was built from: the first two are bases.
PARENTS = {2: 0, 3: 1}


def plant(environment: str, source: str) -> dict:
    ec2 = boto3.client("ec2")
    ids: list[str] = []
    for at, kind in enumerate(KINDS):
        name = f"planted-{at}"
        image = ec2.copy_image(Name=name, SourceImageId=source, SourceRegion="us-east-1")["ImageId"]
        tags = {
            "sre:environment": environment,
            "sre:name": "planted",
            "sre:image": kind,
            "sre:state": "ready",
            "sre:fingerprint": f"{at}" * 64,
            "sre:parent": ids[PARENTS[at]] if at in PARENTS else source,
        }
        if at == 4:
            tags["sre:keep"] = "the audit of 2026"
        ec2.create_tags(Resources=[image], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        ids.append(image)
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.1.0/24")["Subnet"]["SubnetId"]
    machine = ec2.run_instances(ImageId=ids[2], MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]["InstanceId"]
    return {"images": ids, "machine": machine}


def show(region: str) -> dict:
    ec2 = boto3.client("ec2", region_name=region)
    there = {one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    found = {}
    for image in ec2.describe_images(Owners=["self"])["Images"]:
        disks = [mapping["Ebs"].get("SnapshotId") for mapping in image["BlockDeviceMappings"] if "Ebs" in mapping]
        found[image["ImageId"]] = {
            "name": image["Name"],
            "tags": {tag["Key"]: tag["Value"] for tag in image.get("Tags", [])},
            "snapshots": disks,
            "whole": set(disks) <= there,
        }
    return found


def snapshots() -> list[str]:
    return [one["SnapshotId"] for one in boto3.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]]


def main(verb: str, *words: str) -> None:
    match verb:
        case "plant":
            print(json.dumps(plant(*words)))
        case "show":
            print(json.dumps(show(*words)))
        case "snapshots":
            print(json.dumps(snapshots()))
        case "tag":
            image, key, value = words
            boto3.client("ec2").create_tags(Resources=[image], Tags=[{"Key": key, "Value": value}])
        case _:
            raise SystemExit(f"error: `{verb}` is not known")


if __name__ == "__main__":
    main(*sys.argv[1:])
