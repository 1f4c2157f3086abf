"""Puts into an environment's network what is not its own, or what its cluster made; prints kind → id as JSON.

    foreign.py ENVIRONMENT_ID stranger     a machine and a disk of somebody else
    foreign.py ENVIRONMENT_ID cluster      a load balancer and a disk, as Kubernetes's controllers ask for them
    foreign.py ENVIRONMENT_ID gone ID      the stranger's machine again away
"""

import json
import sys

import boto3

TAG = "sre:environment"


def main(environment: str, what: str, *rest: str) -> None:
    ec2, elb = boto3.client("ec2"), boto3.client("elbv2")
    if what == "gone":
        ec2.terminate_instances(InstanceIds=list(rest))
        ec2.get_waiter("instance_terminated").wait(InstanceIds=list(rest), WaiterConfig={"Delay": 1})
        return
    nodes = [{"Name": f"tag:{TAG}", "Values": [environment]}, {"Name": "instance-state-name", "Values": ["running"]}]
    node = ec2.describe_instances(Filters=nodes)["Reservations"][0]["Instances"][0]
    subnet, zone = node["SubnetId"], node["Placement"]["AvailabilityZone"]
    put: dict[str, str] = {}
    if what == "stranger":
        name = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "somebody's"}]}]
        machine = ec2.run_instances(ImageId=node["ImageId"], MinCount=1, MaxCount=1, SubnetId=subnet, TagSpecifications=name)
        put["instance"] = machine["Instances"][0]["InstanceId"]
    else:
        tags = [{"Key": f"kubernetes.io/cluster/{environment[:8]}", "Value": "owned"}]
        balancer = elb.create_load_balancer(Name="k8s-web", Type="network", Scheme="internal", Subnets=[subnet], Tags=tags)
        put["load balancer"] = balancer["LoadBalancers"][0]["LoadBalancerArn"]
        claim = [{"ResourceType": "volume", "Tags": tags}]
        put["volume"] = ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=claim)["VolumeId"]
    print(json.dumps(put))


if __name__ == "__main__":
    main(*sys.argv[1:])
