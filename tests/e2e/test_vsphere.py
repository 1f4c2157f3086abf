"""A cluster on vSphere, with the real Packer and OpenTofu's real provider, in a lab with a vCenter: what is wrong is told
with what to do; one course from templates to a Ready cluster and away again; what is stopped on its way is gone on with.

The tests of `Course` follow each other by name, each on what the one before it left: one cluster takes minutes.
"""

import json
import os
import shutil
import subprocess
import time
import unittest
from collections import Counter
from pathlib import Path

from world import CHECKOUT, LIMIT, Blow, Ended, World, lab

EXAMPLE = (CHECKOUT / "environments/vsphere-dev.yaml").read_text()
VCENTER = Path(os.environ.get("SRE_LAB_DIR", f"/var/lib/sre-lab/{os.environ.get('LAB_NAME', 'lab')}")) / "vsphere"
FULL = ("CloneVM_Task", "Fault=NoDiskSpace", "Message=Insufficient disk space on datastore 'LocalDS_0'.")


class On(World):
    """One environment on the lab's vCenter, whose authority its file names."""

    def __init__(self, name: str, first: int = 11):
        super().__init__(name, name)
        shutil.copy(VCENTER / "ca.pem", self.workspace / "ca.pem")
        server = "  server: vcenter.example.internal\n"
        self.text = EXAMPLE.replace(server, f"{server}  ca: file:ca.pem\n")
        self.text = self.text.replace("10.98.1.11", f"10.98.1.{first}").replace("10.98.1.23", f"10.98.1.{first + 12}")
        self.write()

    def start(self, *words, **changed):
        return super().start(*words, SSL_CERT_FILE=None, SSL_CERT_DIR=None, **changed)

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


class AskedFirst(Case):
    """What is refused before anything is made."""

    @classmethod
    def setUpClass(cls):
        cls.world = On("asked")
        cls.before = held(templates=True)

    def setUp(self):
        self.world.write()

    @classmethod
    def tearDownClass(cls):
        if cls.world.journal() or held(templates=True) != cls.before:
            raise AssertionError(f"something was made: {held(templates=True)}, before {cls.before}")

    def test_a_custom_attribute_of_somebody_else_is_named_and_left_alone(self):
        foreign = self.world.dir / "foreign"
        foreign.mkdir(exist_ok=True)
        source = 'terraform {\n  required_providers {\n    vsphere = { source = "hashicorp/vsphere" }\n  }\n}\n'
        source += 'resource "vsphere_custom_attribute" "other" {\n  name = "sre:node"\n  managed_object_type = "HostSystem"\n}\n'
        (foreign / "main.tf").write_text(source)
        for words in (("init",), ("apply", "-auto-approve")):
            lab("exec", "--", "tofu", f"-chdir={foreign}", *words, "-no-color")
        self.addCleanup(lab, "exec", "--", "tofu", f"-chdir={foreign}", "destroy", "-auto-approve", "-no-color")

        ended = self.world.up()

        self.refused(ended, 6, "`sre:node` is somebody else's", "only a `HostSystem` may carry it", "rename `sre:node`")

    def test_a_datacenter_that_is_not_there_is_told_with_its_key(self):
        self.world.write("datacenter: DC0", "datacenter: DC1")

        ended = self.world.up()

        what = "^vsphere.datacenter: the vCenter has no datacenter `DC1`$"
        self.refused(ended, 3, what, "nothing is at `/DC1`", "^correct `vsphere.datacenter`")

    def test_every_privilege_that_is_lacked_is_told_by_its_object(self):
        fault("refuse", "VirtualMachine.Provisioning.Clone", "Folder.Create", "Network.Assign")

        ended = self.world.up()

        self.refused(ended, 4, "lacks 3 privileges", hint="docs/vsphere.md")
        self.assertIn("on the folder: Folder.Create, VirtualMachine.Provisioning.Clone", ended.said)
        self.assertIn("on the network: Network.Assign", ended.said)

    def test_a_certificate_of_another_authority_is_refused(self):
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        made += ["-subj", "/CN=another authority", "-keyout", "/dev/null", "-out", str(self.world.workspace / "other.pem")]
        subprocess.run(made, check=True, capture_output=True)
        self.world.write("file:ca.pem", "file:other.pem")

        ended = self.world.up()

        self.refused(ended, 6, "vcenter.example.internal", "(?i)certificate|issuer", "`vsphere.ca`")

    def test_a_wrong_password_is_told_with_the_variables(self):
        ended = self.world.up(VSPHERE_PASSWORD="wrong")

        self.refused(ended, 4, "does not know this user with this password", hint="VSPHERE_USER and VSPHERE_PASSWORD")

    def test_a_session_that_the_vcenter_forgot_is_opened_anew_and_one_that_it_never_keeps_is_told(self):
        fault("FindByInventoryPath", "Fault=NotAuthenticated", "MaxCount=1")
        once = self.world.run("plan", "asked")
        fault("FindByInventoryPath", "Fault=NotAuthenticated")
        always = self.world.run("plan", "asked")

        self.assertEqual(once.code, 0, once.said)
        self.refused(always, 6, "the session was lost", "NotAuthenticated")


