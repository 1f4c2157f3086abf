"""What moto does right already and the product relies on."""

import json
import subprocess
import tempfile
from pathlib import Path

from harness import Case

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
)


class ReliedOn(Case):
    def public_half(self, private: str) -> str:
        path = Path(tempfile.mkdtemp()) / "key"
        path.touch(mode=0o600)
        path.write_text(private)
        done = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True)
        return done.stdout.split()[1]

    def test_created_key_pairs_are_real_and_the_machine_gets_their_public_half(self):
        for kind in ("rsa", "ed25519"):
            made = self.ec2.create_key_pair(KeyName=f"{self.name}-{kind}", KeyType=kind)
            instance = self.instance(self.subnet(self.vpc()), KeyName=f"{self.name}-{kind}")["InstanceId"]

            given = (self.lab.dir / "aws" / "instances" / instance / "pubkey").read_text()
            self.assertEqual(self.public_half(made["KeyMaterial"]), given.split()[1])

    def test_an_imported_key_pair_reaches_the_machine_as_given(self):
        made = self.ec2.create_key_pair(KeyName=self.name, KeyType="rsa")
        public = f"ssh-rsa {self.public_half(made['KeyMaterial'])} me"
        self.ec2.import_key_pair(KeyName=self.name + "-in", PublicKeyMaterial=public.encode())
        instance = self.instance(self.subnet(self.vpc()), KeyName=self.name + "-in")["InstanceId"]

        self.assertEqual(public, (self.lab.dir / "aws" / "instances" / instance / "pubkey").read_text().strip())

    def test_a_used_key_pair_name_is_a_duplicate(self):
        self.ec2.create_key_pair(KeyName=self.name)
        self.refused("InvalidKeyPair.Duplicate", self.ec2.create_key_pair, KeyName=self.name)

    def test_roles_have_paths_and_are_not_deleted_while_a_profile_has_them(self):
        role = self.iam.create_role(RoleName=self.name, Path="/sre/", AssumeRolePolicyDocument=TRUST)["Role"]
        self.assertEqual(f"arn:aws:iam::123456789012:role/sre/{self.name}", role["Arn"])
        self.iam.create_instance_profile(InstanceProfileName=self.name, Path="/sre/")
        self.iam.add_role_to_instance_profile(InstanceProfileName=self.name, RoleName=self.name)

        self.refused("DeleteConflict", self.iam.delete_role, RoleName=self.name)
        found = self.iam.list_roles(PathPrefix="/sre/")["Roles"]
        self.assertIn(self.name, [r["RoleName"] for r in found])

    def test_flow_logs_go_to_a_log_group(self):
        self.logs.create_log_group(logGroupName=self.name)
        role = self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=TRUST)["Role"]
        made = self.ec2.create_flow_logs(
            ResourceIds=[self.vpc()],
            ResourceType="VPC",
            TrafficType="ALL",
            LogGroupName=self.name,
            DeliverLogsPermissionArn=role["Arn"],
        )["FlowLogIds"]

        found = self.ec2.describe_flow_logs(FlowLogIds=made)["FlowLogs"]
        self.assertEqual(("ACTIVE", self.name), (found[0]["FlowLogStatus"], found[0]["LogGroupName"]))

    def test_an_object_is_created_once_only_with_if_none_match(self):
        self.s3.create_bucket(Bucket=self.name)
        self.s3.put_object(Bucket=self.name, Key="k", Body=b"1", IfNoneMatch="*")

        self.refused("PreconditionFailed", self.s3.put_object, Bucket=self.name, Key="k", Body=b"2", IfNoneMatch="*")

    def test_get_caller_identity_names_the_account(self):
        self.assertEqual("123456789012", self.sts.get_caller_identity()["Account"])

    def test_an_unknown_image_is_refused(self):
        subnet = self.subnet(self.vpc())
        self.refused("InvalidAMIID.NotFound", self.instance, subnet=subnet, ImageId="ami-0123456789abcdef0")

    def test_a_describe_by_state_leaves_terminated_instances_out(self):
        subnet = self.subnet(self.vpc())
        self.terminate(self.instance(subnet)["InstanceId"])

        wanted = [
            {"Name": "subnet-id", "Values": [subnet]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]},
        ]
        self.assertEqual([], self.ec2.describe_instances(Filters=wanted)["Reservations"])
