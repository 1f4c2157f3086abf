"""Labs as a whole: beside each other, twice, and gone."""

import unittest

from harness import ANYTHING, Lab, alive

IP = "10.20.1.11"


class Labs(unittest.TestCase):
    def lab(self, name: str) -> Lab:
        lab = Lab(name)
        self.addCleanup(lab.call, "down")
        return lab.up()

    def machine(self, lab: Lab) -> None:
        lab.put(groups={"sg-all": {"ingress": [ANYTHING], "egress": [ANYTHING]}})
        lab.declare("one", IP, "vpc-a", ["sg-all"])
        lab.boot("one", IP)

    def test_two_labs_have_the_same_machine_and_never_meet(self) -> None:
        first, second = self.lab("first"), self.lab("second")
        self.machine(first)
        self.machine(second)
        first.on("one", "touch", "/etc/of-the-first")

        self.assertEqual(second.call("machine", "exec", "one", "test", "-e", "/etc/of-the-first").returncode, 1)
        first.do("fault", "crash", "one")
        self.assertEqual((first.state("one"), second.state("one")), ("off", "on"))
        first.down()
        self.assertEqual(second.state("one"), "on")

    def test_down_leaves_nothing(self) -> None:
        lab = self.lab("gone")
        self.machine(lab)
        left_running = lab.do("exec", "--", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!").strip()

        lab.do("down")

        self.assertEqual(lab.remains(), [])
        self.assertFalse(alive(left_running))

    def test_up_and_down_may_be_repeated(self) -> None:
        lab = self.lab("again")

        lab.up()
        lab.down()
        lab.down()

        self.assertEqual(lab.call("status").returncode, 3)
        self.assertEqual(lab.call("exec", "--", "true").stderr, f"error: lab {lab.name} is not up\nhint:  lab/lab up\n")


if __name__ == "__main__":
    unittest.main()
