"""What is wrong from the start ends at once: the right exit code, what was wrong, what to do about it."""

import json
import subprocess
import unittest
from pathlib import Path

from world import LAB, NAME, World


def path_of_the_lab() -> str:
    done = subprocess.run([LAB, "exec", "--", "printenv", "PATH"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def scripted(directory: Path, name: str, script: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return directory


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World("bad-input")
        cls.text = cls.world.file.read_text()

    def setUp(self):
        self.world.file.write_text(self.text)

    def refused(self, ended, code: int, *texts: str, hint: str = "") -> None:
        self.assertEqual(ended.code, code, ended.said)
        for text in texts:
            self.assertIn(text, ended.said)
        self.assertIn(hint, ended.line("hint"), ended.said)

    def write(self, old: str, new: str) -> None:
        changed = self.text.replace(old, new, 1)
        self.assertNotEqual(changed, self.text)
        self.world.file.write_text(changed)

    def test_every_problem_of_a_file_is_told_at_once_with_its_place(self):
        self.write("zones: 1", "zoness: 1")
        self.world.file.write_text(self.world.file.read_text().replace("count: 1", "count: many", 1))

        ended = self.world.up()

        self.refused(ended, 3, "has 2 problems", "network.zoness", "did you mean `zones`?", "is `many`; a whole number")
        self.assertRegex(ended.said, r"(?m)^ +\d+:\d+ +network\.zoness")

    def test_a_region_that_does_not_exist_is_named_with_the_nearest(self):
        self.write("us-east-1", "us-esat-1")

        ended = self.world.up()

        self.refused(ended, 3, "this account has no region `us-esat-1`", hint="did you mean `us-east-1`?")

    def test_a_missing_tool_is_named_with_where_to_get_it(self):
        without = [part for part in path_of_the_lab().split(":") if not (Path(part) / "tofu").exists()]

        ended = self.world.up(PATH=":".join(without))

        self.refused(ended, 4, "`tofu` is not installed", hint="install OpenTofu 1.12")

    def test_a_tool_of_another_version_is_refused_with_the_range(self):
        old = {"terraform_version": "1.5.7", "platform": "linux_amd64", "provider_selections": {}}
        tools = scripted(self.world.dir / "old", "tofu", f"echo '{json.dumps(old)}'")

        ended = self.world.up(PATH=f"{tools}:{path_of_the_lab()}")

        self.refused(ended, 4, "is version 1.5.7", "from 1.12 on", hint="install OpenTofu 1.12")

    def test_a_missing_plugin_of_packer_is_named_before_anything_is_made(self):
        ended = self.world.up(PACKER_PLUGIN_PATH="/nowhere")

        self.refused(ended, 4, "packer lacks plugins", "`github.com/hashicorp/amazon` >= ", hint="packer init")

    def test_without_credentials_it_says_how_to_get_some(self):
        ended = self.world.up(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)

        self.refused(ended, 4, "no usable AWS credentials", hint="aws sso login")

    def test_an_api_that_does_not_answer_is_the_platforms_fault(self):
        ended = self.world.up(AWS_ENDPOINT_URL="http://127.0.0.1:9")

        self.refused(ended, 6, "cannot be reached", "Connection refused", hint="AWS_ENDPOINT_URL")

    def test_nobody_to_answer_is_no_approval(self):
        ended = self.world.run("up", NAME)

        self.refused(ended, 9, "nobody can answer whether to go on", hint=f"sre-provision up {NAME} --yes")

    def test_a_protected_environment_is_not_taken_down(self):
        self.write("class: ephemeral\nexpires_after: 24h\n", "class: protected\n")

        ended = self.world.down()

        self.assertIn(ended.code, (1, 9), ended.said)
        self.assertNotIn("is gone ·", ended.said)

    def test_nothing_of_it_made_anything(self):
        journal = self.world.state / "journal"

        self.assertEqual([], sorted(journal.glob("*")) if journal.exists() else [])
