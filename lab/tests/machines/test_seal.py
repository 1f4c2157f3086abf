"""What must not be in an image is found by the check that each build ends with (ansible/roles/image_seal), by its path."""

import unittest
from pathlib import Path

from harness import ANYTHING, Lab

FILES = Path(__file__).resolve().parents[3] / "ansible/roles/image_seal/files"
PEM = "-----BEGIN RSA {} KEY-----".format("PRIVATE")
# What is planted: the path, what it holds, and what the check calls it.
PLANTED = [
    ("/home/rocky/.ssh/authorized_keys", "ssh-rsa AAAA of-the-builder", "trace of rocky"),
    ("/root/.bash_history", "mount /dev/sda1", "trace of root"),
    ("/etc/ssh/ssh_host_ecdsa_key", PEM, "SSH host key"),
    ("/opt/service/tls.pem", PEM, "private key"),
    ("/var/log/messages", "Nov 21 build started", "log"),
    ("/var/lib/cloud/instances/i-0abc", "of the build machine", "cloud-init state"),
    ("/var/tmp/upload", "half", "temporary file"),
    ("/etc/rancher/rke2/token", "K10::server:0", "cluster state or token of RKE2"),
]


class Seal(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab("seal")
        cls.addClassCleanup(cls.lab.down)
        cls.lab.up()
        cls.lab.put(vpcs=[{"id": "vpc-1", "cidr": "10.20.0.0/16"}], groups={"sg-1": {"ingress": [ANYTHING], "egress": [ANYTHING]}})
        cls.lab.declare("i-1", "10.20.1.11", "vpc-1", ["sg-1"])
        cls.lab.boot("i-1", "10.20.1.11")
        # The lab's own, in place of a metadata service: no part of the disk.
        cls.lab.on("i-1", "umount", "/var/lib/cloud/seed/nocloud-net")
        cls.lab.do("machine", "exec", "i-1", "bash", "-s", given=(FILES / "seal.sh").read_text())

    def check(self) -> tuple[int, list[str]]:
        """As the role runs it: by standard input, so that nothing of it is on the machine."""
        done = self.lab.call("machine", "exec", "i-1", "bash", "-s", given=(FILES / "image-check.sh").read_text())
        return done.returncode, done.stdout.splitlines()

    def plant(self, path: str, text: str) -> None:
        write = 'mkdir -p "${1%/*}" && printf "%s\\n" "$2" >"$1"'
        self.lab.on("i-1", "sh", "-c", write, "sh", path, text)
        self.addCleanup(self.lab.on, "i-1", "rm", path)

    def test_a_machine_that_was_sealed_passes(self):
        self.assertEqual((0, ["nothing sensitive is left"]), self.check())

    def test_each_thing_that_is_left_fails_it_by_its_name(self):
        for path, text, _ in PLANTED:
            self.plant(path, text)

        code, said = self.check()

        self.assertEqual(1, code, said)
        found = {f"left in the image: {called}: {path}" for path, _, called in PLANTED}
        # A host key below /etc is a private key, too.
        found.add("left in the image: private key: /etc/ssh/ssh_host_ecdsa_key")
        self.assertEqual(found, set(said))

    def test_a_machine_that_knows_its_own_id_fails_it(self):
        self.lab.on("i-1", "systemd-machine-id-setup")
        self.addCleanup(self.lab.on, "i-1", "truncate", "--size=0", "/etc/machine-id")

        code, said = self.check()

        self.assertEqual((1, ["left in the image: machine id: /etc/machine-id must exist and be empty"]), (code, said))


if __name__ == "__main__":
    unittest.main()
