"""Stopped in every stage and run again, it converges: one cluster, no machine twice, no leftover.

One environment is brought up for each way of stopping; each `up` is stopped as soon as the journal holds the intent of
the next stage, and the next one goes on. What the stopped one left running (packer, tofu, a play) is running then.
"""

import signal
import time
import unittest

from world import NAME, World, inventory

# What the journal tells of a fresh `up`: intents of stages and steps, and tools that were started.
MOMENTS = [
    "bundle",
    "network",
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
    "servers/server-1",
    "tool servers-server-1",
    "agents/general-1",
    "health",
]


class Stops(unittest.TestCase):
    def stopped_everywhere(self, how: signal.Signals, codes: tuple[int, ...]) -> None:
        world = World(how.name.lower())
        # Another template makes another image: one that an earlier test built would only be found.
        template = world.assets / "packer/base/build.pkr.hcl"
        template.write_text(f"{template.read_text()}# {how.name} {time.time_ns()}\n")
        before = inventory()
        left = list(MOMENTS)
        moment, ended = world.stop_at(left, how)
        while moment:
            self.assertIn(ended.code, codes, f"stopped at {moment}: {ended.said}")
            left.remove(moment)
            moment, ended = world.stop_at(left, how)
        print(f"  {how.name}: {len(MOMENTS) - len(left)} of {len(MOMENTS)} moments; not caught: {left}", flush=True)
        self.assertEqual(ended.code, 0, ended.said)
        stages = {moment.removeprefix("tool ").split("/")[0] for moment in MOMENTS if moment not in left}
        self.assertGreaterEqual(len(stages & set(world.plan()["stages"])), 10, "a stage was not caught")
        self.assertEqual(["general-1", "server-1"], sorted(world.machines()))
        self.assertEqual(1, len(world.authorities()), "one cluster has one authority")
        self.assertEqual({"reuse"}, {decision["verdict"] for decision in world.plan()["stages"].values()})
        ended = world.down()
        self.assertEqual(ended.code, 0, ended.said)
        self.assertIn(f"{NAME} is gone ·", ended.said)
        self.assertEqual(before, inventory())

    def test_kill_9_in_every_stage(self):
        self.stopped_everywhere(signal.SIGKILL, (-signal.SIGKILL,))

    def test_one_ctrl_c_in_every_stage(self):
        # Cancelled: 130. A stage that ended well before the signal counted, with nothing after it: 0.
        self.stopped_everywhere(signal.SIGINT, (130, 0))
