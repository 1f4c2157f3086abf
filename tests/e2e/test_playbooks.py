"""The playbooks by hand, with the inventory that `up` wrote: on nodes that are as described they change nothing."""

import re
import subprocess
import unittest

from world import LAB, NAME, World, world_that_is_up

RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Site(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world: World = world_that_is_up()

    def changes_nothing(self, *options: str) -> None:
        """Plays `site.yml` as a person would: every host came through and nothing was changed on any."""
        home = self.world.assets / "ansible"
        call = ("ansible-playbook", "-i", str(self.world.workspace / "inventories" / NAME), *options, str(home / "site.yml"))

        variables = (f"ANSIBLE_CONFIG={home / 'ansible.cfg'}", "ANSIBLE_NOCOLOR=1")
        done = subprocess.run([LAB, "exec", "--", "env", *variables, *call], capture_output=True, text=True, check=False)

        said = done.stdout + done.stderr
        self.assertEqual(0, done.returncode, said)
        recap = {host: tuple(map(int, counts)) for host, *counts in RECAP.findall(said)}
        self.assertEqual({"general-1", "server-1"}, recap.keys(), said)
        for host, (ok, *others) in recap.items():
            self.assertGreater(ok, 0, said)
            self.assertEqual([0, 0, 0], others, f"changed, unreachable and failed tasks of {host}:\n{said}")

    def test_a_second_run_changes_nothing(self):
        self.changes_nothing()

    def test_in_check_mode_it_comes_through_and_would_change_nothing(self):
        self.changes_nothing("--check")
