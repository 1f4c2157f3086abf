"""Trouble on the way: an API that throttles, a release that was altered, a full disk; and the next `up` goes on."""

import shutil
import unittest

from world import NAME, World, lab, releases, world_that_is_up

VERSION = "v1.35.4+rke2r1"


class Trouble(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world: World = world_that_is_up()
        cls.text = cls.world.file.read_text()

    def tearDown(self):
        lab("fault", "clear")
        self.world.file.write_text(self.text)

    def goes_on(self) -> None:
        ended = self.world.up()
        self.assertEqual(ended.code, 0, ended.said)

    def test_an_api_that_throttles_to_the_end_is_told_and_touched_no_more(self):
        lab("fault", "api", "DescribeVpcs", "error=RequestLimitExceeded", "status=503", "count=1000")

        ended = self.world.up()

        self.assertEqual(ended.code, 6, ended.said)
        self.assertIn("throttles", ended.said)
        self.assertTrue(ended.line("hint"), ended.said)
        lab("fault", "clear")
        self.goes_on()

    def test_a_release_with_a_wrong_checksum_is_refused_by_its_file(self):
        release = self.world.dir / "releases"
        shutil.copytree(releases() / VERSION, release / VERSION)
        sums = release / VERSION / "sha256sum-amd64.txt"
        sums.write_text("".join(f"{'0' * 64}{line[64:]}" for line in sums.read_text().splitlines(keepends=True)))
        self.world.file.write_text(self.text.replace("rke2:\n", f"rke2:\n  release: {release}\n"))

        ended = self.world.up()

        self.assertEqual(ended.code, 1, ended.said)
        self.assertIn("bundle", ended.line("error"))
        self.assertTrue(ended.line("hint"), ended.said)
        self.world.file.write_text(self.text)
        self.goes_on()

    def test_a_full_disk_on_a_node_is_named_and_up_goes_on_once_there_is_room(self):
        machine = self.world.machine("general-1")
        lab("fault", "fill", machine)
        self.addCleanup(lab, "fault", "unfill", machine)
        role = self.world.assets / "ansible/roles/rke2_agent/tasks/main.yml"
        role.write_text(role.read_text() + "# a remark\n")

        ended = self.world.up()

        self.assertEqual(ended.code, 5, ended.said)
        self.assertIn("general-1", ended.said)
        self.assertRegex(ended.said, "(?i)no space left|disk is full|is full")
        lab("fault", "unfill", machine)
        self.goes_on()
        self.assertIn(f"{NAME} is up and as described", self.world.up().out)
