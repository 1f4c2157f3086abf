"""The front door: planted faults, lost answers, unimplemented actions, the log of calls."""

import botocore.exceptions

from harness import Case, eventually


class Front(Case):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.lab.ask, "fault", "clear")

    def plant(self, **keys: object) -> None:
        self.lab.ask("fault", "plant", *(f"{key}={value}" for key, value in keys.items()))

    def test_a_planted_error_is_answered_as_often_as_told_and_then_no_more(self):
        self.plant(action="DescribeVpcs", error="RequestLimitExceeded", status=503, count=2)

        statuses = []
        for _ in range(3):
            try:
                statuses.append(self.ec2.describe_vpcs()["ResponseMetadata"]["HTTPStatusCode"])
            except botocore.exceptions.ClientError as wrong:
                self.assertEqual("RequestLimitExceeded", wrong.response["Error"]["Code"])
                statuses.append(wrong.response["ResponseMetadata"]["HTTPStatusCode"])

        self.assertEqual([503, 503, 200], statuses)

    def test_errors_are_readable_in_every_protocol(self):
        self.plant(action="*", error="Throttling", count=4)

        for call in (
            self.ec2.describe_vpcs,
            self.elb.describe_load_balancers,
            self.logs.describe_log_groups,
            self.iam.list_roles,
        ):
            self.refused("Throttling", call)

    def test_a_fault_of_another_service_does_not_hit(self):
        self.plant(action="elasticloadbalancing:DescribeTags", error="Throttling")
        self.ec2.describe_tags()

    def test_a_lost_answer_leaves_the_effect(self):
        self.plant(action="CreateVpc", lose_answer="true")

        with self.assertRaises(botocore.exceptions.HTTPClientError):
            self.vpc("10.77.0.0/16")

        found = self.ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.77.0.0/16"]}])["Vpcs"]
        self.assertEqual(1, len(found))

    def test_a_run_instances_whose_answer_was_lost_is_found_again_by_its_token(self):
        subnet = self.subnet(self.vpc())
        self.plant(action="RunInstances", lose_answer="true")
        with self.assertRaises(botocore.exceptions.HTTPClientError):
            self.instance(subnet, wait=False, ClientToken=self.name)

        again = self.instance(subnet, ClientToken=self.name)

        found = self.ec2.describe_instances(Filters=[{"Name": "subnet-id", "Values": [subnet]}])["Reservations"]
        self.assertEqual([again["InstanceId"]], [i["InstanceId"] for r in found for i in r["Instances"]])

    def test_a_planted_fault_of_the_machine_command_makes_the_launch_fail(self):
        self.plant(action="machine:up", error="no capacity")

        made = self.instance(self.subnet(self.vpc()), wait=False)

        eventually(lambda: self.state(made["InstanceId"]) == "terminated")

    def test_a_machine_is_frozen_as_soon_as_it_is_on_where_that_was_planted(self):
        self.plant(action="machine:up", then="freeze")
        subnet = self.subnet(self.vpc())

        hangs, boots = self.instance(subnet)["InstanceId"], self.instance(subnet)["InstanceId"]

        frozen = [call.split()[1] for call in self.lab.told() if call.startswith("freeze ")]
        self.assertEqual(([hangs], "running"), (frozen, self.state(hangs)))
        self.assertNotIn(boots, frozen)

    def test_a_termination_that_failed_hangs_until_it_is_asked_for_again(self):
        made = self.instance(self.subnet(self.vpc()))
        self.plant(action="machine:down", error="stuck")

        self.ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
        eventually(lambda: self.lab.ask("fault", "list")[0]["hits"] == 1)
        self.assertEqual("shutting-down", self.state(made["InstanceId"]))

        self.terminate(made["InstanceId"])

    def test_a_delayed_capture_shows_the_image_pending(self):
        made = self.instance(self.subnet(self.vpc()))
        self.plant(action="machine:image", delay=1)

        image = self.ec2.create_image(InstanceId=made["InstanceId"], Name=self.name)["ImageId"]

        def state():
            return self.ec2.describe_images(ImageIds=[image])["Images"][0]["State"]

        self.assertEqual("pending", state())
        eventually(lambda: state() == "available")

    def test_an_unknown_key_of_a_fault_is_refused(self):
        with self.assertRaisesRegex(AssertionError, "colour"):
            self.plant(action="*", colour="red")

    def test_an_action_that_moto_does_not_implement_is_a_client_error_that_no_sdk_retries(self):
        message = self.refused("LabNotImplemented", self.ec2.describe_fast_launch_images)

        self.assertIn("ec2:DescribeFastLaunchImages", message)
        self.assertIn("NOT IMPLEMENTED ec2:DescribeFastLaunchImages", (self.lab.dir / "log").read_text())

    def test_the_log_says_who_called_what_on_which_resources_and_which_permission_it_needs(self):
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}]

        made = self.instance(subnet, TagSpecifications=tags)

        call = [entry for entry in self.lab.log() if entry["action"] == "RunInstances"][-1]
        self.assertEqual(["ec2:RunInstances", "ec2:CreateTags"], call["iam"])
        self.assertIn(subnet, call["resources"])
        self.assertIn(made["InstanceId"], call["made"])
        self.assertEqual(
            ("ec2", "us-east-1", 200, "test"), tuple(call[k] for k in ("service", "region", "status", "key"))
        )
        self.assertEqual("arn:aws:iam::123456789012:root", call["principal"])
        self.assertIn("Boto3", call["agent"])

    def test_a_guest_that_switched_itself_off_is_stopped(self):
        made = self.instance(self.subnet(self.vpc()))

        self.lab.ask("poweroff", made["InstanceId"])

        eventually(lambda: self.state(made["InstanceId"]) == "stopped")

    def test_a_guest_that_switched_itself_off_is_terminated_where_the_instance_says_so(self):
        made = self.instance(self.subnet(self.vpc()), InstanceInitiatedShutdownBehavior="terminate")

        self.lab.ask("poweroff", made["InstanceId"])

        eventually(lambda: self.state(made["InstanceId"]) == "terminated")
