"""Environments on vSphere that end: by `reap` at their time and not before, with their state or by what the vCenter tells of
them alone; and what was broken off in the middle goes with the rest.

The tests follow each other by name: three machines are made once. No cluster is formed.
"""

import json
import os
import shutil
import unittest
from collections import Counter
from pathlib import Path

from vcenter import VCENTER, Case, On, fault, held, nodes
from world import Blow, Ended, lab

NODES = Counter(["server-1", "server-2", "server-3", "general-1"])
PAST = "2026-11-01T00:00:00Z"
SERVER = "https://vcenter.example.internal/rest/com/vmware/cis"


def rest(method: str, path: str, *words: str):
    """What the vCenter's REST service answers."""
    script = f'''token=$(curl --cacert {VCENTER}/ca.pem -sSf -u "$VSPHERE_USER:$VSPHERE_PASSWORD" -X POST {SERVER}/session | jq -r .value)
exec curl --cacert {VCENTER}/ca.pem -sSf -X "$1" -H "vmware-api-session-id: $token" "{SERVER}$2" "${{@:3}}"'''
    said = lab("exec", "--", "bash", "-euc", script, "rest", method, path, *words)
    return json.loads(said)["value"] if said.strip() else None


def categories() -> list[str]:
    return sorted(rest("GET", f"/tagging/category/id:{one}")["name"] for one in rest("GET", "/tagging/category") or [])


