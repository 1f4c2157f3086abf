"""The inventory of live things."""

import json
import os
import subprocess
import sys

from harness import AWS, PORT, Case, eventually


class Inventory(Case):
    def take(self, *words: object) -> tuple[int, dict]:
        environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}", "AWS_REGION": "us-east-1"}
        environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        done = subprocess.run(
            [sys.executable, AWS / "inventory", *map(str, words)], env=environment, capture_output=True, text=True
        )
        return done.returncode, json.loads(done.stdout)

    def test_what_was_made_and_taken_away_again_leaves_no_difference(self):
        before = self.lab.dir / "before.json"
        before.write_text(json.dumps(self.take()[1]))
        vpc = self.vpc()
        subnet = self.subnet(vpc)
        made = self.instance(subnet)
        balancer = self.balancer([subnet])

        code, changed = self.take("--against", before)
        self.assertEqual((1, [made["InstanceId"]]), (code, changed["instances"]["came"]))
        for kind in ("vpcs", "subnets", "network interfaces", "load balancers", "security groups", "volumes"):
            self.assertTrue(changed[kind]["came"], kind)

        self.elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
        self.terminate(made["InstanceId"])
        eventually(lambda: not self.ec2.describe_network_interfaces()["NetworkInterfaces"])
        self.ec2.delete_subnet(SubnetId=subnet)
        self.ec2.delete_vpc(VpcId=vpc)

        self.assertEqual((0, {}), self.take("--against", before))
