"""Images while others come and go: files only, without a guest."""

import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "machines"))

from labmachine import disk  # noqa: E402
from labmachine.place import Lab  # noqa: E402


class Images(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.lab = Lab("disk", Path(scratch.name))
        self.machine = self.lab.machine("i-1")
        (self.machine.dir / "upper").mkdir(parents=True)
        (self.machine.dir / "upper/file").write_text("written")
        self.machine.write("ip", "10.0.0.4")
        self.machine.write("lower", "/base")
        self.addCleanup(mock.patch.stopall)
        mock.patch.object(disk.guest, "running", return_value=False).start()

    def test_an_image_under_way_is_not_collected_when_another_is_forgotten(self) -> None:
        copy = disk.copy

        def forgetting_meanwhile(source: Path, target: Path) -> None:
            disk.forget(self.lab, "ami-other")
            copy(source, target)
            disk.forget(self.lab, "ami-other")

        with mock.patch.object(disk, "copy", forgetting_meanwhile):
            disk.capture(self.machine, "ami-1")

        made = self.lab.images / "ami-1"
        self.assertEqual("written", (made / "upper/file").read_text())
        self.assertEqual(f"{made}/upper:/base", disk.lower(self.lab, "ami-1"))
        self.assertEqual([made], list(self.lab.images.iterdir()))

    def test_an_image_that_was_left_half_made_is_made_anew(self) -> None:
        with mock.patch.object(disk, "copy", side_effect=OSError("killed")), self.assertRaises(OSError):
            disk.capture(self.machine, "ami-1")

        disk.capture(self.machine, "ami-1")

        self.assertEqual("written", (self.lab.images / "ami-1/upper/file").read_text())


if __name__ == "__main__":
    unittest.main()
