"""Security groups become rules: texts, without a kernel."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "machines"))

from labmachine.rules import group_chains, peers, ports, ruleset  # noqa: E402

EVERYWHERE = {"cidrs": ["0.0.0.0/0"]}


def machine(name: str, ip: str, groups: list[str]) -> dict:
    return {"id": name, "ip": ip, "public_ip": None, "vpc": "vpc-1", "groups": groups}


class Rules(unittest.TestCase):
    def test_protocols_and_ports(self) -> None:
        cases = {
            ("-1", -1, -1): "",
            ("tcp", 22, 22): "tcp dport 22 ",
            ("6", 22, 23): "tcp dport 22-23 ",
            ("tcp", 0, 65535): "ip protocol tcp ",
            ("udp", 8472, 8472): "udp dport 8472 ",
            ("icmp", -1, -1): "ip protocol icmp ",
            ("1", 8, 0): "ip protocol icmp ",
            ("50", -1, -1): "ip protocol 50 ",
        }
        for (protocol, first, last), expected in cases.items():
            self.assertEqual(ports({"proto": protocol, "from": first, "to": last}), expected)

    def test_ranges_are_merged_and_everybody_needs_no_match(self) -> None:
        overlapping = {"cidrs": ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.10/32"]}

        self.assertEqual(list(peers(overlapping, "saddr")), ["ip saddr { 10.0.0.0/8, 192.0.2.10/32 } "])
        self.assertEqual(list(peers(EVERYWHERE, "saddr")), [""])

    def test_a_rule_for_ipv6_alone_lets_no_ipv4_in(self) -> None:
        self.assertEqual(list(peers({"cidrs": ["::/0"]}, "saddr")), [])

    def test_an_egress_rule_hands_over_to_the_receivers_rules(self) -> None:
        rule = {"proto": "tcp", "from": 443, "to": 443, "cidrs": [], "groups": ["sg-2"]}

        self.assertIn(
            "    ip daddr @members_sg_2 tcp dport 443 goto to_receiver",
            group_chains("sg-1", {"egress": [rule]}),
        )

    def test_a_group_that_only_a_rule_names_is_an_empty_group(self) -> None:
        rule = {"proto": "-1", "from": -1, "to": -1, "cidrs": [], "groups": ["sg-gone"]}
        given = {"machines": [machine("i-1", "10.0.0.4", ["sg-1"])], "groups": {"sg-1": {"ingress": [rule]}}}

        self.assertIn("  set members_sg_gone { type ipv4_addr; }", ruleset(given))

    def test_a_machine_with_two_groups_has_the_rules_of_both(self) -> None:
        text = ruleset({"machines": [machine("i-1", "10.0.0.4", ["sg-1", "sg-2"])]})

        self.assertIn("chain in_i_1 {\n    jump ingress_sg_1\n    jump ingress_sg_2\n", text)

    def test_an_empty_network_denies(self) -> None:
        text = ruleset({})

        self.assertEqual(text.count("policy drop"), 3)
        self.assertNotIn("vmap", text)


if __name__ == "__main__":
    unittest.main()
