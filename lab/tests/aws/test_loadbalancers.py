"""Load balancers behave as the ELBv2 API reference says. Each test names what stock moto does otherwise."""

from harness import Case, eventually


class LoadBalancers(Case):
    def ready(self, **given):
        """A VPC with one running instance, a target group and a listener."""
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        made = self.instance(subnet)
        balancer, group = self.balancer([subnet]), self.targets(vpc, **given)
        self.listen(balancer, group)
        return made["InstanceId"], balancer, group, subnet

    def test_the_arn_of_a_network_load_balancer_says_net(self):
        made = self.balancer([self.subnet(self.vpc())])
        self.assertIn(":loadbalancer/net/", made["LoadBalancerArn"])

    def test_a_load_balancer_is_provisioning_before_it_is_active(self):
        arn = self.balancer([self.subnet(self.vpc())])["LoadBalancerArn"]

        def state():
            return self.elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]["State"]["Code"]

        self.assertEqual("provisioning", state())
        eventually(lambda: state() == "active")

    def test_a_second_load_balancer_of_the_same_name_is_a_duplicate(self):
        subnet = self.subnet(self.vpc())
        self.balancer([subnet])

        self.refused("DuplicateLoadBalancerName", self.balancer, subnets=[subnet])

    def test_each_subnet_has_a_requester_managed_interface_that_goes_after_the_load_balancer(self):
        subnet = self.subnet(self.vpc())
        arn = self.balancer([subnet])["LoadBalancerArn"]

        def interfaces():
            wanted = [{"Name": "subnet-id", "Values": [subnet]}]
            return self.ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]

        self.assertEqual(["network_load_balancer"], [i["InterfaceType"] for i in interfaces()])
        self.assertEqual("ELB " + arn.split("loadbalancer/")[1], interfaces()[0]["Description"])
        self.elb.delete_load_balancer(LoadBalancerArn=arn)
        self.refused("DependencyViolation", self.ec2.delete_subnet, SubnetId=subnet)
        eventually(lambda: not interfaces())
        self.ec2.delete_subnet(SubnetId=subnet)

    def test_a_load_balancer_keeps_its_security_group_from_deletion(self):
        vpc = self.vpc()
        group = self.group(vpc)
        self.balancer([self.subnet(vpc)], SecurityGroups=[group])

        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=group)

    def test_security_groups_cannot_be_set_on_one_created_without(self):
        vpc = self.vpc()
        made = self.balancer([self.subnet(vpc)])

        self.refused(
            "InvalidConfigurationRequest",
            self.elb.set_security_groups,
            LoadBalancerArn=made["LoadBalancerArn"],
            SecurityGroups=[self.group(vpc)],
        )

    def test_deletion_protection_is_heeded(self):
        arn = self.balancer([self.subnet(self.vpc())])["LoadBalancerArn"]
        on = [{"Key": "deletion_protection.enabled", "Value": "true"}]
        self.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=on)

        self.refused("OperationNotPermitted", self.elb.delete_load_balancer, LoadBalancerArn=arn)

    def test_an_unknown_instance_is_an_invalid_target(self):
        group = self.targets(self.vpc())

        self.refused(
            "InvalidTarget",
            self.elb.register_targets,
            TargetGroupArn=group,
            Targets=[{"Id": "i-0123456789abcdef0"}],
        )

    def test_an_instance_of_another_vpc_is_an_invalid_target(self):
        made = self.instance(self.subnet(self.vpc("10.30.0.0/16"), "10.30.1.0/24"))
        group = self.targets(self.vpc())

        self.refused(
            "InvalidTarget",
            self.elb.register_targets,
            TargetGroupArn=group,
            Targets=[{"Id": made["InstanceId"]}],
        )

    def test_deregistering_a_target_that_is_not_registered_succeeds(self):
        group = self.targets(self.vpc())
        self.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "i-0123456789abcdef0"}])

    def test_a_target_of_a_group_without_listener_is_unused(self):
        vpc = self.vpc()
        made = self.instance(self.subnet(vpc))
        group = self.targets(vpc)

        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": made["InstanceId"]}])

        self.assertEqual({made["InstanceId"]: "unused"}, self.health(group))

    def test_a_new_target_is_initial_and_one_where_nothing_listens_becomes_unhealthy(self):
        instance, _, group, _ = self.ready(UnhealthyThresholdCount=2)

        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": instance}])

        self.assertEqual({instance: "initial"}, self.health(group))
        eventually(lambda: self.health(group) == {instance: "unhealthy"})

    def test_a_target_that_left_is_draining_for_the_deregistration_delay(self):
        instance, _, group, _ = self.ready()
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": instance}])

        self.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": instance}])
        self.assertEqual({instance: "draining"}, self.health(group), "for five minutes by default")

        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": instance}])
        delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        self.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=delay)
        self.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": instance}])
        eventually(lambda: self.health(group) == {})

    def test_a_health_check_interval_out_of_range_is_a_validation_error(self):
        self.refused("ValidationError", self.targets, vpc=self.vpc(), HealthCheckIntervalSeconds=400)

    def test_an_https_health_check_takes_200_to_399_by_default(self):
        group = self.targets(self.vpc(), HealthCheckProtocol="HTTPS", HealthCheckPath="/ping")

        found = self.elb.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]

        self.assertEqual({"HttpCode": "200-399"}, found["Matcher"])

    def test_the_client_address_is_preserved_by_default_for_instances(self):
        group = self.targets(self.vpc())

        found = self.elb.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]

        self.assertIn({"Key": "preserve_client_ip.enabled", "Value": "true"}, found)
