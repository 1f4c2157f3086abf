"""Who reaches whom: security groups, VPCs, public and load balancer addresses, names."""

import subprocess
import time
import unittest

from harness import ANYTHING, EVERYWHERE, LAB, OPERATOR, InLab, eventually, rule

ONE, TWO, FAR = "10.20.1.11", "10.20.2.12", "10.30.1.11"
PUBLIC = "203.0.113.7"
BALANCER = "10.20.1.200"
LISTENER = """
import socket, sys
with socket.create_server((sys.argv[1], 6443)) as server:
    while True:
        connection, peer = server.accept()
        connection.sendall(peer[0].encode())
        connection.close()
"""
HEAR = "import socket, sys; print(socket.create_connection((sys.argv[1], 6443), timeout=0.6).recv(99).decode())"
# A datagram with a client's address, as a load balancer that preserves it sends one; and who hears it.
PRESERVED = """
import contextlib, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, contextlib.suppress(PermissionError):  # dropped on its way out
    one.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
    one.bind((sys.argv[1], 0))
    one.sendto(b"hello", (sys.argv[2], 9000))
"""
HEARD = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("", 9000))
    print("listening", flush=True)
    sys.stdin.read()  # until it is sent; what came waits in the socket
    one.settimeout(1)
    print(one.recvfrom(9)[1][0])
