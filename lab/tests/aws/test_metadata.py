"""Instance metadata, version 2, as the EC2 user guide and cloud-init's Ec2 datasource want it."""

import json
import subprocess

from harness import Case


class Metadata(Case):
    def ask(self, path: str, source: str, *more: str) -> tuple[int, str]:
        command = ["curl", "-s", "-w", "\n%{http_code}", "--max-time", "5", "--interface", source, *more]
        done = subprocess.run([*command, f"http://169.254.169.254{path}"], capture_output=True, text=True)
        text, code = done.stdout.rsplit("\n", 1)
        return int(code), text

    def token(self, source: str) -> str:
        life = ("-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60")
        return self.ask("/latest/api/token", source, *life)[1]

    def get(self, path: str, source: str) -> tuple[int, str]:
        return self.ask(path, source, "-H", f"X-aws-ec2-metadata-token: {self.token(source)}")

    def machine(self, **given) -> tuple[str, str]:
        made = self.instance(self.subnet(self.vpc(self.range), f"{self.prefix}.1.0/24"), **given)
        return made["InstanceId"], made["PrivateIpAddress"]

    numbers = iter(range(40, 100))

    def setUp(self) -> None:
        super().setUp()
        self.prefix = f"10.{next(self.numbers)}"
        self.range = f"{self.prefix}.0.0/16"

    def test_without_a_token_the_answer_is_401(self):
        _, ip = self.machine()
        self.assertEqual(401, self.ask("/latest/meta-data/", ip)[0])

    def test_a_token_of_another_instance_is_no_token(self):
        _, first = self.machine()
        self.prefix, self.range = "10.101", "10.101.0.0/16"
        _, second = self.machine()

        self.assertEqual(
            401, self.ask("/latest/meta-data/", second, "-H", f"X-aws-ec2-metadata-token: {self.token(first)}")[0]
        )

    def test_a_token_needs_a_time_to_live(self):
        _, ip = self.machine()
        self.assertEqual(400, self.ask("/latest/api/token", ip, "-X", "PUT")[0])

    def test_it_says_who_the_instance_is(self):
        instance, ip = self.machine()

        self.assertEqual((200, instance), self.get("/latest/meta-data/instance-id", ip))
        self.assertEqual((200, ip), self.get("/2021-03-23/meta-data/local-ipv4", ip))
        self.assertEqual((200, "us-east-1a"), self.get("/latest/meta-data/placement/availability-zone", ip))
        document = json.loads(self.get("/latest/dynamic/instance-identity/document", ip)[1])
        self.assertEqual((instance, ip, "us-east-1"), tuple(document[k] for k in ("instanceId", "privateIp", "region")))

    def test_folders_are_listed_as_cloud_init_reads_them(self):
        self.ec2.create_key_pair(KeyName=self.name, KeyType="ed25519")
        _, ip = self.machine(KeyName=self.name)

        listing = self.get("/latest/meta-data/", ip)[1].split("\n")
        self.assertIn("instance-id", listing)
        self.assertIn("placement/", listing)
        self.assertEqual(f"0={self.name}", self.get("/latest/meta-data/public-keys/", ip)[1])
        self.assertRegex(self.get("/latest/meta-data/public-keys/0/openssh-key", ip)[1], "^ssh-ed25519 AAAA")

    def test_user_data_is_served_as_given_and_404_without(self):
        _, ip = self.machine(UserData="#cloud-config\nhostname: a\n")
        self.assertEqual((200, "#cloud-config\nhostname: a\n"), self.get("/latest/user-data", ip))

        self.prefix, self.range = "10.102", "10.102.0.0/16"
        _, bare = self.machine()
        self.assertEqual(404, self.get("/latest/user-data", bare)[0])

    def test_a_disabled_endpoint_is_403(self):
        _, ip = self.machine(MetadataOptions={"HttpEndpoint": "disabled"})
        self.assertEqual(403, self.ask("/latest/meta-data/", ip)[0])

    def test_somebody_who_is_no_instance_gets_403(self):
        self.assertEqual(403, self.ask("/latest/meta-data/", "192.0.2.10")[0])

    def test_the_credentials_of_the_instances_role_work(self):
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
            ],
        }
        self.iam.create_role(RoleName=self.name, Path="/sre/", AssumeRolePolicyDocument=json.dumps(trust))
        self.iam.create_instance_profile(InstanceProfileName=self.name)
        self.iam.add_role_to_instance_profile(InstanceProfileName=self.name, RoleName=self.name)
        instance, ip = self.machine(IamInstanceProfile={"Name": self.name})

        self.assertEqual((200, self.name), self.get("/latest/meta-data/iam/security-credentials/", ip))
        given = json.loads(self.get(f"/latest/meta-data/iam/security-credentials/{self.name}", ip)[1])

        self.sts._request_signer._credentials.access_key = given["AccessKeyId"]
        arn = self.sts.get_caller_identity()["Arn"]
        self.assertEqual(f"arn:aws:sts::123456789012:assumed-role/{self.name}/{instance}", arn)
