"""One thing changes: `plan` names the input and exactly the stages and nodes that follow, and `up` does no more."""

import unittest

from world import NAME, World, lab, world_that_is_up

# Each is decided again when what it needs is made anew.
BEHIND_IMAGES = {stage: "follow" for stage in ("nodes", "access", "hardening", "servers", "agents", "health")}
OF_OTHER_AGENTS = BEHIND_IMAGES | {"nodes": "run", "agents": "run"}
MORE_AGENTS = ("general:\n      count: 1", "general:\n      count: 2")
OTHER_SIZE = ("m6i.2xlarge", "m6i.4xlarge")


def verdicts(plan: dict) -> dict[str, str]:
    """Every stage that is not simply reused: how it is decided."""
    return {name: stage["verdict"] for name, stage in plan["stages"].items() if stage["verdict"] != "reuse"}


class Changes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = world_that_is_up()
        cls.text = cls.world.file.read_text()

    def tearDown(self):
        self.world.file.write_text(self.text)

    def touched(self, path: str, added: str):
        """Adds a line to a file among the assets and takes it away at the end of the test."""
        file = self.world.assets / path
        before = file.read_text()
        self.addCleanup(file.write_text, before)
        file.write_text(before + added)

    def test_without_a_change_everything_is_reused_and_up_says_so_in_a_line(self):
        self.assertEqual({}, verdicts(self.world.plan()))

        ended = self.world.up()

        self.assertEqual(ended.code, 0, ended.said)
        self.assertRegex(ended.out, rf"^{NAME} is up and as described · 2 nodes ready · checked in \d+\.\d s\n$")

    def test_one_more_agent_is_the_only_node_that_is_touched(self):
        self.world.file.write_text(self.text.replace(*MORE_AGENTS))

        plan = self.world.plan()

        self.assertEqual([{"change": "add", "node": "general-2"}], plan["nodes"])
        self.assertEqual(OF_OTHER_AGENTS, verdicts(plan))
        for stage in ("nodes", "agents"):
            self.assertEqual(["nodes.agents"], plan["stages"][stage]["changed"])

    def test_another_size_replaces_nothing_and_names_the_node(self):
        self.world.file.write_text(self.text.replace(*OTHER_SIZE))

        plan = self.world.plan()

        [change] = plan["nodes"]
        self.assertEqual(("outdated", "general-1"), (change["change"], change["node"]))
        self.assertEqual(["size m6i.2xlarge, wanted m6i.4xlarge"], change["what"])
        self.assertEqual(OF_OTHER_AGENTS, verdicts(plan))

    def test_another_release_touches_no_member_and_names_each(self):
        self.world.file.write_text(self.text.replace("v1.35.4+rke2r1", "v1.34.4+rke2r1"))

        plan = self.world.plan()
        ended = self.world.up()

        self.assertEqual({}, verdicts(plan))
        what = ["RKE2 v1.35.4+rke2r1, wanted v1.34.4+rke2r1"]
        outdated = {change["node"]: change["what"] for change in plan["nodes"]}
        self.assertEqual({"general-1": what, "server-1": what}, outdated)
        self.assertEqual(ended.code, 0, ended.said)
        self.assertIn("`upgrade` brings them to another RKE2 release", ended.said)

    def test_what_is_for_the_life_of_an_environment_is_refused_before_anything_runs(self):
        for old, new, key in (
            ("cidr: 10.40.0.0/16", "cidr: 10.41.0.0/16", "network.cidr"),
            ("zones: 1", "zones: 2", "network.zones"),
            ("kind: nlb", "kind: none", "load_balancer.kind"),
            ("rke2:\n", "rke2:\n  cni: cilium\n", "rke2.cni"),
        ):
            with self.subTest(key):
                self.world.file.write_text(self.text.replace(old, new))
                before = len(self.world.journal())

                planned, ended = self.world.run("plan", NAME), self.world.up()

                for each in (planned, ended):
                    self.assertEqual(9, each.code, each.said)
                    self.assertEqual(f"`{key}` is for the life of an environment", each.line("error"))
                    self.assertIn(f"set `{key}` back to", each.line("hint"))
                self.assertEqual(before, len(self.world.journal()))

    def test_a_role_names_its_files_and_the_stages_that_play_it(self):
        self.touched("ansible/roles/rke2_agent/tasks/main.yml", "# a remark\n")

        plan = self.world.plan()

        self.assertEqual({"agents": "run", "health": "follow"}, verdicts(plan))
        self.assertIn("rke2_agent", plan["stages"]["agents"]["reason"])

    def test_a_tofu_module_runs_its_stage_and_what_needs_it_only_if_it_comes_out_otherwise(self):
        self.touched("tofu/modules/aws/nlb/main.tf", "# a remark\n")

        plan = self.world.plan()

        after = {stage: "follow" for stage in ("servers", "agents", "health")}
        self.assertEqual({"load-balancer": "run"} | after, verdicts(plan))
        self.assertIn("nlb", plan["stages"]["load-balancer"]["reason"])

    def test_the_packer_template_runs_the_image_and_replaces_no_node(self):
        self.touched("packer/node/build.pkr.hcl", "# a remark\n")

        plan = self.world.plan()

        self.assertEqual({"node-image": "run"} | BEHIND_IMAGES, verdicts(plan))
        self.assertIn("packer/node", plan["stages"]["node-image"]["reason"])
        self.assertEqual([], [change for change in plan["nodes"] if change["change"] == "add"])

    def test_an_image_that_is_older_than_it_may_be_is_made_anew_and_replaces_no_node(self):
        self.world.file.write_text(self.text.replace("nodes:\n", "image:\n  max_age: 1s\nnodes:\n", 1))

        plan = self.world.plan()

        self.assertEqual({"base-image": "run", "node-image": "run"} | BEHIND_IMAGES, verdicts(plan))
        for image in ("base-image", "node-image"):
            self.assertRegex(plan["stages"][image]["reason"], r"^older than 1s: built 20\d\d-")
        self.assertEqual([], plan["nodes"])


