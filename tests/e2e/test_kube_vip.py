"""The fixed address that servers pass on among themselves: kube-vip itself, its image out of the bundle, run by the lab's
container runtime as a process that sees the image's files and the pod's mounts.

Needs `lab/lab setup kube-vip`, some three minutes once.
"""

import os
import re
import unittest
from pathlib import Path

from fixed_address import answers, holders, image, moved
from test_hosts import DISK, NAME, SERVERS, Far, bundle, on

ADDRESS = "10.20.9.2"
EXTERNAL = re.compile(r"load_balancer:\n  kind: external\n  address: .*\n")


class KubeVip(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.far = Far()

    def setUp(self):
        store = self.far.dir.parent / "connected/workspace/.sre-provision/store/blobs"
        reference = image(store)
        text = f"load_balancer:\n  kind: kube-vip\n  address: {ADDRESS}\n  image: {reference}\n"
        self.far.file.write_text(EXTERNAL.sub(text, self.far.text))
        bundle(self.far)
        loaded = self.far.run("bundle", "load", NAME, str(DISK))
        self.assertEqual(loaded.code, 0, loaded.said)

    def test_1_an_address_that_a_machine_has_already_is_refused_by_its_name(self):
        on("server-2", f"ip addr add {ADDRESS}/32 dev eth0")
        self.addCleanup(on, "server-2", f"ip addr del {ADDRESS}/32 dev eth0")

        up = self.far.up()

        self.assertEqual(up.code, 6, up.said)
        self.assertIn(f"`{ADDRESS}` is somebody's already", up.said)
        self.assertIn("`server-2` has it on an interface", up.said)

    def test_2_the_address_answers_and_moves_when_its_server_dies(self):
        up = self.far.up()
        self.assertEqual(up.code, 0, up.said)
        (holder,) = holders(ADDRESS)
        self.assertEqual(answers(f"https://{ADDRESS}:9345/ping"), "pong")
        script = "sed -n /^server:/p /etc/rancher/rke2/config.yaml /etc/rancher/rke2/config.yaml.d/*"
        joins = {node: on(node, script) for node in SERVERS}
        self.assertFalse([node for node, line in joins.items() if ADDRESS in line], joins)
        self.assertIn(ADDRESS, on("general-1", "grep -rh ^server: /etc/rancher/rke2"))

        self.assertIn(moved(ADDRESS, holder), SERVERS)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
