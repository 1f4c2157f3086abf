"""The first join of three servers and two agents: whoever is struck on the way, there is one cluster in the end.

Each test begins with five machines that are hardened, on which nothing of RKE2 was ever started.
"""

import unittest

from five import DATA, HALT, Five, prepared, within


class Founding(Five):
    def setUp(self):
        type(self).world = prepared()
        super().setUp()

    @within(25)
    def test_each_server_loses_its_power_while_it_joins_for_the_first_time(self):
        for number in (1, 2, 3):
            self.struck(f"server-{number}")

        self.goes_on()

        founders = [entry["value"]["node"] for entry in self.world.journal() if entry.get("name") == "servers/founder"]
        self.assertEqual(["server-1"], founders)

    @within(15)
    def test_etcd_data_that_was_left_over_is_named_and_no_cluster_is_founded_beside_it(self):
        self.on("server-2", f"systemctl start rke2-server; {HALT}")

        ended = self.refused()

        self.assertIn("server-2", ended.said)
        self.assertIn("bootstrap data already found and encrypted with different token", ended.line("cause"))
        for node in ("server-1", "server-3"):
            self.assertEqual("", self.on(node, f"ls {DATA}/server/db 2>/dev/null || test $? = 2"))
        # Nothing of it is to be kept.
        self.on("server-2", f"{HALT}; rm -rf {DATA}/server /etc/rancher/node")
        self.goes_on()


if __name__ == "__main__":
    unittest.main()
