"""One environment, three machines: its state is in S3, and each of them goes on where another was."""

import json
import shutil
import subprocess
import unittest

from world import LAB, World, inventory

BUCKET = "acme-sre-state"
STATE = f"state: {{s3: {{bucket: {BUCKET}, prefix: team/small}}}}\n"
# The lab's S3, asked from within.
ASK = "import boto3, json; s3 = boto3.client('s3'); "
MAKE = f"s3.create_bucket(Bucket='{BUCKET}')"
KEYS = (
    f"pages = s3.get_paginator('list_objects_v2').paginate(Bucket='{BUCKET}'); "
    "print(json.dumps([one['Key'] for page in pages for one in page.get('Contents', [])]))"
)


def asked(question: str) -> str:
    return subprocess.run([LAB, "exec", "--", "python3", "-c", ASK + question], check=True, capture_output=True, text=True).stdout


def keys() -> list[str]:
    return json.loads(asked(KEYS))


class Shared(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        asked(MAKE)
        cls.before = inventory()
        cls.worlds = [World(f"machine-{number}") for number in (1, 2, 3)]
        for world in cls.worlds:
            # A range of its own: the environment of the other tests may be up.
            world.file.write_text(world.file.read_text().replace("10.40.0.0/16", "10.70.0.0/16") + STATE)

    def test_1_one_machine_makes_it_and_keeps_nothing_of_it_but_logs(self):
        one = self.worlds[0]
        ended = one.up()

        self.assertEqual(ended.code, 0, ended.said)
        self.assertFalse((one.state / "identity.json").exists() or (one.state / "journal").exists())
        self.assertEqual([], list(one.state.glob("tofu/*/terraform.tfstate")))
        there = keys()
        for part in ("/journal/0000000001.json", "/secrets/rke2-server-token.0001.json", "/tofu/network.tfstate"):
            self.assertTrue(any(key.endswith(part) for key in there), f"{part}: {there}")
        self.assertFalse([key for key in there if key.endswith(".tflock")], "a lock stayed")

    def test_2_another_needs_the_key_and_makes_nothing_but_what_lies_on_itself(self):
        two = self.worlds[1]
        keyless = two.up()
        shutil.copytree(self.worlds[0].dir / "config", two.dir / "config", dirs_exist_ok=True)
        made = inventory()
        stages = two.plan()["stages"]
        ended = two.up()

        self.assertEqual(keyless.code, 4, keyless.said)
        # The verified release, the settings of its connections, the inventory and the kubeconfig.
        here = {stage for stage, decision in stages.items() if decision["verdict"] == "run"}
        self.assertEqual(here, {"bundle", "access", "servers", "health"}, stages)
        self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(made, inventory())

    def test_3_a_third_without_the_key_takes_it_away_and_nothing_is_left(self):
        three = self.worlds[2]
        ended = three.down("--images")

        self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(self.before, inventory())
        there = keys()
        self.assertFalse([key for key in there if "/secrets/" in key or key.endswith("small/identity.json")], there)

    def test_4_its_history_is_told_by_each_of_them(self):
        told = [world.run("history", world.environment, "--output", "json") for world in self.worlds]

        for ended in told:
            self.assertEqual(ended.code, 0, ended.said)
            commands = [run["command"] for run in json.loads(ended.out.splitlines()[-1])["runs"]]
            self.assertEqual(["up small", "up small", "down small"], commands)


if __name__ == "__main__":
    unittest.main()
