"""An emulator of its own for each test class, in the network namespace that `run` made, with a machine command that
writes down what it was told and fails on demand."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

HERE = Path(__file__).resolve().parent
AWS = HERE.parent.parent / "aws"
sys.path.insert(0, str(AWS))
PORT = 4566
IMAGE = "ami-0ba5e00000000001"
REGION = "us-east-1"
PATIENCE = 60.0
ASK = ["curl", "-s", "--max-time", "5", "-o", "/dev/null", f"http://127.0.0.1:{PORT}/moto-api/"]


def eventually(look: Callable[[], Any], seconds: float = 0) -> Any:
    """Looks until the answer is true; fails with the last answer when the time (default: PATIENCE) is up."""
    seconds = seconds or PATIENCE
    end = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > end:
            raise AssertionError(f"still {seen!r} after {seconds} s")
        time.sleep(0.05)
    return seen


class Emulator:
    """`stock` is moto as it comes, for comparison."""

    def __init__(self, *, stock: bool = False, settle: float = 2.0):
        self.stock, self.settle = stock, settle
        self.dir = Path(tempfile.mkdtemp(prefix="lab-aws-"))
        self.child: subprocess.Popen | None = None

    def start(self) -> "Emulator":
        environment = {**os.environ, "FAKE_DIR": str(self.dir), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, AWS / "emulator", "serve", "--dir", self.dir / "aws"]
        command += ["--machine", str(HERE / "fake-machine"), "--metadata", "169.254.169.254:80"]
        command += ["--settle", str(self.settle)]
        if self.stock:
            from labaws.settings import Settings, prepare

            prepare(Settings(dir=self.dir, port=PORT))
            environment |= {key: value for key, value in os.environ.items() if key.startswith("MOTO_")}
            command = [sys.executable, "-m", "moto.server", "-p", str(PORT)]
        with (self.dir / "log").open("ab") as log:
            self.child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        eventually(self.answers, 60)
        return self

    def answers(self) -> bool:
        if self.child.poll() is not None:
            raise AssertionError((self.dir / "log").read_text())
        return subprocess.run(ASK).returncode == 0

    def stop(self, signal: int = 15) -> None:
        self.child.send_signal(signal)
        self.child.wait(30)

    def clean(self) -> None:
        """Ends it, and what a crashed one or a failed test would leave."""
        for held in self.dir.glob("hold-*"):
            held.unlink()
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise
        finally:
            pid = self.dir / "aws" / "haproxy.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), 15)
            shutil.rmtree(self.dir)

    def ask(self, *words: object) -> dict:
        """The emulator's own command."""
        command = [sys.executable, AWS / "emulator", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def told(self) -> list[str]:
        """What the machine command was called with, `network` aside."""
        path = self.dir / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def network(self) -> dict:
        return json.loads((self.dir / "network.json").read_text())

    def log(self) -> list[dict]:
        return [json.loads(line) for line in (self.dir / "aws" / "api.jsonl").read_text().splitlines()]


class Case(unittest.TestCase):
    """Clients, and the things most tests need first. `stock` is set by test_stock.py."""

    stock = False

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Emulator(stock=cls.stock).start()
        cls.addClassCleanup(cls.lab.clean)

    def setUp(self) -> None:
        config = Config(retries={"total_max_attempts": 1}, read_timeout=30)
        make = {"region_name": REGION, "endpoint_url": f"http://127.0.0.1:{PORT}", "config": config}
        make |= {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        names = ("ec2", "elbv2", "iam", "sts", "logs", "s3", "resourcegroupstaggingapi")
        self.ec2, self.elb, self.iam, self.sts, self.logs, self.s3, self.tagging = (
            boto3.client(name, **make) for name in names
        )
        self.name = "t" + uuid.uuid4().hex[:8]

    def refused(self, code: str, call: Callable, **given: Any) -> str:
        """The call fails with this AWS error code; gives the message."""
        with self.assertRaises(ClientError) as caught:
            call(**given)
        error = caught.exception.response["Error"]
        self.assertEqual(code, error["Code"], error["Message"])
        self.assertLess(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 500)
        return error["Message"]

    def vpc(self, cidr: str = "10.20.0.0/16") -> str:
        return self.ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]

    def subnet(self, vpc: str, cidr: str = "10.20.1.0/24", zone: str = "a") -> str:
        made = self.ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=REGION + zone)
        return made["Subnet"]["SubnetId"]

    def group(self, vpc: str) -> str:
        name = "g" + uuid.uuid4().hex[:8]
        return self.ec2.create_security_group(GroupName=name, Description="d", VpcId=vpc)["GroupId"]

    def instance(self, subnet: str, wait: bool = True, **given: Any) -> dict:
        """A new instance, running unless told otherwise."""
        given = {"ImageId": IMAGE, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, **given}
        if "NetworkInterfaces" not in given:
            given["SubnetId"] = subnet
        made = self.ec2.run_instances(**given)["Instances"][0]
        if wait:
            eventually(lambda: self.state(made["InstanceId"]) == "running")
        return made

    def described(self, instance_id: str) -> dict:
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    def state(self, instance_id: str) -> str:
        return self.described(instance_id)["State"]["Name"]

    def terminate(self, instance_id: str) -> None:
        self.ec2.terminate_instances(InstanceIds=[instance_id])
        eventually(lambda: self.state(instance_id) == "terminated")

    def balancer(self, subnets: list[str], **given: Any) -> dict:
        return self.elb.create_load_balancer(
            Name=self.name, Type="network", Scheme="internal", Subnets=subnets, **given
        )["LoadBalancers"][0]

    def targets(self, vpc: str, port: int = 6443, **given: Any) -> str:
        given = {
            "Protocol": "TCP",
            "HealthCheckProtocol": "TCP",
            "HealthCheckIntervalSeconds": 5,
            "HealthCheckTimeoutSeconds": 2,
            **given,
        }
        made = self.elb.create_target_group(Name=self.name, Port=port, VpcId=vpc, **given)
        return made["TargetGroups"][0]["TargetGroupArn"]

    def listen(self, balancer: dict, group: str, port: int = 6443) -> str:
        actions = [{"Type": "forward", "TargetGroupArn": group}]
        arn = balancer["LoadBalancerArn"]
        made = self.elb.create_listener(LoadBalancerArn=arn, Protocol="TCP", Port=port, DefaultActions=actions)
        return made["Listeners"][0]["ListenerArn"]

    def health(self, group: str) -> dict[str, str]:
        found = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"]: entry["TargetHealth"]["State"] for entry in found}
