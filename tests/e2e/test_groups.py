"""Each rule of the security groups is there for something: without it a connection that docs/network.md names fails."""

import json
import unittest

from world import NAME, inside, lab, world_that_is_up


class Walk(unittest.TestCase):
    """Takes rules away one after the other, on an environment that is up."""

    def each_rule_counts(self, cni: str, only: str = ".*") -> set[str]:
        """Tries every rule whose name matches `only`; returns the names."""
        tried = json.loads(inside("groups", "try", NAME, cni, only))
        for one in tried:
            with self.subTest(rule=one["rule"]):
                self.assertIsNotNone(one["check"], "nobody checks this rule: tests/e2e/checks.py has no line for it")
                self.assertEqual(
                    {"before": True, "without": False, "after": True},
                    {when: one[when] for when in ("before", "without", "after")},
                    one["check"],
                )
        return {one["rule"] for one in tried}


class AsItIs(Walk):
    """The environment as `up` made it."""

    @classmethod
    def setUpClass(cls):
        cls.world = world_that_is_up()

    def test_each_rule_taken_away_breaks_what_it_is_for(self):
        tried = self.each_rule_counts("canal")

        # What was read is the real thing: some that must be there, and both directions of each.
        self.assertLessEqual({"in-etcd", "in-kubelet", "in-vxlan", "in-ssh-192.0.2.0/24", "out-out-https"}, tried)
        inward = {rule.removeprefix("in-") for rule in tried if rule.startswith("in-") and "-" not in rule[3:]}
        self.assertLessEqual(inward, {rule.removeprefix("out-") for rule in tried})

    def test_without_the_operators_way_to_the_api_the_plan_says_that_health_is_not_as_it_was(self):
        revoked = inside("groups", "revoke", NAME, "nlb-in-api-192.0.2.0/24")
        self.addCleanup(inside, "groups", "authorize", revoked)

        plan = self.world.plan()

        not_reused = {name: stage["verdict"] for name, stage in plan["stages"].items() if stage["verdict"] != "reuse"}
        self.assertEqual({"health": "run"}, not_reused)
        self.assertIn("6443", plan["stages"]["health"]["reason"])


class OtherPods(Walk):
    """Other networks of the pods, whose rules OpenTofu puts in the place of those that are there."""

    def with_pods(self, cni: str) -> set[str]:
        world = world_that_is_up()
        apply(world, "nodes", cni=cni)
        return self.each_rule_counts(cni, r"(in|out)-(vxlan|cni-health|bgp|typha|wireguard|ping)")

    def test_calico(self):
        self.assertEqual(8, len(self.with_pods("calico")))

    def test_cilium(self):
        self.assertEqual(8, len(self.with_pods("cilium")))

    def test_flannel(self):
        self.assertEqual({"in-vxlan", "out-vxlan"}, self.with_pods("flannel"))


class WithoutLoadBalancer(Walk):
    """One server that is its own fixed address, and a jump machine."""

    def test_each_rule_of_the_jump_machine_and_of_the_operator_counts(self):
        world = world_that_is_up()
        network = json.loads((world.state / "tofu/network/terraform.tfstate").read_text())["outputs"]
        nodes = json.loads((world.state / "tofu/nodes/terraform.tfvars.json").read_text())
        operator = ["192.0.2.0/24"]
        jump = {
            "image_id": nodes["nodes"]["server-1"]["image_id"],
            "subnet_id": network["public_subnet_ids"]["value"][0],
            "ssh_cidrs": operator,
        }
        apply(world, "nodes", load_balancer={}, api_cidrs=operator, ssh_cidrs=[], jump=jump)

        tried = self.each_rule_counts("canal", r"(in|out)-(jump|api).*")

        self.assertEqual(
            {"in-jump-ssh", "out-jump-ssh", "in-jump-api", "out-jump-api", "in-jump-192.0.2.0/24", "in-api-192.0.2.0/24"},
            tried - {"in-api", "out-api"},
        )


def apply(world, stage: str, **values) -> None:
    """Applies the root that the program wrote, as a person would, with other values."""
    root = world.state / "tofu" / stage
    other = world.dir / "other.tfvars.json"
    other.write_text(json.dumps(values))
    words = ("apply", "-auto-approve", "-input=false", "-no-color", f"-var-file={other}")
    lab("exec", "--", "tofu", f"-chdir={root}", *words)


if __name__ == "__main__":
    unittest.main()
