"""What is wrong from the start ends at once: the right exit code, what was wrong, why, what to do; and nothing is made."""

import json
import re
import subprocess
import unittest
from pathlib import Path

from world import LAB, NAME, World, inventory


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
        cls.before = inventory(images=True)

    @classmethod
    def tearDownClass(cls):
        """None of them made anything, on the platform or in the journal."""
        journal = cls.world.journal()
        if journal or inventory(images=True) != cls.before:
            raise AssertionError(f"something was made: {inventory(images=True)}, before {cls.before}, told {journal}")

    def setUp(self):
        self.world.file.write_text(self.text)

    def refused(self, ended, code: int, error: str, cause: str = "", hint: str = "") -> None:
        """How it ended: patterns of the lines, each of which is missing where none is given."""
        self.assertEqual(ended.code, code, ended.said)
        for word, pattern in (("error", error), ("cause", cause), ("hint", hint)):
            self.assertRegex(ended.line(word), pattern or "^$", f"{word} of:\n{ended.said}")

    def write(self, old: str, new: str) -> None:
        changed = self.text.replace(old, new, 1)
        self.assertNotEqual(changed, self.text)
        self.world.file.write_text(changed)

    def test_every_problem_of_a_file_is_told_at_once_with_its_place(self):
        self.write("zones: 1", "zoness: 1")
        self.world.file.write_text(self.world.file.read_text().replace("count: 1", "count: many", 1))

        ended = self.world.up()

        self.refused(ended, 3, error=r"^environments/small\.yaml has 2 problems$")
        for problem in (r"network\.zoness +.*did you mean `zones`\?", r"nodes\.servers\.count +is `many`; a whole number"):
            self.assertRegex(ended.said, rf"(?m)^ +\d+:\d+ +{problem}")

    def test_a_region_that_does_not_exist_is_named_with_the_nearest(self):
        self.write("us-east-1", "us-esat-1")

        ended = self.world.up()

        self.refused(ended, 3, error="this account has no region `us-esat-1`", hint=r"did you mean `us-east-1`\?")

    def test_a_missing_tool_is_named_with_where_to_get_it(self):
        without = [part for part in path_of_the_lab().split(":") if not (Path(part) / "tofu").exists()]

        ended = self.world.up(PATH=":".join(without))

        cause = f"^no program of that name in {re.escape(':'.join(without))}$"
        self.refused(ended, 4, error="`tofu` is not installed", cause=cause, hint="^install OpenTofu 1.12")

    def test_a_tool_of_another_version_is_refused_with_the_range(self):
        old = {"terraform_version": "1.5.7", "platform": "linux_amd64", "provider_selections": {}}
        tools = scripted(self.world.dir / "old", "tofu", f"echo '{json.dumps(old)}'")

        ended = self.world.up(PATH=f"{tools}:{path_of_the_lab()}")

        cause = "^accepted are versions from 1.12 on, below 2.0$"
        self.refused(ended, 4, error=r"`.*/old/tofu` is version 1\.5\.7", cause=cause, hint="^install OpenTofu 1.12")

    def test_a_missing_plugin_of_packer_is_named_before_anything_is_made(self):
        ended = self.world.up(PACKER_PLUGIN_PATH="/nowhere")

        lacks = "packer lacks plugins: .*`github.com/hashicorp/amazon` >= "
        self.refused(ended, 4, lacks, cause="packer/base` requires them", hint="packer init")

    def test_without_credentials_it_says_how_to_get_some(self):
        ended = self.world.up(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)

        cause = r"(?s)^no credentials found in chain\..*Environment: .*environment variable not set"
        self.refused(ended, 4, error="no usable AWS credentials", cause=cause, hint="aws sso login")

    def test_an_api_that_does_not_answer_is_the_platforms_fault(self):
        ended = self.world.up(AWS_ENDPOINT_URL="http://127.0.0.1:9")

        self.refused(ended, 6, error="cannot be reached", cause="Connection refused", hint="AWS_ENDPOINT_URL")

    def test_nobody_to_answer_is_no_approval(self):
        ended = self.world.run("up", NAME)

        error, cause = "^up: nobody can answer whether to go on$", "^standard input is no terminal$"
        self.refused(ended, 9, error, cause, hint=f"^sre-provision up {NAME} --yes$")
