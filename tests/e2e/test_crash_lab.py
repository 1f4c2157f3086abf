"""Killed before an intent, after it, in the middle and before the outcome, in every stage of `up` and of `down` and in
every join of a server; each time from a state that was saved just before, and each time it converges.

`tests/crash-lab` runs it: the program has crash points then. SRE_E2E_MINUTES (240) is the time that may pass; a case
that no time is left for is told as skipped, and all of them are named at the end.
"""

import json
import os
import time
import unittest

from course import AFTER_INTENT, BEFORE_INTENT, BEFORE_OUTCOME, MIDDLE, Course, methods_of_cases
from striking import STAGES, Striking
from world import NAME, SCRATCH, Blow, World, inventory, left_behind

MINUTES = float(os.environ.get("SRE_E2E_MINUTES", "240"))
JOINS = [f"servers/server-{number}" for number in (1, 2, 3)]
# In the order in which an undisturbed course comes to them.
PLACES = {
    "up": [place for stage in STAGES for place in (["servers", *JOINS] if stage == "servers" else [stage])],
    "down": list(reversed(STAGES)),
}
# The order of the cases: first where most is under way.
FIRST = [
    *(("up", join) for join in JOINS),
    ("up", "nodes"),
    ("up", "network"),
    ("down", "network"),
    ("down", "nodes"),
    ("down", "load-balancer"),
]
ORDER = FIRST + [(command, place) for command, places in PLACES.items() for place in places if (command, place) not in FIRST]
CASES = [
    (command, place, moment, blow)
    for blow in (Blow.KILL, Blow.KILL_GROUP)
    for moment in (MIDDLE, BEFORE_OUTCOME, AFTER_INTENT, BEFORE_INTENT)
    for command, place in ORDER
]


class CrashLab(Striking):
    """One environment of three servers and an agent; the cases are methods, such as `test_up_network_middle_killed`."""

    began = time.monotonic()
    longest = 0.0
    converged_cases: list[str] = []
    left_out: list[str] = []

    @classmethod
    def setUpClass(cls):
        """One undisturbed course up and one down: what they make, and where they came through."""
        cls.world = World("crash")
        cls.world.file.write_text(cls.world.file.read_text().replace("servers:\n    count: 1", "servers:\n    count: 3"))
        found = SCRATCH / "kept/undisturbed.json"
        before = inventory(images=True)
        cls.up = Course.undisturbed(cls.world, "up")
        if not found.exists():  # a lab that was kept may hold those of an earlier call
            found.write_text(json.dumps({"before": before, "made": left_behind(before, inventory(images=True))}))
        cls.before, cls.made = json.loads(found.read_text()).values()
        cls.down = Course.undisturbed(cls.world, "down")

    @classmethod
    def tearDownClass(cls):
        took = (time.monotonic() - cls.began) / 60
        print(f"\n{len(cls.converged_cases)} of {len(CASES)} cases converged, {took:.0f} minutes", flush=True)
        if cls.left_out:
            print(f"no time was left for {len(cls.left_out)}: {' '.join(cls.left_out)}", flush=True)

    def case(self, command: str, place: str, moment: str, blow: Blow) -> None:
        began = time.monotonic()
        if began + self.longest > self.began + 60 * MINUTES:
            self.left_out.append(self.id().rsplit(".", 1)[-1])
            self.skipTest("no time is left")
        course = getattr(self, command)
        where = course.find(place, moment)
        if where is None:
            self.skipTest("nothing lies between intent and outcome here")
        course.bring_before(self.world, place, PLACES[command])

        course.strike(self.world, where, blow)
        ended = self.world.run(command, NAME, "--yes")

        self.assertEqual(ended.code, 0, f"after {blow.value} at {where}:\n{ended.said}")
        getattr(self, f"is_{command}")()
        type(self).longest = max(self.longest, time.monotonic() - began)
        self.converged_cases.append(self.id())
        print(f"  {time.monotonic() - began:4.0f} s  {where}", flush=True)

    def is_up(self) -> None:
        self.converged(self.world, servers=3)
        self.assertEqual(self.made, left_behind(self.before, inventory(images=True)))

    def is_down(self) -> None:
        left = left_behind(self.before, inventory(images=True))
        self.assertEqual({"images": 2, "snapshots": 2}, left)
        self.assertEqual([], self.world.running())
        self.assertEqual([], self.world.left_here(self.world.put_away()))


load_tests = methods_of_cases(CrashLab, CASES)


if __name__ == "__main__":
    unittest.main()