class Course(Case):
    """From the file to a Ready cluster and back, and a second one beside it that is stopped on its way."""

    @classmethod
    def setUpClass(cls):
        cls.one, cls.two = On("one"), On("two", first=41)
        cls.before = held()

    def test_1_a_template_that_is_gone_and_a_datastore_that_is_full_are_told_and_leave_no_machine(self):
        self.one.write("name: rocky9-base", "name: rocky10-base")
        gone = self.one.up()
        self.one.write()
        fault(*FULL)
        full = self.one.up()

        self.refused(gone, 6, "DC0 has no image of that name", "no template is called `rocky10-base`", "image.source.name")
        self.refused(full, 6, "packer", "Insufficient disk space", "free space in `vsphere.datastore`")
        self.assertEqual(held(templates=True)["machines"], self.before["machines"])

    def test_2_up_makes_a_ready_cluster_and_tells_no_machine_a_secret(self):
        up = self.one.up()

        self.assertEqual(up.code, 0, up.said)
        kubeconfig = self.one.state / "kubeconfig"
        nodes = json.loads(lab("exec", "--", "kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", "json"))["items"]
        ready = {
            node["metadata"]["name"]: condition["status"]
            for node in nodes
            for condition in node["status"]["conditions"]
            if condition["type"] == "Ready"
        }
        self.assertEqual(ready, {"server-1": "True", "general-1": "True"})
        seeds = list(VCENTER.glob("seeds/*/*"))
        self.assertTrue(seeds)
        for seed in seeds:
            text = seed.read_text()
            self.assertNotIn("PRIVATE KEY", text, seed)
            self.assertNotRegex(text, r"K10[0-9a-f]{16}|token:", seed)

    def test_3_a_second_up_finds_everything_as_it_is(self):
        verdicts = {stage: decision["verdict"] for stage, decision in self.one.plan()["stages"].items()}

        self.assertEqual(set(verdicts.values()), {"reuse"}, verdicts)

    def test_4_an_address_in_use_is_nobody_elses_to_give(self):
        self.two.write("    first: 10.98.1.41\n    last: 10.98.1.53\n", "    first: 10.98.1.11\n    last: 10.98.1.14\n")

        ended = self.two.up()

        self.refused(ended, 3, "no address is left for", "of 2 addresses", "widen `vsphere.addresses.first`")
        self.two.write()

    def test_5_a_clone_that_fails_half_way_is_made_by_the_next_up(self):
        others = nodes()
        fault("CloneVM_Task", "Fault=InsufficientResourcesFault", "Message=No host has room.", "MaxCount=1")

        half = self.two.up()
        made = nodes() - others
        stopped = self.two.stop_at({"access": [Blow.KILL]})

        self.refused(half, 5, "tofu", "No host has room")
        self.assertEqual(made.total(), 1, made)
        self.assertEqual(stopped[0], "access")
        self.assertEqual(nodes() - others, Counter(["server-1", "general-1"]))

    def test_6_a_kill_while_machines_are_made_leaves_none_twice(self):
        self.assertEqual(self.two.down().code, 0)
        others = nodes()
        for _ in range(2):
            struck = self.two.stop_at({"tool nodes-apply": [Blow.KILL_GROUP]})
            self.assertEqual(struck[0], "tool nodes-apply")
        self.two.wait_until_nothing_runs()

        stopped = self.two.stop_at({"access": [Blow.CTRL_C]})

        self.assertEqual(stopped[0], "access", stopped[2].said)
        self.assertEqual(nodes() - others, Counter(["server-1", "general-1"]))

    def test_9_down_leaves_what_was_there_before(self):
        two, one = self.two.down(), self.one.down()

        self.assertEqual((two.code, one.code), (0, 0), two.said + one.said)
        self.assertEqual(held(), self.before)
        until = time.monotonic() + LIMIT
        while running := [line for line in lab("machines").splitlines() if line.split()[2] != "off"]:  # templates are off
            self.assertLess(time.monotonic(), until, running)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
