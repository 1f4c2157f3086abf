"""Stopped in every stage and run again, it converges: one cluster, no machine twice, nothing left over.

One environment is brought up; each `up` is struck as soon as the journal tells the next moment, and the next one goes
on. What the struck one left running (packer, tofu, a play) is running then. What comes of it is compared with an
environment that nobody disturbed.
"""

import json
import os
import random
import subprocess
import time
import unittest

from world import NAME, STOPPING, Blow, World, inventory, lab, left_behind, world_that_is_up

# What the journal tells of a fresh `up`, in its order: intents of stages and steps, and tools that were started.
ROAD = [
    "bundle",
    "network",
    "tool network-plan",
    "tool network-apply",
    "base-image",
    "base-image/build",
    "tool base-image-build",
    "base-image/check",
    "load-balancer",
    "tool load-balancer-apply",
    "node-image",
    "node-image/build",
    "tool node-image-build",
    "node-image/check",
    "nodes",
    "tool nodes-apply",
    "access",
    "access/server-1",
    "hardening",
    "servers",
    "servers/server-1",
    "tool servers-server-1",
    "fact servers/cluster",
    "agents",
    "agents/general-1",
    "tool agents-join",
    "health",
]
STAGES = {moment.split("/")[0] for moment in ROAD if " " not in moment}


class Striking(unittest.TestCase):
    """Strikes an environment on its way up, and looks at what comes of it."""

    def strike(self, world: World, moments: dict[str, list[Blow]]) -> list[tuple[str, Blow]]:
        """Brings an environment up through all of these blows; gives those that struck."""
        struck = []
        started = time.monotonic()
        moment, blow, ended = world.stop_at(moments)
        while moment:
            print(f"  {time.monotonic() - started:4.0f} s  {blow.value} at {moment}: ended with {ended.code}", flush=True)
            moments[moment].remove(blow)
            self.check(world, moment, blow, ended)
            struck.append((moment, blow))
            moment, blow, ended = world.stop_at(moments)
        self.assertEqual(ended.code, 0, ended.said)
        print(f"  {len(struck)} blows in {time.monotonic() - started:.0f} s; missed: {missed(moments)}", flush=True)
        return struck

    def check(self, world: World, moment: str, blow: Blow, ended) -> None:
        """How a program ends that was struck."""
        where = f"{blow.value} at `{moment}`, which ended with {ended.code}:\n{ended.said}"
        if ended.code == 0:
            # What was under way ended well before the blow was heard, and nothing was left to do.
            self.assertTrue(moment.startswith("health"), where)
            return
        self.assertIn(ended.code, blow.codes(), where)
        if blow in (Blow.CTRL_C, Blow.CTRL_C_TWICE):
            self.assertIn(STOPPING, ended.err, where)
            self.assertIn(f"sre-provision up {NAME}", ended.line("hint"), where)
            self.assertEqual([], world.running(), f"something runs on after {where}")

    def converged(self, world: World, servers: int = 1) -> None:
        """The environment is what its file says, made once, one cluster, and nothing of the blows is left."""
        names = ["general-1"] + [f"server-{number + 1}" for number in range(servers)]
        self.assertEqual(names, sorted(world.machines()))
        self.assertEqual(1, len(world.authorities()), "one cluster has one authority")
        stages = world.plan()["stages"]
        self.assertEqual({"reuse"}, {decision["verdict"] for decision in stages.values()})
        # Health proved it: the members of etcd are the servers, all of them voters.
        self.assertEqual(f"{servers} voter{'s' if servers > 1 else ''}", stages["servers"]["reason"])
        self.assertEqual([], world.running())
        self.assertEqual([], world.left_here())


class FromNothing(Striking):
    """Begins where nothing is made yet, and knows what an undisturbed run makes."""

    @classmethod
    def setUpClass(cls):
        """An undisturbed run, for the comparison; it is gone before the first test begins."""
        world = world_that_is_up()
        cls.before = json.loads((world.dir / "before.json").read_text())
        cls.undisturbed = left_behind(cls.before, inventory())
        ended = world.down()
        if ended.code != 0 or inventory() != cls.before:
            raise AssertionError(f"down of the undisturbed environment ended with {ended.code}:\n{ended.said}")
        # A lab that was kept may hold the one of an earlier call.
        cls.empty = f"stops-{time.time_ns()}"
        lab("save", cls.empty)

    def setUp(self):
        lab("restore", self.empty)

    def fresh(self, name: str) -> World:
        """A workspace whose images are not built yet: another template makes others than an earlier test built."""
        world = World(name)
        template = world.assets / "packer/base/build.pkr.hcl"
        template.write_text(f"{template.read_text()}# {name} {time.time_ns()}\n")
        return world

    def as_undisturbed(self, world: World, images: dict[str, list[str]]) -> None:
        """What was made is what an undisturbed run makes; `images` is the inventory before."""
        self.converged(world)
        self.assertEqual(self.undisturbed, left_behind(self.before, inventory()))
        made = left_behind(images, inventory(images=True))
        self.assertEqual(2, made["images"], "an image was built twice")
        self.assertEqual(2, made["snapshots"], "a build left a snapshot")

    def gone(self, ended) -> None:
        self.assertEqual(ended.code, 0, ended.said)
        self.assertIn(f"{NAME} is gone ·", ended.said)
        self.assertEqual(self.before, inventory())