class Ends(Case):
    """Three servers with a tag, of an environment that ends."""

    @classmethod
    def setUpClass(cls):
        cls.world = On("short", first=71)
        text = cls.world.three_servers("  kind: external\n  address: 10.98.1.250\n")
        text = text.replace("class: standard\n", "class: ephemeral\nexpires_after: 72h\n")
        cls.world.text = text.replace("  folder: sre", "  tags: true\n  folder: sre")
        cls.world.write()
        cls.before, cls.categories = held(), categories()

    def made(self) -> None:
        """Brings the machines up, as far as their cluster is not begun."""
        stage, _, ended = self.world.stop_at({"access": [Blow.KILL]})
        self.assertEqual(stage, "access", ended.said)
        self.world.wait_until_nothing_runs()
        self.identity = self.world.state / "identity.json"
        self.id = json.loads(self.identity.read_text())["id"]
        self.assertIn(f"short-{self.id[:8]}", held()["folders"])

    def setUp(self):
        self.made()

    def let_it_expire(self) -> None:
        """As if it had been made long ago."""
        self.identity.write_text(json.dumps(json.loads(self.identity.read_text()) | {"expires": PAST}))
        fault("attribute", f"sre:expires={PAST}")

    def reap(self) -> tuple[Ended, dict[str, str]]:
        ended = self.world.run("reap", "--yes", "--output", "json")
        told = [told for line in ended.out.splitlines() if (told := json.loads(line))["event"] == "reap"]
        return ended, {one["id"]: one["fate"] for one in told[0]["environments"]}

    def is_gone(self) -> None:
        self.assertEqual(held(), self.before)
        self.assertEqual(categories(), self.categories)

    def test_1_before_its_time_nothing_happens_and_more_time_is_told_by_everything(self):
        self.assertIn(f"sre-short-{self.id[:8]}", categories())
        self.assertIn(f"short-{self.id[:8]}-servers", held()["rules"])
        early = self.reap()
        self.let_it_expire()
        extended = self.world.run("expiry", "extend", "short", "24h", "--output", "json")
        shown = self.world.run("expiry", "show", "short")
        late = self.reap()

        self.assertEqual((early[0].code, early[1]), (0, {}), early[0].said)
        self.assertEqual(extended.code, 0, extended.said)
        self.assertIn("in 23 h", shown.out)
        # Had a machine or the folder kept its old end, it would be told as one that was extended meanwhile.
        self.assertEqual((late[0].code, late[1]), (0, {}), late[0].said)

    def test_2_without_its_state_it_goes_by_what_the_vcenter_tells_in_order(self):
        self.let_it_expire()
        shutil.rmtree(self.world.state)
        fault("forget", "server-3")  # it still carries the tag

        ended, fates = self.reap()

        self.assertEqual((ended.code, fates), (0, {self.id: "gone"}), ended.said)
        self.is_gone()
        history = self.world.run("history", self.id)
        self.assertRegex(history.out, r"reap short .*succeeded")

    def test_3_a_clone_that_was_broken_off_goes_with_its_environment(self):
        self.world.write("  tags: true\n", "")
        self.made()
        self.forget("server-2")

        told = self.world.run("down", "short", "--dry-run", "--output", "json")
        ended = self.world.down()

        things = {one["name"] for one in json.loads(told.out.splitlines()[-1])["things"]}
        self.assertIn("server-2", things)
        self.assertEqual(ended.code, 0, ended.said)
        self.is_gone()

    def test_4_an_address_that_somebody_outside_of_the_vcenter_has_is_left_alone(self):
        lab("exec", "--", "ip", "address", "add", "10.98.1.71/32", "dev", "lo")
        self.addCleanup(lab, "exec", "--", "ip", "address", "delete", "10.98.1.71/32", "dev", "lo")
        self.world.down()

        self.made()

        facts = [entry["value"] for entry in self.world.journal() if entry.get("name") == "nodes/addresses"]
        self.assertEqual(sorted(facts[-1].values()), [f"10.98.1.{last}" for last in (72, 73, 74, 75)])

    def test_5_a_machine_that_never_tells_its_address_is_named_and_the_next_up_goes_on(self):
        self.world.down()
        self.world.write("rke2:\n", "deadlines:\n  nodes: 3m\nrke2:\n")
        fault("mute")

        silent = self.world.up()
        fault("clear")

        self.refused(silent, 6, "tofu", "timeout waiting for an available IP address", "console of the machine")
        self.assertRegex(silent.said, "server-1")
        self.made()
        self.assertEqual(nodes(), NODES)

    def test_6_a_machine_that_is_cloned_and_not_switched_on_is_taken_over_by_the_next_up(self):
        self.world.down()
        fault("PowerOnVM_Task", "Fault=InsufficientResourcesFault", "Message=No host has room.", "MaxCount=1")
        fault("PowerOnMultiVM_Task", "Fault=InsufficientResourcesFault", "Message=No host has room.", "MaxCount=1")

        half = self.world.up()
        fault("clear")

        self.refused(half, 5, "tofu", "No host has room")
        self.made()
        self.assertEqual(nodes(), NODES)

    def test_7_a_session_that_is_lost_in_the_middle_is_opened_anew(self):
        self.world.down()
        fault("CloneVM_Task", "Fault=NotAuthenticated", "Message=The session is not authenticated.", "MaxCount=1")

        self.made()

        self.assertEqual(nodes(), NODES)

    def test_8_images_go_when_they_are_asked_for(self):
        kept = self.world.down()
        before = held(templates=True)
        template = self.world.assets / "packer/base/build.pkr.hcl"
        template.write_text(f"{template.read_text()}# another one\n")  # images of this environment's own
        self.made()
        self.assertEqual(len(held(templates=True)["machines"]), len(before["machines"]) + len(NODES) + 2)

        ended = self.world.down("--images")

        self.assertEqual((kept.code, ended.code), (0, 0), ended.said)
        self.assertEqual(held(templates=True), before)
        self.assertEqual(categories(), self.categories)

    def forget(self, node: str) -> None:
        """As if the clone of this node had been broken off: neither OpenTofu nor an attribute knows of it."""
        root = self.world.state / "tofu/nodes"
        address = f'module.nodes.vsphere_virtual_machine.node["{node}"]'
        rule = "module.nodes.vsphere_compute_cluster_vm_anti_affinity_rule.servers[0]"
        for one in (address, rule):
            lab("exec", "--", "tofu", f"-chdir={root}", "state", "rm", one)
        fault("forget", node)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
