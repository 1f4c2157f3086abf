"""The state outlives the emulator, and can be saved and restored."""

import signal

from harness import Case, eventually


class State(Case):
    def test_everything_is_there_after_a_restart_under_the_same_ids(self):
        vpc = self.vpc()
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "Encrypted": True}}
        made = self.instance(self.subnet(vpc), ClientToken=self.name, BlockDeviceMappings=[disk])
        balancer = self.balancer([self.subnet(vpc, "10.20.2.0/24")])
        self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument="{}")
        self.logs.create_log_group(logGroupName=self.name)
        self.s3.create_bucket(Bucket=self.name)
        self.s3.put_object(Bucket=self.name, Key="k", Body=b"v")

        self.lab.stop()
        self.lab.start()

        self.assertEqual("running", self.state(made["InstanceId"]))
        found = self.elb.describe_load_balancers(Names=[self.name])["LoadBalancers"]
        self.assertEqual(balancer["LoadBalancerArn"], found[0]["LoadBalancerArn"])
        self.assertEqual(self.name, self.iam.get_role(RoleName=self.name)["Role"]["RoleName"])
        groups = self.logs.describe_log_groups(logGroupNamePrefix=self.name)["logGroups"]
        self.assertEqual([self.name], [g["logGroupName"] for g in groups])
        self.assertNotIn("cannot be kept", (self.lab.dir / "log").read_text())
        self.assertEqual(b"v", self.s3.get_object(Bucket=self.name, Key="k")["Body"].read())
        again = self.instance(made["SubnetId"], ClientToken=self.name, BlockDeviceMappings=[disk])
        self.assertEqual(made["InstanceId"], again["InstanceId"])
        self.assertEqual(1, sum(made["InstanceId"] in line for line in self.lab.told()))

    def test_a_launch_under_way_when_the_emulator_is_killed_is_finished_by_the_next(self):
        subnet = self.subnet(self.vpc())
        hold = self.lab.dir / "hold-up"
        hold.touch()
        made = self.instance(subnet, wait=False)
        state = self.lab.dir / "aws" / "state"
        eventually(lambda: state.exists() and made["InstanceId"].encode() in state.read_bytes())

        self.lab.stop(signal.SIGKILL)
        hold.unlink()
        self.lab.start()

        eventually(lambda: self.state(made["InstanceId"]) == "running")

    def test_a_restored_state_is_the_saved_one(self):
        vpc = self.vpc()
        file = self.lab.dir / "saved"
        self.lab.ask("save", file)
        later = self.vpc("10.21.0.0/16")

        self.lab.ask("restore", file)

        found = {v["VpcId"] for v in self.ec2.describe_vpcs()["Vpcs"]}
        self.assertIn(vpc, found)
        self.assertNotIn(later, found)

    def test_a_state_file_is_for_its_owner_only(self):
        self.vpc()
        state = self.lab.dir / "aws" / "state"
        eventually(state.exists)
        self.assertEqual(0o600, state.stat().st_mode & 0o777)
