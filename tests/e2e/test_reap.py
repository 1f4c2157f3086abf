"""Ephemeral environments end: by `reap`, at their time and not before; and nothing that is not theirs goes with them."""

import json
import shutil
import unittest

from world import NAME, Ended, inside, inventory, world_that_is_up

PAST = "2026-11-01T00:00:00Z"


class Reap(unittest.TestCase):
    """Each test starts with the environment up, whose time is not over."""

    def setUp(self):
        self.world = world_that_is_up()
        self.before = json.loads((self.world.dir / "before.json").read_text())
        self.identity = self.world.state / "identity.json"
        self.id = json.loads(self.identity.read_text())["id"]

    def reap(self, *words: str) -> Ended:
        return self.world.run("reap", *words)

    def let_it_expire(self) -> None:
        """As if it had been made long ago."""
        identity = json.loads(self.identity.read_text()) | {"expires": PAST}
        self.identity.write_text(json.dumps(identity))
        inside("expire", self.id, PAST)

    def told(self, ended: Ended) -> dict:
        """What came of it; a failure stands behind it, in a line of its own."""
        [told] = [told for line in ended.out.splitlines() if (told := json.loads(line))["event"] == "reap"]
        return told

    def fates(self, ended: Ended) -> dict[str, str]:
        return {one["id"]: one["fate"] for one in self.told(ended)["environments"]}

    def test_before_its_time_nothing_happens_and_after_it_all_goes(self):
        early = self.reap("--yes")
        live = inventory()
        self.let_it_expire()
        shown = self.reap("--dry-run", "--output", "json")
        unanswered = self.reap()
        still = inventory()
        late = self.reap("--yes", "--output", "json")

        self.assertEqual(early.code, 0, early.said)
        self.assertIn("nothing has expired", early.out)
        self.assertEqual(self.fates(shown), {self.id: "expired"})
        self.assertEqual(unanswered.code, 9, unanswered.said)
        self.assertEqual(live, still)
        self.assertEqual(late.code, 0, late.said)
        self.assertEqual(self.fates(late), {self.id: "gone"})
        self.assertEqual(self.before, inventory())

    def test_without_its_state_it_goes_by_its_tags_and_a_file_of_another_account_keeps_nothing_back(self):
        self.let_it_expire()
        shutil.rmtree(self.world.state)
        other = self.world.file.with_name("other.yaml")
        self.addCleanup(other.unlink)
        other.write_text(self.world.file.read_text().replace("aws:\n", 'aws:\n  account: "999999999999"\n'))

        ended = self.reap("--yes", "--output", "json")
        told = self.world.run("history", self.id)

        self.assertEqual(ended.code, 4, ended.said)
        [not_looked_at] = self.told(ended)["not_looked_at"]
        self.assertIn("999999999999", not_looked_at)
        self.assertEqual(self.fates(ended), {self.id: "gone"})
        self.assertRegex(told.out, rf"reap {NAME} .*succeeded")
        self.assertEqual(self.before, inventory())

    def test_more_time_is_told_by_everything_and_keeps_it(self):
        self.let_it_expire()
        extended = self.world.run("expiry", "extend", NAME, "24h", "--output", "json")
        told = json.loads(inside("expire", self.id))
        shown = self.world.run("expiry", "show", NAME)
        ended = self.reap("--yes")

        self.assertEqual(extended.code, 0, extended.said)
        until = json.loads(extended.out.splitlines()[-1])["expires"]
        kinds = ("i-", "vol-", "vpc-", "subnet-", "nat-", "arn:")
        moved = {thing: time for thing, time in told.items() if thing.startswith(kinds)}
        self.assertEqual({thing.split("-")[0].split(":")[0] for thing in moved}, {kind[:-1] for kind in kinds})
        self.assertEqual(set(moved.values()), {until}, moved)
        self.assertIn("in 23 h", shown.out)
        self.assertEqual(ended.code, 0, ended.said)
        self.assertIn("nothing has expired", ended.out)

    def test_two_at_once_take_it_away_once(self):
        self.let_it_expire()
        first, second = (self.world.start("reap", "--yes", "--output", "json") for _ in range(2))
        ended = [self.world.ended(first), self.world.ended(second)]

        self.assertIn(0, [one.code for one in ended], ended[0].said + ended[1].said)
        self.assertLessEqual({one.code for one in ended}, {0, 8})
        self.assertEqual(self.before, inventory())

    def test_killed_in_the_middle_the_next_one_goes_on(self):
        self.let_it_expire()
        running = self.world.start("reap", "--yes")
        running.wait_until_said("nodes")
        running.process.kill()
        self.world.ended(running)

        ended = self.reap("--yes", "--output", "json")

        self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(self.before, inventory())


class Classes(unittest.TestCase):
    """What `down` takes for whose."""

    def setUp(self):
        self.world = world_that_is_up()
        self.before = json.loads((self.world.dir / "before.json").read_text())
        self.id = json.loads((self.world.state / "identity.json").read_text())["id"]

    def classes(self) -> dict[str, str]:
        ended = self.world.run("down", NAME, "--dry-run", "--output", "json")
        self.assertEqual(ended.code, 0, ended.said)
        told = json.loads(ended.out.splitlines()[-1])
        return {one["id"]: one["class"] for one in told["things"]}

    def test_a_dry_run_tells_the_class_of_everything_and_removes_nothing(self):
        planted = json.loads(inside("plant", self.id))
        live = inventory(images=True)

        classes = self.classes()

        self.assertEqual(live, inventory(images=True))
        self.assertEqual(classes[planted["volume"]], "orphaned")
        self.assertEqual(classes[planted["image"]], "shared")
        self.assertEqual(classes[self.world.machine("server-1")], "ours")
        self.assertEqual(set(classes.values()), {"ours", "orphaned", "shared"})

    def test_what_is_somebody_elses_stays_and_is_named_until_its_owner_removes_it(self):
        stranger = json.loads(inside("foreign", self.id, "stranger"))["instance"]
        shown = self.classes()

        first = self.world.down()
        lives = stranger in inventory()["instances"]
        inside("foreign", self.id, "gone", stranger)
        second = self.world.down()

        self.assertEqual(shown[stranger], "foreign")
        self.assertEqual(first.code, 7, first.said)
        self.assertIn(stranger, first.said)
        self.assertTrue(lives)
        self.assertEqual(second.code, 0, second.said)
        self.assertEqual(self.before, inventory())

    def test_what_the_cluster_asked_for_goes_before_its_network(self):
        made = json.loads(inside("foreign", self.id, "cluster"))

        ended = self.world.down()

        self.assertEqual(ended.code, 0, ended.said)
        for thing in made.values():
            self.assertIn(thing, ended.said)
        self.assertIn("of the cluster: load balancer", ended.said)
        self.assertEqual(self.before, inventory())