class Carried(unittest.TestCase):
    """A change is carried out: what it is about is made, and nothing else is touched. Each from the environment as made."""

    def setUp(self):
        self.world: World = world_that_is_up()
        self.file = self.world.file.read_text()
        self.machines = self.world.machines_by_name()
        self.services = {node: self.service(node) for node in self.machines}
        self.told = len(self.world.journal())

    def service(self, node: str) -> str:
        """When RKE2 was last started there: another moment when somebody restarted it."""
        unit = "rke2-server" if node.startswith("server") else "rke2-agent"
        words = ("systemctl", "show", "--property=ExecMainPID,ActiveEnterTimestamp", unit)
        return lab("machine", "exec", self.machines[node], *words)

    def steps(self) -> list[str]:
        """The steps that were begun since, in order."""
        new = [entry for entry in self.world.journal(self.told) if entry["kind"] == "intent" and entry.get("step")]
        return [f"{entry['stage']}/{entry['step']}" for entry in new]

    def untouched(self) -> None:
        """The machines that were there are the same ones, and so are their services."""
        now = self.world.machines_by_name()
        self.assertEqual(self.machines, {node: now.get(node) for node in self.machines})
        self.assertEqual(self.services, {node: self.service(node) for node in self.machines})

    def test_one_more_agent_joins_and_a_second_up_meanwhile_is_told_who_is_at_it(self):
        self.world.file.write_text(self.file.replace(*MORE_AGENTS))
        running = self.world.start("up", NAME, "--yes")
        self.world.wait_for_journal("nodes", self.told, running)

        second = self.world.up()
        first = self.world.ended(running)

        self.assertEqual(first.code, 0, first.said)
        self.assertEqual(second.code, 8, second.said)
        self.assertRegex(second.line("error"), rf"^`{NAME}` is held by ")
        self.assertRegex(second.line("cause"), rf"^run \d+ \(`up {NAME}`\) since .*, process \d+$")
        self.assertEqual(["access/general-2", "agents/general-2"], self.steps())
        self.assertEqual({"general-2"}, self.world.machines_by_name().keys() - self.machines.keys())
        self.untouched()
        self.assertIn("3 nodes ready", self.world.up().out)

    def test_a_new_image_and_another_size_replace_nothing_and_the_plan_says_what_is_outdated(self):
        self.world.file.write_text(self.file.replace(*OTHER_SIZE))
        template = self.world.assets / "packer/node/build.pkr.hcl"
        template.write_text(template.read_text() + "# a remark\n")

        ended = self.world.up()

        self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(["node-image/build", "node-image/check"], self.steps())
        self.assertEqual(self.machines, self.world.machines_by_name())
        self.untouched()
        plan = self.world.plan()
        self.assertEqual({}, verdicts(plan))
        self.assertEqual({"general-1": "outdated", "server-1": "outdated"}, {one["node"]: one["change"] for one in plan["nodes"]})
        what = {one["node"]: one["what"] for one in plan["nodes"]}
        self.assertRegex(what["server-1"][0], r"^image ami-\w+, newest ami-\w+$")
        self.assertEqual(["size m6i.2xlarge, wanted m6i.4xlarge", what["server-1"][0]], what["general-1"])
        again = self.world.up()
        self.assertIn(f"{NAME} is up and as described", again.out)
        self.assertIn("keeps  general-1", again.err)
