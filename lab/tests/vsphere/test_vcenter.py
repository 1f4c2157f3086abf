"""The lab's vCenter as OpenTofu's provider uses it: what the API says is what machines do."""

import json
import shutil
import unittest
from pathlib import Path

from harness import Lab, eventually

CHECKOUT = Path(__file__).resolve().parents[3]
MODULES = CHECKOUT / "tofu/modules"
NODE = "module.compute.vsphere_virtual_machine.node["
ADDRESSES = {"server-1": "10.98.7.11", "server-2": "10.98.7.12"}


class Vcenter(unittest.TestCase):
    """A lab with a vCenter and nothing else."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Lab("test-vsphere")
        cls.addClassCleanup(cls.lab.down)
        cls.lab.do("up", "--without-aws", "--with-vsphere")
        cls.before = cls.inventory()

    @classmethod
    def inventory(cls) -> dict:
        return json.loads(cls.lab.do("inventory"))

    def copy(self, module: str, example: str) -> Path:
        """An example where tofu may write beside it."""
        where = self.lab.dir / f"tofu-{module}"
        shutil.copytree(MODULES, where / "modules")
        self.addCleanup(shutil.rmtree, where)
        return where / "modules/vsphere" / module / "examples" / example

    def tofu(self, where: Path, *words: str) -> str:
        return self.lab.do("exec", "--", "tofu", f"-chdir={where}", *words)

    def test_a_lab_begins_with_a_template_and_the_folder_of_an_account(self):
        self.assertIn("rocky9-base", self.before["machines"])
        self.assertIn("sre", self.before["folders"])

    def test_its_certificate_is_of_an_authority_that_only_the_lab_trusts(self):
        def asked(authority: str) -> int:
            url = "https://vcenter.example.internal/sdk/vimServiceVersions.xml"
            return self.lab.call("exec", "--", "curl", "--silent", "--fail", "--cacert", authority, url).returncode

        self.assertEqual(0, asked(str(self.lab.dir / "vsphere/ca.pem")))
        self.assertEqual(60, asked("/etc/ssl/certs/ca-certificates.crt"))

    def test_the_example_of_machines_boots_them_at_their_addresses_and_leaves_nothing(self):
        where = self.copy("compute", "cluster")
        self.tofu(where, "init", "-no-color")

        self.tofu(where, "apply", "-auto-approve", "-no-color")

        nodes = json.loads(self.tofu(where, "output", "-json", "nodes"))
        self.assertEqual(ADDRESSES, {name: node["address"] for name, node in nodes.items()})
        on = {line.split()[0]: line.split()[1:3] for line in self.lab.do("machines").splitlines()}
        self.assertEqual({node["id"]: [node["address"], "on"] for node in nodes.values()}, on)
        for name, node in nodes.items():
            eventually(lambda id=node["id"], name=name: self.lab.call("machine", "exec", id, "hostname").stdout == f"{name}\n")
        self.assertEqual("refused", self.lab.reach(nodes["server-1"]["id"], ADDRESSES["server-2"], 6443))
        self.assertIn("dev-5b1e7c1f-servers", self.inventory()["rules"])

        self.tofu(where, "plan", "-detailed-exitcode", "-no-color")
        self.tofu(where, "destroy", "-auto-approve", "-no-color")

        self.assertEqual(self.before, self.inventory())
        eventually(lambda: self.lab.do("machines") == "")  # the vCenter lets go of them in the background

    def test_the_example_takes_a_tag_a_storage_policy_and_secure_boot(self):
        where = self.copy("compute", "cluster")
        more = 'tag_ids = module.network.tag_ids\n  storage_policy = "vSAN Default Storage Policy"\n'
        more += "  secure_boot = true\n"
        text = (where / "main.tf").read_text().replace('module "network" {\n', 'module "network" {\n  tagged = true\n')
        text = text.replace('module "compute" {\n', f'module "compute" {{\n  {more}')
        (where / "main.tf").write_text(text)
        self.tofu(where, "init", "-no-color")

        self.tofu(where, "apply", "-auto-approve", "-no-color")

        shown = json.loads(self.tofu(where, "show", "-json"))
        modules = {one["address"]: one["resources"] for one in shown["values"]["root_module"]["child_modules"]}
        machines = [one["values"] for one in modules["module.compute"] if one["address"].startswith(NODE)]
        [tag] = [one["values"]["id"] for one in modules["module.network"] if one["type"] == "vsphere_tag"]
        told = [(one["tags"], one["efi_secure_boot_enabled"], one["firmware"]) for one in machines]
        self.assertEqual([([tag], True, "efi")] * 2, told)
        # The simulator forgets which policy it was told, so that it is told again; nothing else is to be changed.
        again = self.tofu(where, "plan", "-no-color")
        changed = {line.split()[1] for line in again.splitlines() if " = " in line and line.split()[0] in "+-~"}
        self.assertEqual({"storage_policy_id"}, changed, again)
        self.tofu(where, "destroy", "-auto-approve", "-no-color")
        self.assertEqual(self.before, self.inventory())

    def test_the_example_of_a_folder_is_made_and_taken_away(self):
        where = self.copy("network", "folder")
        self.tofu(where, "init", "-no-color")

        self.tofu(where, "apply", "-auto-approve", "-no-color")
        self.assertIn("dev-5b1e7c1f", self.inventory()["folders"])
        self.tofu(where, "destroy", "-auto-approve", "-no-color")

        self.assertEqual(self.before, self.inventory())


if __name__ == "__main__":
    unittest.main()
