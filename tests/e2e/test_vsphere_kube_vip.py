"""Three servers on vSphere with the fixed address by kube-vip: it answers, it moves when its server dies, and a rule keeps
the servers apart.

Needs `lab/lab setup vsphere kube-vip`.
"""

import json
import os
import subprocess
import unittest
from pathlib import Path

from fixed_address import answers, holders, image, moved
from vcenter import Case, On, held
from world import CHECKOUT, lab

# The lab's port group leads this one to whoever has it.
ADDRESS = "10.98.1.250"


class KubeVip(Case):
    @classmethod
    def setUpClass(cls):
        cls.world = On("fixed")
        cls.before = held()
        leading = [str(CHECKOUT / "lab/lab"), "exec", "--", str(CHECKOUT / "lab/machines/floating"), ADDRESS]
        cls.leading = subprocess.Popen(leading, stdout=subprocess.DEVNULL)
        cls.addClassCleanup(cls.leading.wait)
        cls.addClassCleanup(cls.leading.terminate)
        reference = image(cls.world.workspace / ".sre-provision/store/blobs")
        cls.world.text = cls.world.three_servers(f"  kind: kube-vip\n  address: {ADDRESS}\n  image: {reference}\n")
        cls.world.write()

    def test_1_the_address_answers_and_moves_when_its_server_dies(self):
        up = self.world.up()

        self.assertEqual(up.code, 0, up.said)
        servers = {line.split()[0] for line in lab("machines").splitlines() if line.split()[2] == "on"}
        (holder,) = holders(ADDRESS)
        self.assertEqual(answers(f"https://{ADDRESS}:9345/ping"), "pong")
        self.assertIn(f"https://{ADDRESS}:6443", (self.world.state / "kubeconfig").read_text())
        identity = json.loads((self.world.state / "identity.json").read_text())["id"]
        self.assertIn(f"fixed-{identity[:8]}-servers", held()["rules"])
        self.assertIn(moved(ADDRESS, holder), servers)
        kubeconfig = str(self.world.state / "kubeconfig")
        self.assertIn("general-1", lab("exec", "--", "kubectl", "--kubeconfig", kubeconfig, "get", "nodes"))

    def test_2_down_leaves_what_was_there_before(self):
        down = self.world.down()

        self.assertEqual(down.code, 0, down.said)
        self.assertEqual(held(), self.before)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
