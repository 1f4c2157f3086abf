"""Killed before an intent, after it, in the middle and before the outcome, in every stage of `up` on vSphere that asks the
vCenter and comes before the nodes are reached, and in those of `down`; each time it goes on, makes nothing twice and leaves nothing.

`tests/crash-vsphere` runs it: the program has crash points then. A vCenter of the lab cannot be saved, so that each case
begins with nothing, and ends so; what comes after the nodes is on every platform the same, and `tests/crash-lab` kills it on
AWS. SRE_E2E_MINUTES (60) is the time that may pass; a case that no time is left for is told as skipped.
"""

import os
import time
import unittest
from collections import Counter

from course import AFTER_INTENT, BEFORE_INTENT, BEFORE_OUTCOME, MIDDLE, Course, methods_of_cases, tell, times_of_tools
from vcenter import On, held, nodes
from world import NAME, Blow, entries_of

MINUTES = float(os.environ.get("SRE_E2E_MINUTES", "60"))
IMAGES = ("base-image", "node-image")
PLACES = {
    "up": ["nodes", "network", "load-balancer", *IMAGES],
    "down": ["nodes", "network"],
}
CASES = [
    (command, place, moment, blow)
    for blow in (Blow.KILL, Blow.KILL_GROUP)
    for is_image in (False, True)
    for command, places in PLACES.items()
    for place in places
    if (place in IMAGES) == is_image
    for moment in (MIDDLE, AFTER_INTENT, BEFORE_OUTCOME, BEFORE_INTENT)
]
# Where an undisturbed `up` is ended: everything that the vCenter knows of is made, and no node was reached.
THE_END = "write.before-temporary[intent access]:1"


class CrashVsphere(unittest.TestCase):
    """Two servers, for the rule that keeps them apart, and an agent, with a tag; such as `test_up_network_middle_killed`."""

    began = time.monotonic()
    longest = 0.0
    converged = 0
    left_out: list[str] = []

    @classmethod
    def setUpClass(cls):
        cls.world = world = On(NAME)
        text = world.text.replace("    count: 1\n", "    count: 3\n", 1).replace("  folder: sre", "  tags: true\n  folder: sre")
        start, end = text.index("load_balancer:"), text.index("rke2:")
        world.text = f"{text[:start]}load_balancer:\n  kind: external\n  address: 10.98.1.250\n{text[end:]}"
        world.write()
        cls.empty = held()
        cls.courses = {"up": cls.undisturbed("up"), "down": cls.undisturbed("down")}

    @classmethod
    def tearDownClass(cls):
        tell(cls.converged, len(CASES), cls.began, cls.left_out)

    @classmethod
    def undisturbed(cls, command: str) -> Course:
        record = cls.world.dir / f"{command}.points"
        record.unlink(missing_ok=True)
        seen = len(cls.world.journal())
        ended = cls.call(command, SRE_CRASH_RECORD=str(record))
        if ended.code != (137 if command == "up" else 0):
            raise AssertionError(f"the undisturbed {command} ended with {ended.code}:\n{ended.said}")
        if command == "up":
            cls.world.wait_until_nothing_runs()
            cls.made = held(templates=True)
        entries = entries_of(cls.world.put_away() if command == "down" else cls.world.state, seen)
        points = [point for point in record.read_text().splitlines() if not point.startswith("killed ")]
        return Course(command, points, times_of_tools(entries))

    @classmethod
    def call(cls, command: str, **variables: str):
        """The command to where it ends here, without being struck."""
        end = {"SRE_CRASH": THE_END} if command == "up" else {}
        return cls.world.run(command, NAME, "--yes", **(end | variables))

    def is_up(self) -> None:
        self.world.wait_until_nothing_runs()
        self.assertEqual(nodes(), nodes_of(self.made))
        self.assertEqual(shapes(held(templates=True)), shapes(self.made))

    def is_down(self) -> None:
        self.assertEqual(held(), self.empty)
        self.assertEqual([], self.world.running())

    def case(self, command: str, place: str, moment: str, blow: Blow) -> None:
        began = time.monotonic()
        if began + self.longest > self.began + 60 * MINUTES:
            self.left_out.append(self.id().rsplit(".", 1)[-1])
            self.skipTest("no time is left")
        course = self.courses[command]
        intent = f"[intent {'remove ' if command == 'down' else ''}{place}]:1"
        if not any(point.endswith(intent) for point in course.points):
            self.skipTest("it has nothing to do here")
        self.prepare(command, place)
        where = course.find(place, moment)
        if where is None:
            self.skipTest("nothing lies between intent and outcome here")

        course.strike(self.world, where, blow)
        self.world.wait_until_nothing_runs()
        ended = self.call(command)

        self.assertEqual(ended.code, 137 if command == "up" else 0, f"after {blow.value} at {where}:\n{ended.said}")
        getattr(self, f"is_{command}")()
        cls = type(self)
        cls.longest, cls.converged = max(cls.longest, time.monotonic() - began), cls.converged + 1
        print(f"  {time.monotonic() - began:4.0f} s  {where}", flush=True)

    def prepare(self, command: str, place: str) -> None:
        """To where the case begins; images are there unless it is about them."""
        if command == "down":
            ended = self.call("up")
            self.assertEqual(ended.code, 137, ended.said)
            self.is_up()
            return
        words = ("--images",) if place in IMAGES else ()
        if self.world.journal():
            ended = self.world.down(*words)
            self.assertEqual(ended.code, 0, ended.said)


def nodes_of(found: dict[str, list[str]]) -> Counter:
    return Counter(name for name in found["machines"] if name.startswith(("server-", "general-")))


def shapes(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """What there is, without the ids that differ from one environment to the next."""
    return {kind: sorted(shape(name) for name in names) for kind, names in found.items()}


def shape(name: str) -> str:
    if name.startswith(("sre-base-", "sre-node-")):
        return name[:9]
    if name.startswith(f"{NAME}-"):
        return f"{NAME}-{'servers' if name.endswith('-servers') else 'folder'}"
    return name


load_tests = methods_of_cases(CrashVsphere, CASES)


if __name__ == "__main__":
    unittest.main()
