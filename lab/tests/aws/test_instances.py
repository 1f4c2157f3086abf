"""Instances behave as the EC2 API reference says. Each test names what AWS documents and stock moto does otherwise."""

from harness import Case, eventually


class Instances(Case):
    def test_run_instances_is_pending_until_the_machine_is_up_and_terminate_takes_it_down(self):
        subnet = self.subnet(self.vpc())

        made = self.instance(subnet, wait=False, PrivateIpAddress="10.20.1.50")
        eventually(lambda: self.state(made["InstanceId"]) == "running")
        self.terminate(made["InstanceId"])

        verbs = [line.split()[:3] for line in self.lab.told() if made["InstanceId"] in line]
        self.assertEqual([["up", made["InstanceId"], "10.20.1.50"], ["down", made["InstanceId"]]], verbs)

    def test_a_launch_that_fails_ends_terminated_with_a_state_reason(self):
        subnet = self.subnet(self.vpc())
        (self.lab.dir / "fail-up").touch()
        self.addCleanup((self.lab.dir / "fail-up").unlink)

        made = self.instance(subnet, wait=False)
        eventually(lambda: self.state(made["InstanceId"]) == "terminated")

        self.assertEqual("Server.InternalError", self.described(made["InstanceId"])["StateReason"]["Code"])

    def test_the_same_client_token_gives_the_same_instance(self):
        subnet = self.subnet(self.vpc())
        first = self.instance(subnet, ClientToken=self.name)

        second = self.instance(subnet, ClientToken=self.name)

        self.assertEqual(first["InstanceId"], second["InstanceId"])

    def test_a_client_token_with_other_parameters_is_idempotent_parameter_mismatch(self):
        subnet = self.subnet(self.vpc())
        self.instance(subnet, ClientToken=self.name)

        given = {"ImageId": "ami-0ba5e00000000001", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
        self.refused(
            "IdempotentParameterMismatch",
            self.ec2.run_instances,
            InstanceType="c5.large",
            ClientToken=self.name,
            **given,
        )

    def test_a_root_mapping_without_size_takes_the_images_size(self):
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeType": "gp3", "Encrypted": True}}
        made = self.instance(self.subnet(self.vpc()), BlockDeviceMappings=[disk])

        self.assertEqual(10, self.volume(made["InstanceId"])["Size"])

    def test_iops_and_throughput_of_a_gp3_root_volume_are_kept(self):
        disk = {
            "DeviceName": "/dev/sda1",
            "Ebs": {"VolumeSize": 80, "VolumeType": "gp3", "Iops": 4000, "Throughput": 200},
        }
        made = self.instance(self.subnet(self.vpc()), BlockDeviceMappings=[disk])

        volume = self.volume(made["InstanceId"])
        self.assertEqual((4000, 200), (volume["Iops"], volume["Throughput"]))

    def test_a_gp3_volume_has_125_mib_per_second_unless_told_otherwise(self):
        volume = self.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="gp3")
        found = self.ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])["Volumes"][0]
        self.assertEqual(125, found.get("Throughput"))

    def test_delete_on_termination_is_the_default_of_the_root_volume(self):
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20}}
        made = self.instance(self.subnet(self.vpc()), BlockDeviceMappings=[disk])
        volume = self.volume(made["InstanceId"])["VolumeId"]

        self.terminate(made["InstanceId"])

        self.refused("InvalidVolume.NotFound", self.ec2.describe_volumes, VolumeIds=[volume])

    def test_a_snapshot_is_pending_before_it_is_completed(self):
        volume = self.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
        made = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]

        def state():
            return self.ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"]

        self.assertEqual("pending", state())
        eventually(lambda: state() == "completed")

    def test_run_instances_launches_up_to_max_count(self):
        subnet = self.subnet(self.vpc())
        self.instance(subnet, MinCount=1, MaxCount=3)

        found = self.ec2.describe_instances(Filters=[{"Name": "subnet-id", "Values": [subnet]}])["Reservations"]
        self.assertEqual(3, sum(len(r["Instances"]) for r in found))

    def test_groups_named_in_network_interfaces_are_the_instances_groups(self):
        vpc = self.vpc()
        subnet, group = self.subnet(vpc), self.group(vpc)
        interface = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group]}

        made = self.instance(subnet, NetworkInterfaces=[interface])

        self.assertEqual([group], [g["GroupId"] for g in self.described(made["InstanceId"])["SecurityGroups"]])

    def test_modify_instance_attribute_of_the_shutdown_behaviour_keeps_the_groups(self):
        vpc = self.vpc()
        group = self.group(vpc)
        made = self.instance(self.subnet(vpc), SecurityGroupIds=[group])

        self.ec2.modify_instance_attribute(
            InstanceId=made["InstanceId"], InstanceInitiatedShutdownBehavior={"Value": "terminate"}
        )

        self.assertEqual([group], [g["GroupId"] for g in self.described(made["InstanceId"])["SecurityGroups"]])

    def test_a_terminated_instance_gives_its_private_address_back(self):
        subnet = self.subnet(self.vpc())
        first = self.instance(subnet, PrivateIpAddress="10.20.1.60")
        self.terminate(first["InstanceId"])

        second = self.instance(subnet, PrivateIpAddress="10.20.1.60")

        self.assertEqual("10.20.1.60", second["PrivateIpAddress"])

    def test_an_address_in_use_is_refused_with_a_client_error(self):
        subnet = self.subnet(self.vpc())
        self.instance(subnet, PrivateIpAddress="10.20.1.61")

        self.refused("InvalidIPAddress.InUse", self.instance, subnet=subnet, PrivateIpAddress="10.20.1.61")

    def test_the_network_interface_of_an_instance_goes_with_it(self):
        subnet = self.subnet(self.vpc())
        made = self.instance(subnet)
        self.terminate(made["InstanceId"])

        left = self.ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])
        self.assertEqual([], left["NetworkInterfaces"])

    def test_a_stopped_instance_is_not_stopped_before_the_machine_is(self):
        made = self.instance(self.subnet(self.vpc()))
        (self.lab.dir / "hold-stop").touch()

        self.ec2.stop_instances(InstanceIds=[made["InstanceId"]])
        between = self.state(made["InstanceId"])
        (self.lab.dir / "hold-stop").unlink()

        self.assertEqual("stopping", between)
        eventually(lambda: self.state(made["InstanceId"]) == "stopped")

    def test_starting_a_stopping_instance_is_incorrect_instance_state(self):
        made = self.instance(self.subnet(self.vpc()))
        (self.lab.dir / "hold-stop").touch()
        self.addCleanup(lambda: (self.lab.dir / "hold-stop").unlink(missing_ok=True))
        self.ec2.stop_instances(InstanceIds=[made["InstanceId"]])

        self.refused("IncorrectInstanceState", self.ec2.start_instances, InstanceIds=[made["InstanceId"]])

    def test_the_instance_type_of_a_running_instance_cannot_be_changed(self):
        made = self.instance(self.subnet(self.vpc()))

        self.refused(
            "IncorrectInstanceState",
            self.ec2.modify_instance_attribute,
            InstanceId=made["InstanceId"],
            InstanceType={"Value": "c5.large"},
        )

    def test_metadata_options_that_a_call_does_not_name_stay_as_they_were(self):
        options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}
        made = self.instance(self.subnet(self.vpc()), MetadataOptions=options)

        self.ec2.modify_instance_metadata_options(InstanceId=made["InstanceId"], HttpEndpoint="disabled")

        now = self.described(made["InstanceId"])["MetadataOptions"]
        self.assertEqual(
            ("required", 2, "disabled"), (now["HttpTokens"], now["HttpPutResponseHopLimit"], now["HttpEndpoint"])
        )

    def test_console_output_is_the_machines_own_and_has_its_host_keys(self):
        made = self.instance(self.subnet(self.vpc()))

        text = self.ec2.get_console_output(InstanceId=made["InstanceId"])["Output"]

        self.assertIn(f"ssh-ed25519 AAAA root@{made['InstanceId']}", text)

    def volume(self, instance_id: str) -> dict:
        wanted = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
        return self.ec2.describe_volumes(Filters=wanted)["Volumes"][0]
