"""Stopped in every stage and run again, it converges: one cluster, no machine twice, nothing left over.

One environment is brought up; each `up` is struck as soon as the journal tells the next moment, and the next one goes
on. What the struck one left running (packer, tofu, a play) is running then. What comes of it is compared with an
environment that nobody disturbed.
"""

import os
import random
import time
import unittest

from striking import STAGES, FromNothing, Striking, missed, stage_of
from world import LIMIT, NAME, Blow, World, entries_of, inventory, left_behind, world_that_is_up

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

class Stops(FromNothing):
    def stopped_everywhere(self, name: str, blows: list[Blow]) -> None:
        """Each stage is struck with each of the blows, each step and tool of it with one of them."""
        world, images = self.fresh(name), inventory(images=True)
        moments = {moment: list(blows) if moment in STAGES else [blows[number % len(blows)]] for number, moment in enumerate(ROAD)}

        struck = self.strike(world, moments)

        # A stage that takes a second may have ended before it heard the first of them; then there is no second.
        self.assertEqual(set(STAGES), {stage_of(moment) for moment, _ in struck})
        self.as_undisturbed(world, images)
        self.gone(world.down())

    def test_kill_9_in_every_stage(self):
        self.stopped_everywhere("killed", [Blow.KILL, Blow.KILL_GROUP])

    def test_ctrl_c_in_every_stage(self):
        self.stopped_everywhere("interrupted", [Blow.CTRL_C, Blow.CTRL_C_TWICE])


class DuringABuild(unittest.TestCase):
    """Nobody wants the image any more whose build a killed program has left running."""

    def test_up_is_killed_while_packer_builds_and_down_cancels_the_build_and_leaves_nothing(self):
        before, images = inventory(), inventory(images=True)
        # Nor has the other one's name: nothing is made beside nodes of which this workspace knows nothing.
        world = World("building", "building")
        # A range and a template of its own: the environment of the other tests may be up, and its images are not wanted.
        world.file.write_text(world.file.read_text().replace("10.40.0.0/16", "10.80.0.0/16"))
        template = world.assets / "packer/base/build.pkr.hcl"
        template.write_text(f"{template.read_text()}# built for nobody {time.time_ns()}\n")
        up = world.start("up", world.environment, "--yes")
        world.wait_for_journal("tool base-image-build", 0, up)
        until = time.monotonic() + LIMIT
        while "instances" not in left_behind(before, inventory()):
            self.assertLess(time.monotonic(), until, "packer never started its machine")
            time.sleep(0.2)

        Blow.KILL.strike(up)
        killed = world.ended(up)
        builds = [words for words in world.running() if "packer" in words]
        began = len(world.journal())
        down = world.down()

        self.assertEqual(killed.code, 128 + 9, killed.said)
        self.assertTrue(builds, "packer outlives the program")
        self.assertEqual(down.code, 0, down.said)
        self.assertIn("base-image-build: still running since", down.said)
        self.assertEqual((before, images), (inventory(), inventory(images=True)))
        self.assertEqual([], world.running())
        ends = [entry for entry in entries_of(world.put_away(), began) if entry["kind"] == "child-ended"]
        self.assertTrue(any("base-image-build" in entry["id"] for entry in ends), ends)
        said = "".join(log.read_text() for log in world.put_away().glob("runs/*/base-image*.log"))
        self.assertIn("Cancelling build after receiving interrupt", said)


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
            blow.strike_after(pause, running)
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
