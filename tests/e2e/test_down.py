"""`down` leaves nothing: what it made, what a stopped run left, and without the state directory too."""

import json
import shutil
import unittest

from world import NAME, inside, inventory, lab, world_that_is_up


class Down(unittest.TestCase):
    """Each test starts with the environment up."""

    def setUp(self):
        self.world = world_that_is_up()
        self.before = json.loads((self.world.dir / "before.json").read_text())

    def gone(self, ended) -> None:
        self.assertEqual(ended.code, 0, ended.said)
        self.assertIn(f"{NAME} is gone ·", ended.said)
        self.assertEqual(self.before, inventory())

    def test_planted_leftovers_of_every_kind_are_named_and_go_with_the_rest(self):
        identity = json.loads((self.world.state / "identity.json").read_text())
        planted = json.loads(inside("plant", identity["id"]))

        ended = self.world.down()

        self.gone(ended)
        for kind, thing in planted.items():
            self.assertIn(f"left over: {kind} {thing}", ended.said, kind)

    def test_without_its_state_directory_it_goes_by_its_id(self):
        identity = json.loads((self.world.state / "identity.json").read_text())
        shutil.rmtree(self.world.state)

        unnamed = self.world.down()
        named = self.world.down("--environment-id", identity["id"])

        self.assertEqual(unnamed.code, 9, unnamed.said)
        self.assertIn(identity["id"], unnamed.said)
        self.gone(named)

    def test_what_was_made_as_protected_is_refused_also_without_its_state(self):
        text = self.world.file.read_text()
        self.world.file.write_text(text.replace("class: ephemeral\nexpires_after: 24h\n", "class: protected\n"))

        ended = self.world.down()

        self.assertEqual(ended.code, 9, ended.said)
        self.assertIn(f"`{NAME}` is protected", ended.said)
        self.assertNotEqual(self.before, inventory())

    def test_what_aws_refuses_to_remove_is_named_and_the_next_down_removes_it(self):
        lab("fault", "api", "DeleteVpc", "error=UnauthorizedOperation", "status=403", "count=1000")
        try:
            ended = self.world.down()
        finally:
            lab("fault", "clear")

        self.assertEqual(ended.code, 7, ended.said)
        self.assertIn("VPC vpc-", ended.line("error"))
        self.gone(self.world.down())
