"""No secret of an environment that is up lies where it must not; and the search finds one that does."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from world import CHECKOUT, NAME, SCRATCH, releases, world_that_is_up

CANARY = CHECKOUT / "tests/canary"
SEEN = SCRATCH / "command-lines"


class Secrets(unittest.TestCase):
    """In this order: what the second test plants is among the command lines that were seen."""

    @classmethod
    def setUpClass(cls):
        cls.world = world_that_is_up()
        cls.lab = releases().parent
        identity = json.loads((cls.world.state / "identity.json").read_text())["id"]
        short = identity.replace("-", "")[:8]
        cls.store_key = cls.world.dir / f"config/sre-provision/keys/{identity}.key"
        # Where docs/secrets.md says that the key of an environment lies between runs.
        tmpfs = Path(f"/run/user/{os.getuid()}/sre-provision"), Path(f"/dev/shm/sre-provision-{os.getuid()}")
        cls.key = next(path for place in tmpfs for path in [place / f"c-{short}/key"] if path.exists())

    def look(self, *also: Path) -> tuple[int, str]:
        """What the search says of workspace, tmpfs, everything of the lab, and the processes since the tests began."""
        words = [CANARY, "look", self.world.workspace, NAME, self.key, "--store-key", self.store_key]
        words += ["--also", self.lab]
        words += ["--seen", SEEN] if SEEN.exists() else []
        words += [word for path in also for word in ("--also", path)]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_the_real_values_are_nowhere_but_in_the_listed_places(self):
        code, said = self.look()

        self.assertEqual(code, 0, said)
        for kind in ("kubeconfig", "ssh-key", "token", "store-key"):
            self.assertRegex(said, rf"[1-9]\d* of {kind}\b")
        self.assertIn("allowed: ssh-key in ", said, "it did not look on tmpfs")

    def test_values_that_were_planted_are_found_in_files_memory_command_lines_and_environments(self):
        [token, *_] = self.lab.glob("machines/*/upper/etc/rancher/rke2/token")
        token = token.read_text().strip().rsplit(":", 1)[-1]
        kubeconfig = (self.world.state / "kubeconfig").read_text()
        certificate_key = re.search(r"client-key-data:\s*\"?([A-Za-z0-9+/=]+)", kubeconfig)[1]
        planted = self.world.dir / "planted"
        planted.mkdir()
        self.addCleanup(shutil.rmtree, planted)
        (planted / "run.log").write_text(f"12:00 joining with token={token} as server\n")
        (planted / "terraform.tfstate").write_text(json.dumps({"outputs": {"kubeconfig": kubeconfig}}))
        shutil.copy(self.key, planted / "key-copy")
        (planted / "rotated.log.gz").write_bytes(gzip.compress(f"token={token}\n".encode()))
        (planted / "wrapped").write_text("\n".join(textwrap.wrap(base64.b64encode(token.encode()).decode(), 20)))
        (planted / "backup").write_text(self.store_key.read_text())
        in_memory = Path(tempfile.mkdtemp(prefix="sre-planted-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, in_memory)
        shutil.copy(self.key, in_memory / "key")
        patient = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", certificate_key], env={"X": token})
        self.addCleanup(patient.wait)
        self.addCleanup(patient.terminate)

        code, said = self.look(planted)

        self.assertEqual(code, 7, said)
        for found in (f"token in {planted}/run.log", f"kubeconfig in {planted}/terraform.tfstate"):
            self.assertIn(f"FOUND: {found}", said)
        for found in ("token in {}/rotated.log.gz", "token in {}/wrapped", "store-key in {}/backup"):
            self.assertIn(f"FOUND: {found.format(planted)}", said)
        self.assertRegex(said, rf"FOUND: token in the environment of {re.escape(sys.executable)}")
        for place in (planted / "key-copy", in_memory / "key"):
            self.assertIn(f"FOUND: ssh-key in {place}", said)
        self.assertRegex(said, rf"FOUND: kubeconfig in a command line of {re.escape(sys.executable)}")
        for value in (token, certificate_key):
            self.assertNotIn(value, said)


if __name__ == "__main__":
    unittest.main()
