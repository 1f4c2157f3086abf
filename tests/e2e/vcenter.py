"""What the tests on vSphere have in common: an environment on the lab's vCenter, what the vCenter holds, and its faults."""

import json
import os
import shutil
import unittest
from collections import Counter
from pathlib import Path

from world import CHECKOUT, Ended, World, lab

EXAMPLE = (CHECKOUT / "environments/vsphere-dev.yaml").read_text()
VCENTER = Path(os.environ.get("SRE_LAB_DIR", f"/var/lib/sre-lab/{os.environ.get('LAB_NAME', 'lab')}")) / "vsphere"
FULL = ("CloneVM_Task", "Fault=NoDiskSpace", "Message=Insufficient disk space on datastore 'LocalDS_0'.")


class On(World):
    """One environment on the lab's vCenter, whose authority its file names."""

    def __init__(self, name: str, first: int = 11, place: str = ""):
        super().__init__(place or name, name)
        shutil.copy(VCENTER / "ca.pem", self.workspace / "ca.pem")
        server = "  server: vcenter.example.internal\n"
        self.text = EXAMPLE.replace(server, f"{server}  ca: file:ca.pem\n")
        self.text = self.text.replace("10.98.1.11", f"10.98.1.{first}").replace("10.98.1.23", f"10.98.1.{first + 12}")
        self.write()

    def start(self, *words, **changed):
        return super().start(*words, SSL_CERT_FILE=None, SSL_CERT_DIR=None, **changed)

    def three_servers(self, balancer: str) -> str:
        """The environment file with three servers behind this load balancer, of which it has the lines."""
        text = self.text.replace("    count: 1\n", "    count: 3\n", 1)
        start, end = text.index("load_balancer:"), text.index("rke2:")
        return f"{text[:start]}load_balancer:\n{balancer}{text[end:]}"

    def write(self, old: str = "", new: str = "") -> None:
        """The environment file as it came, or with this changed."""
        assert old in self.text, f"`{old}` is not in the file"
        self.file.write_text(self.text.replace(old, new, 1) if old else self.text)


def held(templates: bool = False) -> dict[str, list[str]]:
    """What the vCenter holds; templates that were built aside, unless asked for."""
    found = json.loads(lab("inventory"))
    built = ("sre-base-", "sre-node-")
    found["machines"] = [name for name in found["machines"] if templates or not name.startswith(built)]
    return found


def nodes() -> Counter:
    """How many machines there are by the name of each node."""
    return Counter(name for name in held()["machines"] if name.startswith(("server-", "general-")))


def fault(*words: str) -> None:
    lab("fault", "vcenter", *words)


class Case(unittest.TestCase):
    def tearDown(self):
        fault("clear")

    def refused(self, ended: Ended, code: int, error: str, cause: str = "", hint: str = "") -> None:
        """How it ended: patterns of the lines, each of which is not looked at where none is given."""
        self.assertEqual(ended.code, code, ended.said)
        for word, pattern in (("error", error), ("cause", cause), ("hint", hint)):
            if pattern:
                self.assertRegex(ended.line(word), pattern, f"{word} of:\n{ended.said}")
