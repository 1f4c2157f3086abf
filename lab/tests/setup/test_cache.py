"""The cache of setup: what failed or was stopped is never taken for whole."""

import subprocess
import tempfile
import unittest
from pathlib import Path

SETUP = Path(__file__).resolve().parents[2] / "setup"


class Cache(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.cache = Path(place.name)

    def run_script(self, text: str) -> subprocess.CompletedProcess[str]:
        script = f'set -euo pipefail\n. "{SETUP}/cache.sh"\n{text}'
        environment = {"PATH": "/usr/bin:/bin", "SRE_LAB_CACHE": str(self.cache)}
        return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)

    def test_a_thing_is_made_once(self):
        text = 'make() { echo whole >"$1/file"; echo x >>"$LAB_CACHE/made"; }\nout=$(cached thing key make)\ncat "$out/file"\n'

        first, second = self.run_script(text), self.run_script(text)

        self.assertEqual(("whole\n", "whole\n"), (first.stdout, second.stdout), first.stderr)
        self.assertEqual("x\n", (self.cache / "made").read_text())

    def test_what_fails_at_its_end_is_not_there(self):
        ended = self.run_script('make() { echo half >"$1/file"; false; }\nout=$(cached thing key make)\necho went on\n')

        self.assertNotEqual(0, ended.returncode)
        self.assertEqual("", ended.stdout)
        self.assertFalse((self.cache / "thing-key").exists())

    def test_what_fails_in_the_middle_is_not_there_either(self):
        ended = self.run_script('make() { false; echo half >"$1/file"; }\nout=$(cached thing key make)\necho went on\n')

        self.assertNotEqual(0, ended.returncode)
        self.assertEqual("", ended.stdout)
        self.assertFalse((self.cache / "thing-key").exists())

    def test_what_was_left_half_is_made_from_the_start(self):
        (self.cache / "thing-key.partial").mkdir()
        (self.cache / "thing-key.partial" / "half").touch()

        ended = self.run_script('make() { echo whole >"$1/file"; }\nls "$(cached thing key make)"\n')

        self.assertEqual("file\n", ended.stdout, ended.stderr)


if __name__ == "__main__":
    unittest.main()
