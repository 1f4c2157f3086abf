"""A cluster on vSphere, with the real Packer and OpenTofu's real provider, in a lab with a vCenter: what is wrong is told
with what to do; one course from templates to a Ready cluster and away again; what is stopped on its way is gone on with.

The tests of `Course` follow each other by name, each on what the one before it left: one cluster takes minutes.
"""

import json
import os
import subprocess
import time
import unittest
from collections import Counter
from pathlib import Path

from vcenter import FULL, VCENTER, Case, On, fault, held, nodes
from world import LIMIT, Blow, lab


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

    def test_what_there_is_no_room_for_is_told_with_what_there_is(self):
        fault("room", "FreeGiB=20", "MemoryGiB=4", "CPUs=1")
        little = self.world.up()
        fault("room", "InMaintenance=3")
        none = self.world.up()
        self.world.write("  folder: sre", "  overcommit: true\n  folder: sre")
        promised = self.world.up()

        self.refused(little, 6, "^nodes: `DC0_C0` has no room for 2 more machines$", hint="`vsphere.overcommit: true`")
        self.assertIn("disks need 200 GiB, the datastore has 20 GiB free of", little.said)
        self.assertIn("the largest machine needs 2 CPUs, the largest host has 1", little.said)
        self.assertIn("the largest machine needs 8 GiB of memory, the largest host has 4 GiB", little.said)
        self.assertIn("memory needs 16 GiB, 12 GiB of 12 GiB are free on 3 hosts", little.said)
        self.assertIn("4 CPUs need 8000 MHz, 6000 MHz of 6000 MHz are free on 3 hosts", little.said)
        for ended in (none, promised):
            self.refused(ended, 6, "no room", "^none of 3 hosts can take a machine", "^bring a host back")

    def test_what_is_asked_of_the_vcenter_itself_is_told_when_it_is_lacked(self):
        fault("refuse", "Global.ManageCustomFields", "InventoryService.Tagging.CreateTag")
        without = self.world.up()
        self.world.write("  folder: sre", "  tags: true\n  folder: sre")
        tagged = self.world.up()

        self.refused(without, 4, "lacks 1 privilege ", "^on the vCenter: Global.ManageCustomFields$")
        self.refused(tagged, 4, "lacks 2 privileges", "Global.ManageCustomFields, InventoryService.Tagging.CreateTag$")

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

    def test_what_the_file_wants_of_its_nodes_is_asked_for_before_they_are_made(self):
        text = self.world.three_servers("  kind: external\n  address: 10.98.1.200\n")
        more = "  storage_policy: nowhere\n  hardware_version: 19\n  folder: sre"
        self.world.file.write_text(text.replace("  folder: sre", more, 1))
        fault("refuse", "VirtualMachine.Config.UpgradeVirtualHardware", "StorageProfile.View", "Host.Inventory.EditCluster")
        lacking = self.world.up()
        fault("clear")
        unknown = self.world.up()
        gone = self.world.down()

        self.refused(lacking, 4, "^nodes: this account lacks 3 privileges")
        self.assertIn("on the folder: VirtualMachine.Config.UpgradeVirtualHardware", lacking.said)
        self.assertIn("on the cluster: Host.Inventory.EditCluster", lacking.said)
        self.assertIn("on the vCenter: StorageProfile.View", lacking.said)
        what = "^nodes: vsphere.storage_policy: the vCenter has no storage policy `nowhere`$"
        self.refused(unknown, 3, what, "`vSAN Default Storage Policy`", "^correct `vsphere.storage_policy`")
        self.assertNotIn("storage policy", gone.said)

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


class AskedOfOthers(Case):
    """What somebody else made with OpenTofu's provider, which the tests above do without; before the first `up` of a vCenter,
    which defines our attributes for good.
    """

    def test_a_custom_attribute_of_somebody_else_is_named_and_left_alone(self):
        world = On("foreign")
        foreign = world.dir / "foreign"
        foreign.mkdir(exist_ok=True)
        source = 'terraform {\n  required_providers {\n    vsphere = { source = "hashicorp/vsphere" }\n  }\n}\n'
        source += 'resource "vsphere_custom_attribute" "other" {\n  name = "sre:node"\n  managed_object_type = "HostSystem"\n}\n'
        (foreign / "main.tf").write_text(source)
        for words in (("init",), ("apply", "-auto-approve")):
            lab("exec", "--", "tofu", f"-chdir={foreign}", *words, "-no-color")
        self.addCleanup(lab, "exec", "--", "tofu", f"-chdir={foreign}", "destroy", "-auto-approve", "-no-color")

        ended = world.up()

        self.refused(ended, 6, "`sre:node` is somebody else's", "only a `HostSystem` may carry it", "rename `sre:node`")


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
