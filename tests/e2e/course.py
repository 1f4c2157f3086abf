"""A course of the program, `up` or `down`, that a test strikes at exact places; an undisturbed one tells where they are.

A place is a stage (`network`) or a step that is struck by itself (`servers/server-2`). Its moments are crash points of
`src/crash.rs`; the middle of a place with a tool is half of the time that the tool took undisturbed.
"""

import json
import time
import unittest
from dataclasses import asdict, dataclass
from datetime import datetime

from striking import stage_of
from world import NAME, SCRATCH, Blow, Ended, World, entries_of

BEFORE_INTENT, AFTER_INTENT, MIDDLE, BEFORE_OUTCOME = MOMENTS = ("before-intent", "after-intent", "middle", "before-outcome")
# Points that a supervisor may pass: it would be struck in the program's place.
OF_SUPERVISORS = ("supervisor.", "record.")


@dataclass(frozen=True)
class Point:
    """A crash point, `<point>:<nth>`."""

    name: str


@dataclass(frozen=True)
class During:
    """So many seconds after the journal told that a tool was started."""

    moment: str
    seconds: float


@dataclass
class Course:
    """Where an undisturbed run of `command` came through; the state it began with is kept as `<command>-start`."""

    command: str
    points: list[str]
    tools: dict[str, float]  # slot → seconds

    @classmethod
    def undisturbed(cls, world: World, command: str) -> "Course":
        """Runs it from where the world is; of a lab that was kept, what an earlier call of the test found out."""
        known = SCRATCH / "kept" / f"{command}.json"
        if known.exists():
            return cls(**json.loads(known.read_text()))
        world.keep(f"{command}-start")
        record, seen = world.dir / f"{command}.points", len(world.journal())
        ended = world.run(command, NAME, "--yes", SRE_CRASH_RECORD=str(record))
        if ended.code != 0:
            raise AssertionError(f"the undisturbed {command} ended with {ended.code}:\n{ended.said}")
        entries = entries_of(world.put_away() if command == "down" else world.state, seen)
        course = cls(command, record.read_text().splitlines(), times_of_tools(entries))
        known.write_text(json.dumps(asdict(course)))
        return course

    def find(self, place: str, moment: str) -> Point | During | None:
        """Where this is; None where nothing lies between an intent and its outcome."""
        deed = "remove " if self.command == "down" else ""
        intent, outcome = f"[intent {deed}{place}]:1", f"[outcome {deed}{place}]:1"
        points = {
            BEFORE_INTENT: f"write.before-temporary{intent}",
            AFTER_INTENT: f"publish.after{intent}",
            BEFORE_OUTCOME: f"write.before-temporary{outcome}",
        }
        if moment in points:
            return Point(points[moment])
        slots = [slot for slot in self.tools if slot == place.replace("/", "-") or stage_of(slot) == place]
        if slots:
            longest = max(slots, key=self.tools.__getitem__)
            return During(f"tool {longest}", self.tools[longest] / 2)
        first, last = self.points.index(points[AFTER_INTENT]), self.points.index(points[BEFORE_OUTCOME])
        # How often a point is passed may differ between two runs; that it is passed does not.
        between = [one for one in self.points[first + 1 : last] if one.endswith(":1") and not one.startswith(OF_SUPERVISORS)]
        return Point(between[len(between) // 2]) if between else None

    def strike(self, world: World, where: Point | During, blow: Blow) -> None:
        """Runs the command until it is struck there; it is an error when it never comes there."""
        if isinstance(where, Point):
            group = "yes" if blow == Blow.KILL_GROUP else None
            ended = world.run(self.command, NAME, "--yes", SRE_CRASH=where.name, SRE_CRASH_GROUP=group)
        else:
            ended = self.strike_during(world, where, blow)
        if ended.code not in blow.codes():
            raise AssertionError(f"never struck at {where}; it ended with {ended.code}:\n{ended.said}")

    def strike_during(self, world: World, where: During, blow: Blow) -> Ended:
        seen, running = len(world.journal()), world.start(self.command, NAME, "--yes")
        world.wait_for_journal(where.moment, seen, running)
        blow.strike_after(where.seconds, running)
        return world.ended(running)

    def bring_before(self, world: World, place: str, places: list[str]) -> None:
        """Brings the world to where this place is about to begin.

        That state is made once, from the last one that is kept of those before it: by a kill just before the intent,
        after which everything that the program left running comes to its end.
        """
        name = self.kept_as(place)
        if not is_kept(name):
            before = [self.kept_as(one) for one in places[: places.index(place)]]
            self.back(world, next(filter(is_kept, reversed(before)), f"{self.command}-start"))
            self.strike(world, self.find(place, BEFORE_INTENT), Blow.KILL)
            world.wait_until_nothing_runs()
            if self.command == "up":
                world.note_what_stands()
            world.keep(name)
        self.back(world, name)

    def back(self, world: World, name: str) -> None:
        """What goes away need not have booted before; what is built upon must stand as it stood."""
        world.wait_until_nothing_runs()  # what a failed case left would go on with what is brought back
        world.back(name)
        if self.command == "up":
            world.wait_until_it_stands()

    def kept_as(self, place: str) -> str:
        return f"{self.command}-before-{place.replace('/', '-')}"


def is_kept(name: str) -> bool:
    return (SCRATCH / "kept" / name).exists()


def times_of_tools(entries: list[dict]) -> dict[str, float]:
    """Slot → seconds of every tool that was started and ended."""
    started = {entry["id"]: entry for entry in entries if entry["kind"] == "child-started"}
    ended = [entry for entry in entries if entry["kind"] == "child-ended" and entry["id"] in started]
    return {started[entry["id"]]["slot"]: seconds_between(started[entry["id"]], entry) for entry in ended}


def seconds_between(first: dict, last: dict) -> float:
    return (datetime.fromisoformat(last["time"]) - datetime.fromisoformat(first["time"])).total_seconds()


def tell(converged: int, of: int, began: float, left_out: list[str]) -> None:
    """How many of the cases converged since then, and which ones no time was left for."""
    print(f"\n{converged} of {of} cases converged, {(time.monotonic() - began) / 60:.0f} minutes", flush=True)
    if left_out:
        print(f"no time was left for {len(left_out)}: {' '.join(left_out)}", flush=True)


def methods_of_cases(cls: type[unittest.TestCase], cases: list[tuple[str, str, str, Blow]]):
    """Gives a class a method for each case, such as `test_up_network_middle_killed`, and the module a `load_tests` that keeps
    their order."""
    names = []
    for command, place, moment, blow in cases:
        words = f"test_{command}_{place}_{moment}_{'group_killed' if blow == Blow.KILL_GROUP else 'killed'}"
        names.append(words.replace("/", "_").replace("-", "_"))
    for name, one in zip(names, cases, strict=True):
        setattr(cls, name, lambda self, one=one: self.case(*one))

    def load_tests(_loader: unittest.TestLoader, found: unittest.TestSuite, _pattern: str | None) -> unittest.TestSuite:
        """The cases that were asked for, in their order."""
        tests = [test for suite in found for test in suite]
        return unittest.TestSuite(sorted(tests, key=lambda test: names.index(test.id().rsplit(".", 1)[-1])))

    return load_tests
