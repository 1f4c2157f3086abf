"""Plants one thing of every kind that `down` must find, as a stopped run could have left it; prints kind → id as JSON.

    plant.py ENVIRONMENT_ID        in the lab: `lab/lab exec -- python3 tests/e2e/plant.py ID`

They lie in a VPC of their own. What AWS lets carry tags has the environment's; the rest bears its short id.
"""

import json
import sys

import boto3

MAY = {"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*"}
TRUSTS = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}


class Planter:
    """Makes the things; `planted` tells them by their kind."""

    def __init__(self, environment: str):
        self.short = environment.replace("-", "")[:8]
        self.name = f"planted-{self.short}"
        self.path = f"/sre/{self.short}/"
        self.tags = [{"Key": "sre:environment", "Value": environment}, {"Key": "sre:name", "Value": "small"}]
        self.ec2, self.elb, self.iam, self.logs = (boto3.client(one) for one in ("ec2", "elbv2", "iam", "logs"))
        self.planted: dict[str, str] = {}

    def tagged(self, kind: str) -> list[dict]:
        return [{"ResourceType": kind, "Tags": self.tags}]

    def all(self) -> dict[str, str]:
        zone = self.network()
        self.addresses()
        self.disks(zone)
        self.balancer()
        self.rights()
        self.logging()
        self.machine()
        return self.planted

    def network(self) -> str:
        """Gives the zone it is in."""
        vpc = self.ec2.create_vpc(CidrBlock="10.77.0.0/16", TagSpecifications=self.tagged("vpc"))["Vpc"]["VpcId"]
        # Without a tag: found by its VPC, as are route table, security group and network interface.
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.1.0/24")["Subnet"]["SubnetId"]
        gateway = self.ec2.create_internet_gateway(TagSpecifications=self.tagged("internet-gateway"))["InternetGateway"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc)
        table = self.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        group = self.ec2.create_security_group(GroupName="planted", Description="planted", VpcId=vpc)["GroupId"]
        interface = self.ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]
        self.planted |= {
            "VPC": vpc,
            "subnet": subnet,
            "internet gateway": gateway["InternetGatewayId"],
            "route table": table,
            "security group": group,
            "network interface": interface["NetworkInterfaceId"],
        }
        return interface["AvailabilityZone"]

    def addresses(self) -> None:
        address = self.ec2.allocate_address(Domain="vpc", TagSpecifications=self.tagged("elastic-ip"))["AllocationId"]
        nat = self.ec2.create_nat_gateway(
            SubnetId=self.planted["subnet"], AllocationId=address, TagSpecifications=self.tagged("natgateway")
        )
        endpoint = self.ec2.create_vpc_endpoint(
            VpcId=self.planted["VPC"],
            ServiceName="com.amazonaws.us-east-1.s3",
            RouteTableIds=[self.planted["route table"]],
            TagSpecifications=self.tagged("vpc-endpoint"),
        )
        self.planted |= {
            "elastic address": address,
            "NAT gateway": nat["NatGateway"]["NatGatewayId"],
            "VPC endpoint": endpoint["VpcEndpoint"]["VpcEndpointId"],
        }

    def disks(self, zone: str) -> None:
        volume = self.ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=self.tagged("volume"))
        snapshot = self.ec2.create_snapshot(VolumeId=volume["VolumeId"], TagSpecifications=self.tagged("snapshot"))
        self.planted |= {"volume": volume["VolumeId"], "snapshot": snapshot["SnapshotId"]}

    def balancer(self) -> None:
        balancer = self.elb.create_load_balancer(
            Name=self.name, Type="network", Scheme="internal", Subnets=[self.planted["subnet"]]
        )["LoadBalancers"][0]["LoadBalancerArn"]
        target = self.elb.create_target_group(Name=self.name, Protocol="TCP", Port=6443, VpcId=self.planted["VPC"])
        group = target["TargetGroups"][0]["TargetGroupArn"]
        listener = self.elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol="TCP",
            Port=6443,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Listeners"][0]["ListenerArn"]
        self.planted |= {"load balancer": balancer, "target group": group, "listener": listener}

    def rights(self) -> None:
        policy, trust = (json.dumps({"Version": "2012-10-17", "Statement": [one]}) for one in (MAY, TRUSTS))
        self.iam.create_role(RoleName=self.name, Path=self.path, AssumeRolePolicyDocument=trust)
        self.iam.put_role_policy(RoleName=self.name, PolicyName="planted", PolicyDocument=policy)
        self.iam.create_instance_profile(InstanceProfileName=self.name, Path=self.path)
        self.iam.add_role_to_instance_profile(InstanceProfileName=self.name, RoleName=self.name)
        key = self.ec2.create_key_pair(KeyName=self.name)["KeyName"]
        self.planted |= {"role": self.name, "instance profile": self.name, "key pair": key}

    def logging(self) -> None:
        group = f"{self.path}planted"
        self.logs.create_log_group(logGroupName=group)
        flow = self.ec2.create_flow_logs(
            ResourceIds=[self.planted["VPC"]],
            ResourceType="VPC",
            TrafficType="ALL",
            LogGroupName=group,
            DeliverLogsPermissionArn=self.iam.get_role(RoleName=self.name)["Role"]["Arn"],
        )
        self.planted |= {"log group": group, "flow log": flow["FlowLogIds"][0]}

    def machine(self) -> None:
        image = self.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
        machine = self.ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            SubnetId=self.planted["subnet"],
            TagSpecifications=self.tagged("instance"),
        )
        copy = self.ec2.copy_image(Name=self.name, SourceImageId=image, SourceRegion="us-east-1")["ImageId"]
        self.ec2.create_tags(Resources=[copy], Tags=self.tags)
        self.planted |= {"instance": machine["Instances"][0]["InstanceId"], "image": copy}


if __name__ == "__main__":
    print(json.dumps(Planter(sys.argv[1]).all()))
