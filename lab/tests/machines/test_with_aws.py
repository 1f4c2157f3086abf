"""The whole lab: what the API says is what machines and network do."""

import re
import unittest

from harness import OPERATOR, Lab, eventually

IMAGE = "ami-0ba5e00000000001"
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": OPERATOR}]}


class WithAws(unittest.TestCase):
    """One instance, made through the API."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Lab("test-aws").up(aws=True)
        cls.addClassCleanup(cls.lab.down)
        vpc = cls.ec2("create_vpc", CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        subnet = cls.ec2("create_subnet", VpcId=vpc, CidrBlock="10.20.1.0/24")["Subnet"]["SubnetId"]
        cls.group = cls.ec2("create_security_group", GroupName="ssh", Description="ssh", VpcId=vpc)["GroupId"]
        cls.ec2("authorize_security_group_ingress", GroupId=cls.group, IpPermissions=[SSH])
        cls.key = cls.lab.dir / "key"
        cls.key.touch(mode=0o600)
        cls.key.write_text(cls.ec2("create_key_pair", KeyName="k", KeyType="ed25519")["KeyMaterial"])
        cls.instance = cls.ec2(
            "run_instances",
            ImageId=IMAGE,
            InstanceType="m6i.large",
            MinCount=1,
            MaxCount=1,
            KeyName="k",
            SubnetId=subnet,
            SecurityGroupIds=[cls.group],
            UserData="#cloud-config\nwrite_files: [{path: /etc/greeting, content: hello}]\n",
        )["Instances"][0]
        cls.id, cls.ip = cls.instance["InstanceId"], cls.instance["PrivateIpAddress"]
        cls.lab.wait(cls.id)

    @classmethod
    def ec2(cls, call: str, **given: object) -> dict:
        return cls.lab.api("ec2", call, **given)

    def state(self) -> str:
        described = self.ec2("describe_instances", InstanceIds=[self.id])
        return described["Reservations"][0]["Instances"][0]["State"]["Name"]

    def pinned(self) -> str:
        """A known_hosts file out of the instance's console output, as a careful operator makes it."""
        console = eventually(lambda: self.ec2("get_console_output", InstanceId=self.id, Latest=True).get("Output"))
        keys = re.search(r"BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS", console, re.S)
        self.assertIsNotNone(keys, console)
        lines = [f"{self.ip} {' '.join(line.split()[:2])}\n" for line in keys[1].strip().splitlines()]
        known = self.lab.dir / "known_hosts"
        known.write_text("".join(lines))
        return str(known)

    def ssh(self, command: str) -> str:
        options = (
            "-o",
            f"UserKnownHostsFile={self.pinned()}",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "BatchMode=yes",
        )
        login = ("ssh", "-F", "none", *options, "-i", self.key, f"rocky@{self.ip}", command)
        return self.lab.do("exec", "--", *login).strip()

    def test_an_instance_boots_with_its_key_its_user_data_and_host_keys_on_the_console(self) -> None:
        self.assertEqual(self.ssh("sudo cat /etc/greeting"), "hello")
        self.assertEqual(self.ssh("sudo cloud-init query instance_id"), self.id)

    def test_a_revoked_rule_closes_the_port_and_an_authorized_one_opens_it(self) -> None:
        self.ec2("revoke_security_group_ingress", GroupId=self.group, IpPermissions=[SSH])
        revoked = self.lab.reach("operator", self.ip, 22)
        self.ec2("authorize_security_group_ingress", GroupId=self.group, IpPermissions=[SSH])

        self.assertEqual((revoked, self.lab.reach("operator", self.ip, 22)), ("silent", "open"))

    def test_an_instance_that_switches_itself_off_is_stopped(self) -> None:
        self.lab.call("machine", "exec", self.id, "systemctl", "poweroff")

        eventually(lambda: self.state() == "stopped")

        self.ec2("start_instances", InstanceIds=[self.id])
        eventually(lambda: self.state() == "running")
        self.lab.wait(self.id)

    def test_a_saved_state_brings_back_what_was_terminated_since(self) -> None:
        self.lab.on(self.id, "sh", "-c", "echo kept >/etc/kept")
        self.lab.do("save", "before")
        self.ec2("terminate_instances", InstanceIds=[self.id])
        eventually(lambda: self.lab.state(self.id) == "gone")

        self.lab.do("restore", "before")
        self.lab.wait(self.id)

        self.assertEqual(self.state(), "running")
        self.assertEqual(eventually(lambda: self.ssh("cat /etc/kept")), "kept")

    def test_a_planted_fault_hits_as_often_as_it_says(self) -> None:
        self.lab.do("fault", "api", "DescribeVpcs", "error=RequestLimitExceeded", "status=503", "count=1")

        with self.assertRaisesRegex(AssertionError, "RequestLimitExceeded"):
            self.ec2("describe_vpcs")
        self.assertTrue(self.ec2("describe_vpcs")["Vpcs"])


if __name__ == "__main__":
    unittest.main()
