"""Networks are taken down in order, as the EC2 API reference says. Each test names what stock moto does otherwise."""

from harness import Case, eventually


class Networks(Case):
    def gateway(self, vpc: str) -> str:
        made = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=vpc)
        return made

    def nat(self, subnet: str) -> tuple[str, str]:
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        made = self.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]
        return made["NatGatewayId"], address

    def nat_state(self, nat: str) -> str:
        return self.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]["State"]

    def test_a_subnet_with_a_network_interface_is_a_dependency_violation(self):
        subnet = self.subnet(self.vpc())
        self.ec2.create_network_interface(SubnetId=subnet)

        self.refused("DependencyViolation", self.ec2.delete_subnet, SubnetId=subnet)

    def test_a_security_group_in_use_is_a_dependency_violation(self):
        vpc = self.vpc()
        group = self.group(vpc)
        self.instance(self.subnet(vpc), SecurityGroupIds=[group])

        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=group)

    def test_a_security_group_that_a_rule_refers_to_is_a_dependency_violation(self):
        vpc = self.vpc()
        group, other = self.group(vpc), self.group(vpc)
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": group}]}
        self.ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[rule])

        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=group)

    def test_a_vpc_with_an_internet_gateway_is_a_dependency_violation(self):
        vpc = self.vpc()
        self.gateway(vpc)

        self.refused("DependencyViolation", self.ec2.delete_vpc, VpcId=vpc)

    def test_a_vpc_with_a_security_group_is_a_dependency_violation(self):
        vpc = self.vpc()
        self.group(vpc)

        self.refused("DependencyViolation", self.ec2.delete_vpc, VpcId=vpc)

    def test_a_vpc_with_an_endpoint_is_a_dependency_violation_until_it_is_deleted(self):
        vpc = self.vpc()
        made = self.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3")["VpcEndpoint"]
        self.refused("DependencyViolation", self.ec2.delete_vpc, VpcId=vpc)

        self.ec2.delete_vpc_endpoints(VpcEndpointIds=[made["VpcEndpointId"]])

        self.assertEqual([], self.ec2.describe_vpc_endpoints()["VpcEndpoints"])
        self.ec2.delete_vpc(VpcId=vpc)

    def test_a_deleted_vpc_takes_its_default_network_acl_along(self):
        vpc = self.vpc()
        self.ec2.delete_vpc(VpcId=vpc)

        left = self.ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]
        self.assertEqual([], left)

    def test_an_internet_gateway_is_not_detached_while_public_addresses_are_mapped(self):
        vpc = self.vpc()
        subnet, gateway = self.subnet(vpc), self.gateway(vpc)
        nat, _ = self.nat(subnet)

        self.refused("DependencyViolation", self.ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)
        self.ec2.delete_nat_gateway(NatGatewayId=nat)
        eventually(lambda: self.nat_state(nat) == "deleted")
        self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)

    def test_a_nat_gateway_is_pending_before_it_is_available(self):
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        self.gateway(vpc)

        nat, _ = self.nat(subnet)

        self.assertEqual("pending", self.nat_state(nat))
        eventually(lambda: self.nat_state(nat) == "available")

    def test_a_nat_gateway_is_found_by_all_tags_that_are_asked_for(self):
        """DescribeNatGateways: `tag:<key>` and `tag-key` are filters; several of them must all match."""
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        self.gateway(vpc)
        nat, _ = self.nat(subnet)
        self.ec2.create_tags(Resources=[nat], Tags=[{"Key": "owner", "Value": "one"}])

        def found(**tags: str) -> list[str]:
            wanted = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
            return [one["NatGatewayId"] for one in self.ec2.describe_nat_gateways(Filter=wanted)["NatGateways"]]

        self.assertEqual(([nat], [], []), (found(owner="one"), found(owner="two"), found(owner="one", build="base")))

    def test_the_interface_of_a_nat_gateway_has_an_address_of_its_subnet(self):
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        self.gateway(vpc)

        nat, _ = self.nat(subnet)

        found = self.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]
        self.assertRegex(found["NatGatewayAddresses"][0]["PrivateIp"], r"^10\.20\.1\.")

    def test_an_elastic_address_in_use_is_not_released(self):
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        self.gateway(vpc)
        _, address = self.nat(subnet)

        self.refused("InvalidIPAddress.InUse", self.ec2.release_address, AllocationId=address)

    def test_an_elastic_address_needs_an_internet_gateway(self):
        made = self.instance(self.subnet(self.vpc()))
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]

        self.refused(
            "Gateway.NotAttached",
            self.ec2.associate_address,
            AllocationId=address,
            InstanceId=made["InstanceId"],
        )

    def test_tags_of_deleted_things_are_gone(self):
        vpc = self.vpc()
        self.ec2.create_tags(Resources=[vpc], Tags=[{"Key": "k", "Value": self.name}])
        self.ec2.delete_vpc(VpcId=vpc)

        left = self.ec2.describe_tags(Filters=[{"Name": "value", "Values": [self.name]}])["Tags"]
        self.assertEqual([], left)

    def test_the_tagging_api_finds_addresses_key_pairs_endpoints_and_load_balancers(self):
        tags = [{"Key": "k", "Value": self.name}]
        vpc = self.vpc()
        spec = {"elastic-ip": None, "key-pair": None, "vpc-endpoint": None}
        spec = {kind: [{"ResourceType": kind, "Tags": tags}] for kind in spec}
        self.ec2.allocate_address(Domain="vpc", TagSpecifications=spec["elastic-ip"])
        self.ec2.create_key_pair(KeyName=self.name, TagSpecifications=spec["key-pair"])
        self.ec2.create_vpc_endpoint(
            VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3", TagSpecifications=spec["vpc-endpoint"]
        )
        self.balancer([self.subnet(vpc)], Tags=tags)
        self.logs.create_log_group(logGroupName=self.name, tags={"k": self.name})

        found = self.tagging.get_resources(TagFilters=[{"Key": "k", "Values": [self.name]}])
        kinds = {entry["ResourceARN"].split(":", 5)[5].split("/")[0] for entry in found["ResourceTagMappingList"]}
        self.assertEqual({"elastic-ip", "key-pair", "vpc-endpoint", "loadbalancer", f"log-group:{self.name}"}, kinds)

    def test_the_tagging_api_does_not_find_a_terminated_instance(self):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": self.name}]}]
        made = self.instance(self.subnet(self.vpc()), TagSpecifications=tags)
        self.terminate(made["InstanceId"])

        found = self.tagging.get_resources(TagFilters=[{"Key": "k", "Values": [self.name]}])
        self.assertEqual([], found["ResourceTagMappingList"])

    def test_a_create_call_repeated_with_its_client_token_makes_one_thing(self):
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        self.gateway(vpc)
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]

        made = {
            self.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, ClientToken=self.name)["NatGateway"][
                "NatGatewayId"
            ]
            for _ in range(2)
        }

        self.assertEqual(1, len(made))
