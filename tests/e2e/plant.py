"""Plants one thing of every kind that `down` must find, as a stopped run could have left it; prints kind → id as JSON.

    plant.py ENVIRONMENT_ID        in the lab: `lab/lab exec -- python3 tests/e2e/plant.py ID`

They lie in a VPC of their own. What AWS lets carry tags has the environment's; the rest bears its short id.
"""

import json
import sys

import boto3


def main(environment: str) -> None:
    short = environment.replace("-", "")[:8]
    ec2, elb, iam, logs = (boto3.client(service) for service in ("ec2", "elbv2", "iam", "logs"))
    tags = [{"Key": "sre:environment", "Value": environment}, {"Key": "sre:name", "Value": "small"}]

    def tagged(kind: str) -> list[dict]:
        return [{"ResourceType": kind, "Tags": tags}]

    planted: dict[str, str] = {}
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    planted["VPC"] = vpc
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.1.0/24")["Subnet"]["SubnetId"]
    planted["subnet"] = subnet  # without a tag: found by its VPC
    gateway = ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway"))
    planted["internet gateway"] = gateway["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=planted["internet gateway"], VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    planted["route table"] = table
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    group = ec2.create_security_group(GroupName="planted", Description="planted", VpcId=vpc)["GroupId"]
    planted["security group"] = group
    interface = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]
    planted["network interface"] = interface["NetworkInterfaceId"]
    zone = interface["AvailabilityZone"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=tagged("volume"))
    planted["volume"] = volume["VolumeId"]
    planted["snapshot"] = ec2.create_snapshot(VolumeId=volume["VolumeId"], TagSpecifications=tagged("snapshot"))["SnapshotId"]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"]
    planted["elastic address"] = address
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName="com.amazonaws.us-east-1.s3",
        RouteTableIds=[table],
        TagSpecifications=tagged("vpc-endpoint"),
    )
    planted["VPC endpoint"] = endpoint["VpcEndpoint"]["VpcEndpointId"]
    key = ec2.create_key_pair(KeyName=f"planted-{short}")
    planted["key pair"] = key["KeyName"]
    balancer = elb.create_load_balancer(Name=f"planted-{short}", Type="network", Scheme="internal", Subnets=[subnet])
    planted["load balancer"] = balancer["LoadBalancers"][0]["LoadBalancerArn"]
    target = elb.create_target_group(Name=f"planted-{short}", Protocol="TCP", Port=6443, VpcId=vpc)
    planted["target group"] = target["TargetGroups"][0]["TargetGroupArn"]
    listener = elb.create_listener(
        LoadBalancerArn=planted["load balancer"],
        Protocol="TCP",
        Port=6443,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": planted["target group"]}],
    )
    planted["listener"] = listener["Listeners"][0]["ListenerArn"]
    may = {"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*"}
    trusts = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy, trust = ({"Version": "2012-10-17", "Statement": [one]} for one in (may, trusts))
    path = f"/sre/{short}/"
    iam.create_role(RoleName=f"planted-{short}", Path=path, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=f"planted-{short}", PolicyName="planted", PolicyDocument=json.dumps(policy))
    planted["role"] = f"planted-{short}"
    iam.create_instance_profile(InstanceProfileName=f"planted-{short}", Path=path)
    iam.add_role_to_instance_profile(InstanceProfileName=f"planted-{short}", RoleName=f"planted-{short}")
    planted["instance profile"] = f"planted-{short}"
    logs.create_log_group(logGroupName=f"{path}planted")
    planted["log group"] = f"{path}planted"
    role = iam.get_role(RoleName=f"planted-{short}")["Role"]["Arn"]
    flow = ec2.create_flow_logs(
        ResourceIds=[vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        LogGroupName=f"{path}planted",
        DeliverLogsPermissionArn=role,
    )
    planted["flow log"] = flow["FlowLogIds"][0]
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, TagSpecifications=tagged("natgateway"))
    planted["NAT gateway"] = nat["NatGateway"]["NatGatewayId"]
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    machine = ec2.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet, TagSpecifications=tagged("instance")
    )
    planted["instance"] = machine["Instances"][0]["InstanceId"]
    planted["image"] = ec2.copy_image(Name=f"planted-{short}", SourceImageId=image, SourceRegion="us-east-1")["ImageId"]
    ec2.create_tags(Resources=[planted["image"]], Tags=tags)
    print(json.dumps(planted))


if __name__ == "__main__":
    main(sys.argv[1])
