"""The state of an environment on vSphere is in S3: one machine begins it, another one takes it away.

In a lab with both: `SRE_E2E_VSPHERE=yes tests/e2e/run test_vsphere_shared`. No image is built, so that it takes seconds.
"""

import os
import unittest
from pathlib import Path

from test_shared import BUCKET, MAKE, asked, keys
from vcenter import FULL, Case, On, fault, held

STATE = f"state: {{s3: {{bucket: {BUCKET}, prefix: dc/shared, region: us-east-1}}}}\n"


class Shared(Case):
    @classmethod
    def setUpClass(cls):
        asked(MAKE)
        cls.worlds = [On("shared", first=101, place=f"shared-{number}") for number in (1, 2)]
        for world in cls.worlds:
            world.text += STATE
            world.write()

    def test_one_machine_begins_it_and_another_takes_it_away(self):
        one, two = self.worlds
        before = held(templates=True)
        fault(*FULL)
        begun = one.up()
        fault("clear")
        made, there = held(templates=True), keys()
        gone = two.down()

        self.refused(begun, 6, "packer", "Insufficient disk space")
        self.assertFalse((one.state / "identity.json").exists() or (one.state / "journal").exists())
        for part in ("/journal/0000000001.json", "/tofu/network.tfstate"):
            self.assertTrue(any(key.startswith("dc/shared/") and key.endswith(part) for key in there), f"{part}: {there}")
        self.assertEqual(len(made["folders"]), len(before["folders"]) + 1, made)
        self.assertEqual(gone.code, 0, gone.said)
        self.assertEqual(held(templates=True), before)
        self.assertFalse([key for key in keys() if key.endswith(("shared/identity.json", ".tflock"))])


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