"""


class Network(InLab):
    """Machines `one` and `two` in one VPC, `far` in another."""

    @classmethod
    def prepare(cls) -> None:
        cls.lab.put(vpcs=[{"id": "vpc-a", "cidr": "10.20.0.0/16"}, {"id": "vpc-b", "cidr": "10.30.0.0/16"}])
        cls.lab.declare("one", ONE, "vpc-a", ["sg-one"], public=PUBLIC)
        cls.lab.declare("two", TWO, "vpc-a", ["sg-two"])
        cls.lab.declare("far", FAR, "vpc-b", ["sg-far"])
        for machine, ip in (("one", ONE), ("two", TWO), ("far", FAR)):
            cls.lab.boot(machine, ip)
        cls.lab.serve("two", 8000)
        cls.lab.serve("two", 8001)

    def allow(self, **groups: dict) -> None:
        self.lab.put(groups={name.replace("_", "-"): rules for name, rules in groups.items()})

    def test_nothing_is_reached_without_a_rule(self) -> None:
        self.allow()

        self.assertEqual(self.lab.reach("operator", ONE, 22), "silent")
        self.assertEqual(self.lab.reach("one", TWO, 8000), "silent")

    def test_an_ingress_rule_is_not_enough_without_an_egress_rule(self) -> None:
        self.allow(sg_one={}, sg_two={"ingress": [ANYTHING]})

        self.assertEqual(self.lab.reach("one", TWO, 8000), "silent")

    def test_an_egress_rule_is_not_enough_without_an_ingress_rule(self) -> None:
        self.allow(sg_one={"egress": [ANYTHING]}, sg_two={})

        self.assertEqual(self.lab.reach("one", TWO, 8000), "silent")

    def test_a_rule_opens_exactly_its_port(self) -> None:
        self.allow(sg_one={"egress": [ANYTHING]}, sg_two={"ingress": [rule(8000, cidrs=["10.20.0.0/16"])]})

        self.assertEqual(self.lab.reach("one", TWO, 8000), "open")
        self.assertEqual(self.lab.reach("one", TWO, 8001), "silent")

    def test_an_egress_rule_opens_exactly_its_port(self) -> None:
        self.allow(sg_one={"egress": [rule(8001, cidrs=[f"{TWO}/32"])]}, sg_two={"ingress": [ANYTHING]})

        self.assertEqual(self.lab.reach("one", TWO, 8000), "silent")
        self.assertEqual(self.lab.reach("one", TWO, 8001), "open")

    def test_a_port_range_opens_what_lies_in_it(self) -> None:
        self.allow(sg_one={"egress": [ANYTHING]}, sg_two={"ingress": [rule(8001, last=8009, cidrs=[EVERYWHERE])]})

        self.assertEqual(self.lab.reach("one", TWO, 8000), "silent")
        self.assertEqual(self.lab.reach("one", TWO, 8001), "open")
        self.assertEqual(self.lab.reach("one", TWO, 8002), "refused")

    def test_a_group_stands_for_its_members(self) -> None:
        self.allow(sg_one={"egress": [ANYTHING]}, sg_two={"ingress": [rule(8000, groups=["sg-one"])]})
        member = self.lab.reach("one", TWO, 8000)

        self.allow(sg_one={"egress": [ANYTHING]}, sg_two={"ingress": [rule(8000, groups=["sg-two"])]})
        stranger = self.lab.reach("one", TWO, 8000)

        self.assertEqual((member, stranger), ("open", "silent"))

    def test_overlapping_ranges_are_no_contradiction(self) -> None:
        self.allow(
            sg_one={"egress": [ANYTHING]},
            sg_two={"ingress": [rule(8000, cidrs=["10.20.0.0/16", "10.20.1.0/24", "fd00::/8"])]},
        )

        self.assertEqual(self.lab.reach("one", TWO, 8000), "open")

    def test_vpcs_do_not_reach_each_other_whatever_the_rules_say(self) -> None:
        everything = {"ingress": [ANYTHING], "egress": [ANYTHING]}
        self.allow(sg_one=everything, sg_two=everything, sg_far=everything)

        self.assertEqual(self.lab.reach("operator", FAR, 22), "open")
        self.assertEqual(self.lab.reach("one", TWO, 8000), "open")
        self.assertEqual(self.lab.reach("far", TWO, 8000), "silent")
        self.assertEqual(self.lab.reach("one", FAR, 22), "silent")

    def test_the_operator_is_known_by_address(self) -> None:
        self.allow(
            sg_one={"ingress": [rule(22, cidrs=[OPERATOR])]}, sg_two={"ingress": [rule(22, cidrs=["10.0.0.0/8"])]}
        )

        self.assertEqual(self.lab.reach("operator", ONE, 22), "open")
        self.assertEqual(self.lab.reach("operator", TWO, 22), "silent")

    def test_a_public_address_leads_to_its_machine(self) -> None:
        self.allow(sg_one={"ingress": [rule(22, cidrs=[OPERATOR])]})

        self.assertEqual(self.lab.reach("operator", PUBLIC, 22), "open")
        self.assertEqual(self.lab.reach("operator", "203.0.113.8", 22), "silent")

    def test_nothing_is_reached_at_a_public_address_without_a_rule(self) -> None:
        self.allow(sg_one={"ingress": [rule(22, cidrs=["10.0.0.0/8"])]})

        self.assertEqual(self.lab.reach("operator", PUBLIC, 22), "silent")

    def test_a_machine_cannot_pass_for_another(self) -> None:
        self.allow(sg_one={"egress": [ANYTHING]}, sg_two={"ingress": [rule(8000, cidrs=[EVERYWHERE])]})
        self.lab.on("one", "ip", "address", "add", "10.20.1.99/32", "dev", "eth0")
        self.addCleanup(self.lab.on, "one", "ip", "address", "delete", "10.20.1.99/32", "dev", "eth0")
        self.addCleanup(self.lab.on, "one", "ip", "route", "replace", "default", "via", "169.254.1.1")

        self.lab.on("one", "ip", "route", "replace", "default", "via", "169.254.1.1", "src", "10.20.1.99")

        self.assertEqual(self.lab.reach("one", TWO, 8000), "silent")

    def test_a_machine_reaches_neither_the_operator_nor_the_emulator(self) -> None:
        self.allow(sg_one={"egress": [ANYTHING]})

        for address, port in (("192.0.2.10", 8080), ("192.0.2.10", 4566), ("169.254.169.254", 4566)):
            self.assertEqual(self.lab.reach("one", address, port), "silent")

    def test_there_is_no_way_out(self) -> None:
        routes = self.lab.do("exec", "--", "ip", "route", "show", "default")

        self.assertEqual(routes, "")
        self.assertEqual(self.lab.reach("one", "198.51.100.1", 443), "silent")

    def test_a_load_balancer_obeys_its_groups_and_is_a_member_of_them(self) -> None:
        self.balancer(["sg-nlb"])
        listener = self.listen()
        self.addCleanup(listener.wait)
        self.addCleanup(listener.kill)

        self.allow(
            sg_one={"egress": [rule(6443, groups=["sg-nlb"])]}, sg_nlb={"ingress": [rule(6443, groups=["sg-one"])]}
        )
        allowed = eventually(lambda: self.heard("one"))
        self.allow(sg_one={"egress": [ANYTHING]}, sg_nlb={})
        denied = self.lab.reach("one", BALANCER, 6443)
        self.balancer(None)
        free = self.heard("one")

        self.assertEqual((allowed, denied, free), (ONE, "silent", ONE))
        self.assertEqual(self.heard("operator"), "192.0.2.10")
        self.assertEqual(self.lab.reach("far", BALANCER, 6443), "silent")

    def test_with_preserved_addresses_the_target_must_admit_the_client(self) -> None:
        self.balancer(["sg-nlb"])
        at_nine_thousand = {"proto": "udp", "from": 9000, "to": 9000, "cidrs": [], "groups": []}

        self.allow(sg_nlb={}, sg_two={"ingress": [at_nine_thousand | {"cidrs": [f"{ONE}/32"]}]})
        client = self.preserved(ONE, TWO)
        self.allow(sg_nlb={}, sg_two={"ingress": [at_nine_thousand | {"cidrs": [f"{BALANCER}/32"]}]})
        balancer = self.preserved(ONE, TWO)
        self.allow(sg_nlb={}, sg_two={"ingress": [ANYTHING]})
        other_vpc = self.preserved(FAR, TWO)

        self.assertEqual((client, balancer, other_vpc), (ONE, "", ""))

    def preserved(self, client: str, target: str) -> str:
        """The address that `two` hears a client under which the load balancer speaks for; empty if it hears nothing."""
        command = [str(LAB), "machine", "exec", "two", "python3", "-c", HEARD]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, env=self.lab.environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        ) as ear:
            self.assertEqual(ear.stdout.readline(), "listening\n")
            self.lab.do("exec", "--", "python3", "-c", PRESERVED, client, target)
            ear.stdin.close()
            return ear.stdout.read().strip()

    def balancer(self, groups: list[str] | None) -> None:
        self.addCleanup(self.lab.network.update, nlbs=[])
        entry = {"name": "api", "dns": "api.elb.test", "addresses": [BALANCER], "vpc": "vpc-a", "groups": groups}
        self.lab.put(nlbs=[entry])

    def listen(self) -> subprocess.Popen:
        command = [str(LAB), "exec", "--", "python3", "-c", LISTENER, BALANCER]
        return subprocess.Popen(command, env=self.lab.environment)

    def heard(self, sender: str) -> str:
        """The address from which the load balancer saw `sender` come."""
        command = ("python3", "-c", HEAR, BALANCER)
        words = ("exec", "--", *command) if sender == "operator" else ("machine", "exec", sender, *command)
        return self.lab.call(*words).stdout.strip()

    def test_names_are_known_to_machines_and_operator_and_go_when_they_go(self) -> None:
        self.lab.put(names={"api.example.test": ONE})
        known = (
            self.lab.on("two", "getent", "hosts", "api.example.test"),
            self.lab.do("exec", "--", "getent", "hosts", "api.example.test"),
        )

        self.lab.put(names={})
        gone = self.lab.call("exec", "--", "getent", "hosts", "api.example.test")

        self.assertEqual([text.split()[0] for text in known], [ONE, ONE])
        self.assertEqual(gone.returncode, 2)

    def test_the_same_network_again_changes_nothing_and_is_quick(self) -> None:
        self.allow(sg_one={"ingress": [ANYTHING]})
        before = self.lab.do("exec", "--", "nft", "list", "ruleset")

        started = time.monotonic()
        self.allow(sg_one={"ingress": [ANYTHING]})
        took = time.monotonic() - started

        self.assertEqual(self.lab.do("exec", "--", "nft", "list", "ruleset"), before)
        self.assertLess(took, 1.0)

    def test_what_is_not_a_network_is_refused_and_changes_nothing(self) -> None:
        self.allow(sg_one={"ingress": [ANYTHING]})
        before = self.lab.do("exec", "--", "nft", "list", "ruleset")

        refused = self.lab.call("machine", "network", given='{"machine": []}')

        self.assertEqual(refused.returncode, 1)
        self.assertIn("error: network: expected an object with", refused.stderr)
        self.assertEqual(self.lab.do("exec", "--", "nft", "list", "ruleset"), before)


if __name__ == "__main__":
    unittest.main()
