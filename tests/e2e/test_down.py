"""`down` leaves nothing: what it made, what a stopped run left, and without the state directory too."""

import json
import shutil
import time
import unittest
from pathlib import Path

from world import HERE, NAME, Ended, inside, inventory, lab, world_that_is_up


class Down(unittest.TestCase):
    """Each test starts with the environment up."""

    def setUp(self):
        self.world = world_that_is_up()
        self.before = json.loads((self.world.dir / "before.json").read_text())
        self.id = json.loads((self.world.state / "identity.json").read_text())["id"]

    def gone(self, ended: Ended) -> None:
        self.assertEqual(ended.code, 0, ended.said)
        self.assertIn(f"{NAME} is gone ·", ended.said)
        self.assertEqual(self.before, inventory())
        self.assertEqual(in_memory(self.id), [])

    def test_what_up_made_goes_by_its_own_stages_and_the_last_look_finds_nothing(self):
        ended = self.world.down()

        self.gone(ended)
        self.assertNotIn("left over", ended.said)
        for stage in ("network", "load-balancer", "nodes"):
            self.assertIn("Destruction complete", self.world.run("logs", NAME, stage).out, stage)

    def test_rules_that_a_person_put_between_its_security_groups_do_not_hold_it_up(self):
        self.assertGreaterEqual(len(json.loads(inside("groups", "tie", NAME))), 6)
        began = time.monotonic()

        ended = self.world.down()

        self.gone(ended)
        self.assertNotIn("left over", ended.said)
        # OpenTofu waits a quarter of an hour for a group that something names.
        self.assertLess(time.monotonic() - began, 5 * 60)

    def test_of_what_is_gone_the_history_is_told_and_the_images_are_found_again(self):
        self.gone(self.world.down())

        history = self.world.run("history", NAME)
        again = self.world.down()
        with_images = self.world.down("--images")
        last = self.world.down("--images")

        self.assertRegex(history.out, rf"(?m)up {NAME} .*succeeded")
        self.assertRegex(history.out, rf"(?m)down {NAME} .*succeeded")
        self.assertEqual(again.code, 0, again.said)
        self.assertIn("nothing but 2 images, 2 snapshots is left", again.said)
        self.assertIn(f"{NAME} is gone · 4 removed, 0 left", with_images.said)
        self.assertEqual(inside("own_images").split(), [])
        self.assertEqual(last.code, 0, last.said)
        self.assertIn("nothing of it is left", last.said)

    def test_planted_leftovers_of_every_kind_are_named_and_go_with_the_rest(self):
        planted = json.loads(inside("plant", self.id))
        self.assertEqual(sorted(planted), kinds())

        ended = self.world.down("--images")

        self.gone(ended)
        left = inventory(images=True)
        self.assertNotIn(planted["image"], left["images"])
        self.assertNotIn(planted["snapshot"], left["snapshots"])
        for kind, thing in planted.items():
            self.assertIn(f"left over: {kind} {thing}", ended.said, kind)

    def test_without_its_state_directory_it_goes_by_its_id(self):
        shutil.rmtree(self.world.state)

        unnamed = self.world.down()
        named = self.world.down("--environment-id", self.id)

        self.assertEqual(unnamed.code, 9, unnamed.said)
        self.assertIn(self.id, unnamed.said)
        self.gone(named)

    def test_without_the_key_of_its_secrets_it_goes_all_the_same_and_says_so(self):
        shutil.rmtree(self.world.dir / "config")

        ended = self.world.down()

        self.gone(ended)
        self.assertIn("goes on without the secrets", ended.said)

    def test_what_was_made_as_protected_is_refused_also_without_its_state(self):
        text = self.world.file.read_text()
        self.world.file.write_text(text.replace("class: ephemeral\nexpires_after: 24h\n", "class: protected\n"))
        made = self.world.up()
        with_state = self.world.down()
        self.world.file.write_text(text)
        shutil.rmtree(self.world.state)
        live = inventory()

        by_its_tag = self.world.down("--environment-id", self.id)

        self.assertEqual(made.code, 0, made.said)
        for ended in (with_state, by_its_tag):
            self.assertEqual(ended.code, 9, ended.said)
            self.assertIn(f"`{NAME}` is protected", ended.said)
        self.assertEqual(live, inventory())

    def test_what_aws_refuses_to_remove_is_named_and_the_next_down_removes_it(self):
        lab("fault", "api", "DeleteVpc", "error=UnauthorizedOperation", "status=403", "count=1000")
        try:
            ended = self.world.down()
        finally:
            lab("fault", "clear")

        self.assertEqual(ended.code, 7, ended.said)
        self.assertIn("VPC vpc-", ended.line("error"))
        self.gone(self.world.down())


def in_memory(environment: str) -> list[str]:
    """What lies on tmpfs for an environment: the way to its nodes, files for its tools."""
    short = environment.replace("-", "")[:8]
    places = (Path("/run/user/0/sre-provision"), Path("/dev/shm/sre-provision-0"))
    return [str(path) for place in places if place.is_dir() for path in place.glob(f"*{short}*")]


# What only a vCenter has.
OF_A_VCENTER = {"folder", "placement rule", "tag", "tag category"}


def kinds() -> list[str]:
    """Every kind of thing of AWS that the program knows, by its name for people."""
    source = (HERE.parents[1] / "src/cloud/mod.rs").read_text()
    body = source.split("impl ThingKind")[1].split("\n}\n")[0]
    names = {line.split('"')[1] for line in body.splitlines() if '=> "' in line}
    return sorted(names - OF_A_VCENTER)
