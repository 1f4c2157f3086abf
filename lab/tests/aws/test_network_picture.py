"""What `machine network` is told, before the call that changed it is answered."""

from harness import Case


class Picture(Case):
    def test_a_machine_has_its_address_vpc_and_groups_before_run_instances_answers(self):
        vpc = self.vpc()
        group = self.group(vpc)

        made = self.instance(self.subnet(vpc), wait=False, SecurityGroupIds=[group])

        told = next(m for m in self.lab.network()["machines"] if m["id"] == made["InstanceId"])
        self.assertEqual(
            {
                "id": made["InstanceId"],
                "ip": made["PrivateIpAddress"],
                "public_ip": None,
                "vpc": vpc,
                "groups": [group],
            },
            told,
        )
        self.assertIn({"id": vpc, "cidr": "10.20.0.0/16"}, self.lab.network()["vpcs"])

    def test_rules_are_told_when_they_are_granted_and_when_they_are_revoked(self):
        group = self.group(self.vpc())
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "192.0.2.10/32"}]}

        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        granted = self.lab.network()["groups"][group]
        self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])

        wanted = {"proto": "tcp", "from": 22, "to": 22, "cidrs": ["192.0.2.10/32"], "groups": []}
        everything = {"proto": "-1", "from": 0, "to": 65535, "cidrs": ["0.0.0.0/0"], "groups": []}
        self.assertEqual({"ingress": [wanted], "egress": [everything]}, granted)
        self.assertEqual([], self.lab.network()["groups"][group]["ingress"])

    def test_a_rule_for_a_group_names_the_group(self):
        group = self.group(self.vpc())
        rule = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}

        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])

        self.assertEqual([[group]], [r["groups"] for r in self.lab.network()["groups"][group]["ingress"]])

    def test_an_elastic_address_is_told_with_its_machine(self):
        vpc = self.vpc()
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        made = self.instance(self.subnet(vpc))
        address = self.ec2.allocate_address(Domain="vpc")

        self.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=made["InstanceId"])

        told = next(m for m in self.lab.network()["machines"] if m["id"] == made["InstanceId"])
        self.assertEqual(address["PublicIp"], told["public_ip"])
        self.assertRegex(told["public_ip"], r"^203\.0\.113\.")

    def test_a_load_balancer_has_an_address_in_each_subnet_and_a_name(self):
        vpc = self.vpc()
        subnets = [self.subnet(vpc, f"10.20.{n}.0/24", zone) for n, zone in ((1, "a"), (2, "b"))]

        made = self.balancer(subnets)

        told = next(n for n in self.lab.network()["nlbs"] if n["name"] == self.name)
        self.assertEqual((made["DNSName"], vpc, None), (told["dns"], told["vpc"], told["groups"]))
        self.assertEqual({"10.20.1", "10.20.2"}, {a.rsplit(".", 1)[0] for a in told["addresses"]})

    def test_a_terminated_machine_is_told_no_more(self):
        made = self.instance(self.subnet(self.vpc()))
        self.terminate(made["InstanceId"])

        self.assertNotIn(made["InstanceId"], [m["id"] for m in self.lab.network()["machines"]])
