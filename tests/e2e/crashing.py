"""What the two halves of the kills in the lab share: killed before an intent, after it, in the middle and before the
outcome, each time from a state that was saved just before, and each time it converges.

SRE_E2E_MINUTES (240) is the time that may pass; a case that no time is left for is told as skipped, and all of them are
named at the end.
"""

import json
import os
import time

from course import AFTER_INTENT, BEFORE_INTENT, BEFORE_OUTCOME, MIDDLE, Course, tell
from striking import Striking
from world import NAME, SCRATCH, Blow, World, inventory, left_behind

MINUTES = float(os.environ.get("SRE_E2E_MINUTES", "240"))
MOMENTS = (MIDDLE, BEFORE_OUTCOME, AFTER_INTENT, BEFORE_INTENT)


def cases(order: list[tuple[str, str]]) -> list[tuple[str, str, str, Blow]]:
    """The cases of these places, those first where most is under way."""
    return [(*place, moment, blow) for blow in (Blow.KILL, Blow.KILL_GROUP) for moment in MOMENTS for place in order]


class Crashing(Striking):
    """One environment with an agent; the cases are methods, such as `test_up_network_middle_killed`."""

    servers: int
    cases: list[tuple[str, str, str, Blow]]
    # By command, in the order in which an undisturbed course comes to them.
    places: dict[str, list[str]]

    began = time.monotonic()
    longest = 0.0
    converged_cases: list[str] = []
    left_out: list[str] = []

    @classmethod
    def setUpClass(cls):
        """An undisturbed course of each command: what it makes, and where it came through."""
        # Each half has its own: the saved states of the other are of another cluster.
        cls.began, cls.converged_cases, cls.left_out = time.monotonic(), [], []
        cls.world = World(f"crash-{cls.servers}")
        count = f"servers:\n    count: {cls.servers}"
        cls.world.file.write_text(cls.world.file.read_text().replace("servers:\n    count: 1", count))
        found = SCRATCH / "kept/undisturbed.json"
        before = inventory(images=True)
        cls.up = Course.undisturbed(cls.world, "up")
        if not found.exists():  # a lab that was kept may hold those of an earlier call
            found.write_text(json.dumps({"before": before, "made": left_behind(before, inventory(images=True))}))
        cls.before, cls.made = json.loads(found.read_text()).values()
        if "down" in cls.places:
            cls.down = Course.undisturbed(cls.world, "down")

    @classmethod
    def tearDownClass(cls):
        tell(len(cls.converged_cases), len(cls.cases), cls.began, cls.left_out)

    def case(self, command: str, place: str, moment: str, blow: Blow) -> None:
        began = time.monotonic()
        if began + self.longest > self.began + 60 * MINUTES:
            self.left_out.append(self.id().rsplit(".", 1)[-1])
            self.skipTest("no time is left")
        course = getattr(self, command)
        where = course.find(place, moment)
        if where is None:
            self.skipTest("nothing lies between intent and outcome here")
        course.bring_before(self.world, place, self.places[command])

        course.strike(self.world, where, blow)
        ended = self.world.run(command, NAME, "--yes")

        self.assertEqual(ended.code, 0, f"after {blow.value} at {where}:\n{ended.said}")
        getattr(self, f"is_{command}")()
        type(self).longest = max(self.longest, time.monotonic() - began)
        self.converged_cases.append(self.id())
        print(f"  {time.monotonic() - began:4.0f} s  {where}", flush=True)

    def is_up(self) -> None:
        self.converged(self.world, servers=self.servers)
        self.assertEqual(self.made, left_behind(self.before, inventory(images=True)))

    def is_down(self) -> None:
        left = left_behind(self.before, inventory(images=True))
        self.assertEqual({"images": 2, "snapshots": 2}, left)
        self.assertEqual([], self.world.running())
        self.assertEqual([], self.world.left_here(self.world.put_away()))