class Stops(FromNothing):
    def stopped_everywhere(self, name: str, blows: list[Blow]) -> None:
        """Each stage is struck with each of the blows, each step and tool of it with one of them."""
        world, images = self.fresh(name), inventory(images=True)
        moments = {moment: list(blows) if moment in STAGES else [blows[number % len(blows)]] for number, moment in enumerate(ROAD)}

        struck = self.strike(world, moments)

        # A stage that takes a second may have ended before it heard the first of them; then there is no second.
        self.assertEqual(STAGES, {stage_of(moment) for moment, _ in struck})
        self.as_undisturbed(world, images)
        self.gone(world.down())

    def test_kill_9_in_every_stage(self):
        self.stopped_everywhere("killed", [Blow.KILL, Blow.KILL_GROUP])

    def test_ctrl_c_in_every_stage(self):
        self.stopped_everywhere("interrupted", [Blow.CTRL_C, Blow.CTRL_C_TWICE])


class AtRandom(FromNothing):
    """Killed at any moment, whatever the journal tells; `SRE_E2E_SEED` repeats a run's moments."""

    KILLS = 10

    def test_killed_ten_times_on_the_way_up_and_ten_times_on_the_way_down(self):
        seed = int(os.environ.get("SRE_E2E_SEED") or time.time_ns() % 1_000_000)
        print(f"  SRE_E2E_SEED={seed}", flush=True)
        chance = random.Random(seed)
        world, images = self.fresh("random"), inventory(images=True)

        # Together the pauses are shorter than an undisturbed run, so that every kill finds something to stop.
        self.killed(world, "up", chance, longest=18)
        ended = world.up()
        self.assertEqual(ended.code, 0, ended.said)
        self.as_undisturbed(world, images)
        self.killed(world, "down", chance, longest=3)
        self.gone(world.down())

    def killed(self, world: World, command: str, chance: random.Random, longest: float) -> None:
        for number in range(self.KILLS):
            blow, pause = chance.choice([Blow.KILL, Blow.KILL_GROUP]), chance.uniform(0.2, longest)
            running = world.start(command, NAME, "--yes")
            running.wait_for_program()
            try:
                running.process.wait(pause)
            except subprocess.TimeoutExpired:
                blow.strike(running)
            ended = world.ended(running)
            print(f"  {command} {number + 1}: {blow.value} after {pause:.1f} s: ended with {ended.code}", flush=True)
            self.assertIn(ended.code, blow.codes(), f"it ended before it was struck:\n{ended.said}")


class Sample(Striking):
    """A few blows on the way through a change, from an environment that is up: for every `make test`."""

    def test_struck_in_servers_and_agents(self):
        world = world_that_is_up()
        live, founded = inventory(), world.authorities()
        for role in ("rke2_server", "rke2_agent"):
            file = world.assets / f"ansible/roles/{role}/tasks/main.yml"
            file.write_text(file.read_text() + "# a remark\n")
        moments = {
            "servers/server-1": [Blow.KILL_GROUP],
            "tool servers-server-1": [Blow.KILL],
            "agents/general-1": [Blow.CTRL_C],
        }

        self.strike(world, moments)

        self.assertEqual([], missed(moments))
        self.converged(world)
        self.assertEqual(founded, world.authorities())
        self.assertEqual(live, inventory())


class ThreeServers(Striking):
    """Two more servers join one after the other, and the first of them is struck."""

    def test_struck_while_the_second_server_joins(self):
        world = world_that_is_up()
        founded, first = world.authorities(), world.machine("server-1")
        world.file.write_text(world.file.read_text().replace("servers:\n    count: 1", "servers:\n    count: 3"))
        moments = {
            "servers/server-2": [Blow.KILL_GROUP],
            "tool servers-server-2": [Blow.KILL, Blow.CTRL_C],
            "servers/server-3": [Blow.KILL],
        }

        struck = self.strike(world, moments)

        self.assertLessEqual({"servers/server-2", "tool servers-server-2"}, {moment for moment, _ in struck})
        self.converged(world, servers=3)
        self.assertEqual(founded, world.authorities())
        self.assertEqual(first, world.machine("server-1"))


def missed(moments: dict[str, list[Blow]]) -> list[str]:
    return [f"{blow.value} at {moment}" for moment, blows in moments.items() for blow in blows]


def stage_of(moment: str) -> str:
    """`servers` of `servers/server-1`, `tool servers-server-1` and `fact servers/cluster`."""
    word = moment.rsplit(" ", 1)[-1].split("/")[0]
    return next(stage for stage in sorted(STAGES, key=len, reverse=True) if word.startswith(stage))
