"""What breaks RKE2 or our way to a node: rules of a profile without the exception that docs/hardening.md makes for a cluster,
each undone again. One that this lab cannot break is named there as not shown.
"""

import unittest

from world import NAME, World, lab, world_that_is_up

# Who may become root without a password, and who may not any more.
KEPT = "/root/sudoers.kept"
WITH_PASSWORD = f"tar -cf {KEPT} /etc/sudoers /etc/sudoers.d 2>/dev/null && sed -i 's/NOPASSWD://' /etc/sudoers /etc/sudoers.d/*"
AS_BEFORE = f"tar -xf {KEPT} -C / && rm {KEPT}"


class Breakers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world: World = world_that_is_up()

    def on(self, node: str, command: str) -> str:
        return lab("machine", "exec", self.world.machines_by_name()[node], "sh", "-c", command)

    def test_a_node_whose_user_must_type_a_password_for_root_is_told_and_goes_on_with_the_exception(self):
        self.on("general-1", WITH_PASSWORD)
        self.addCleanup(self.on, "general-1", AS_BEFORE)

        broken = self.world.up()
        self.doCleanups()
        mended = self.world.up()

        self.assertNotEqual(broken.code, 0, broken.said)
        self.assertIn("a password is required", broken.said)
        self.assertIn("must be able to use sudo without a password there", broken.line("hint"))
        self.assertEqual(mended.code, 0, mended.said)
        self.assertIn(f"{NAME} is up and as described", self.world.up().out)


if __name__ == "__main__":
    unittest.main()
