"""An environment of another shape than that of the other tests, made, looked at and taken down.

One server that is its own fixed address, of the older RKE2; two zones with a NAT gateway each, no flow logs; images built
in a network that was there before.
"""

import json
import unittest

from world import World, inside, inventory, left_behind

NAME = "alone"
OLDER = "v1.34.4+rke2r1"


class Alone(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.network = json.loads(inside("own_network"))
        cls.addClassCleanup(inside, "own_network", "gone", *cls.network.values())
        cls.before = inventory(images=True)
        cls.world = World(NAME, NAME)
        text = cls.world.file.read_text()
        build = f"image:\n  build:\n    vpc: {cls.network['vpc']}\n    subnet: {cls.network['subnet']}\n"
        for before, after in {
            "v1.35.4+rke2r1": OLDER,
            "10.40.0.0/16": "10.70.0.0/16",
            "zones: 1\n  nat: single\n  flow_logs: true\n": "zones: 2\n  nat: per-zone\n  flow_logs: false\n",
            "kind: nlb": "kind: none",
            "nodes:\n": f"{build}nodes:\n",
        }.items():
            if before not in text:
                raise AssertionError(f"small.yaml has no {before!r}")
            text = text.replace(before, after)
        cls.world.file.write_text(text)
        cls.ended = cls.world.up()

    def test_1_it_comes_up_as_it_is_described(self):
        self.assertEqual(self.ended.code, 0, self.ended.said)
        made = left_behind(self.before, inventory(images=True))
        self.assertEqual(2, made.get("nat gateways"), made)
        for kind in ("load balancers", "target groups", "flow logs", "log groups"):
            self.assertNotIn(kind, made)

    def test_2_its_nodes_serve_the_older_release_at_the_servers_own_address(self):
        listed = self.world.run("nodes", NAME, "--output", "json")
        nodes = {node["node"]: node for node in json.loads(listed.out.splitlines()[-1])}

        self.assertEqual({"general-1": OLDER, "server-1": OLDER}, {name: node["version"] for name, node in nodes.items()})
        kubeconfig = (self.world.state / "kubeconfig").read_text()
        self.assertIn(f"https://{nodes['server-1']['address']}:6443", kubeconfig)

    def test_3_a_second_up_finds_nothing_to_do(self):
        again = self.world.up()

        self.assertEqual(again.code, 0, again.said)
        self.assertIn(f"{NAME} is up and as described", again.out)

    def test_4_down_leaves_the_network_that_was_there_before_and_nothing_else(self):
        ended = self.world.down("--images")

        self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(self.before, inventory(images=True))


if __name__ == "__main__":
    unittest.main()
