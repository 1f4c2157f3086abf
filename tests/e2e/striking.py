"""What tests have in common that strike the program: how it ends then, and what must come of it."""

import json
import time
import unittest

from world import NAME, STOPPING, Blow, World, inventory, lab, left_behind, world_that_is_up

# In the order in which an undisturbed `up` begins them.
STAGES = [
    "bundle",
    "network",
    "base-image",
    "load-balancer",
    "node-image",
    "nodes",
    "access",
    "hardening",
    "servers",
    "agents",
    "health",
]


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


def missed(moments: dict[str, list[Blow]]) -> list[str]:
    return [f"{blow.value} at {moment}" for moment, blows in moments.items() for blow in blows]


def stage_of(moment: str) -> str:
    """`servers` of `servers/server-1`, `tool servers-server-1` and `fact servers/cluster`."""
    word = moment.rsplit(" ", 1)[-1].split("/")[0]
    return next(stage for stage in sorted(STAGES, key=len, reverse=True) if word.startswith(stage))
