"""Trouble on the way: each kind ends with its exit code, cause and hint, and once it is over the next `up` goes on."""

import json
import shutil
import time
import unittest

from world import LIMIT, NAME, World, lab, releases, world_that_is_up

VERSION = "v1.35.4+rke2r1"


class Trouble(unittest.TestCase):
    """All of them in one environment that is up: what one test changes, it changes back."""

    @classmethod
    def setUpClass(cls):
        cls.world: World = world_that_is_up()
        cls.text = cls.world.file.read_text()

    def setUp(self):
        self.addCleanup(self.world.file.write_text, self.text)
        self.addCleanup(lab, "fault", "clear")

    def change(self, *changes: tuple[str, str]) -> None:
        """Edits the environment file as a person would."""
        text = self.text
        for before, after in changes:
            self.assertIn(before, text)
            text = text.replace(before, after)
        self.world.file.write_text(text)

    def ends(self, code: int) -> object:
        """Runs `up`, which ends with this code, a cause and a hint."""
        ended = self.world.up()
        self.assertEqual(ended.code, code, ended.said)
        self.assertTrue(ended.line("cause") and ended.line("hint"), ended.said)
        return ended

    def goes_on(self) -> None:
        """The next `up` ends what was begun, and the one after it finds nothing to do."""
        ended = self.world.up()
        self.assertEqual(ended.code, 0, ended.said)
        self.assertIn(f"{NAME} is up and as described", self.world.up().out)

    def test_an_api_that_throttles_to_the_end_is_told_and_touched_no_more(self):
        lab("fault", "api", "DescribeVpcs", "error=RequestLimitExceeded", "status=503", "count=1000")

        ended = self.ends(6)

        self.assertIn("throttles", ended.said)
        lab("fault", "clear")
        self.assertIn(f"{NAME} is up and as described", self.world.up().out)

    def test_a_release_with_a_wrong_checksum_is_refused_by_its_file(self):
        release = self.world.dir / "releases"
        shutil.copytree(releases() / VERSION, release / VERSION)
        sums = release / VERSION / "sha256sum-amd64.txt"
        sums.write_text("".join(f"{'0' * 64}{line[64:]}" for line in sums.read_text().splitlines(keepends=True)))
        shutil.rmtree(self.world.workspace / ".sre-provision/store/rke2")
        self.change(("rke2:\n", f"rke2:\n  release: {release}\n"))

        ended = self.ends(1)

        self.assertRegex(ended.line("error"), r"`rke2[^`]*` has a wrong checksum")
        self.world.file.write_text(self.text)
        self.goes_on()

    def test_a_full_disk_on_a_node_is_named_and_up_goes_on_once_there_is_room(self):
        machine = self.world.machine("general-1")
        for directory in ("/home", "/etc/rancher"):
            lab("fault", "fill", machine, directory)
        self.change(("size: m6i.2xlarge\n", "size: m6i.2xlarge\n      labels: {tier: general}\n"))

        ended = self.ends(5)

        self.assertIn("the disk of `general-1` is full", ended.said)
        self.assertIn("No space left on device", ended.line("cause"))
        self.assertIn("general-1", ended.line("hint"))
        for directory in ("/home", "/etc/rancher"):
            lab("fault", "unfill", machine, directory)
        self.goes_on()

    def test_a_listener_and_a_target_group_that_were_deleted_are_made_again(self):
        lab("exec", "--", "python3", "-c", LOSE)

        plan = self.world.plan()

        lost = plan["stages"]["load-balancer"]
        self.assertEqual(("run", "altered: no listener leads to `api`"), (lost["verdict"], lost["reason"]))
        self.goes_on()

    def test_an_etcd_member_of_no_server_is_named(self):
        server = self.world.machine("server-1")
        added = etcd(server, "add", {"peerURLs": ["https://10.20.255.250:2380"], "isLearner": True})["member"]["ID"]
        self.addCleanup(lambda: added in members(server) and etcd(server, "remove", {"ID": added}))

        plan = self.world.plan()
        ended = self.ends(7)

        lacking = "asked on `server-1`: etcd has a member that never started"
        self.assertEqual(f"altered: {lacking}", plan["stages"]["health"]["reason"])
        self.assertIn(lacking, ended.line("cause"))
        etcd(server, "remove", {"ID": added})
        self.goes_on()

    def test_a_machine_that_never_boots_keeps_back_nobody_else(self):
        lab("fault", "api", "machine:up", "then=freeze")
        self.change(("general:\n      count: 1", "general:\n      count: 2"))
        self.world.file.write_text(self.world.file.read_text() + "deadlines: {access: 45s}\n")
        began = time.monotonic()

        ended = self.ends(6)

        self.assertLess(time.monotonic() - began, LIMIT / 2)
        machine = self.world.machine("general-2")
        self.assertEqual(ended.line("error"), "access: 1 of 3 nodes are not reached: general-2")
        self.assertIn(f"the console of `{machine}`", ended.line("cause"))
        self.assertRegex(ended.said, r"(?m)^  ✓ health +made")  # the rest of the cluster was proven without it
        lab("fault", "thaw", machine)
        self.goes_on()
        self.assertEqual(sorted(self.world.machines()), ["general-1", "general-2", "server-1"])

    def test_a_server_that_never_becomes_ready_is_told_with_its_journal(self):
        server = self.world.machine("server-1")
        lab("machine", "exec", server, "sh", "-c", PLANTED)
        self.addCleanup(lab, "machine", "exec", server, "sh", "-c", MENDED)
        self.world.file.write_text(self.text + "deadlines: {servers: 5m}\n")
        began = time.monotonic()

        ended = self.ends(7)

        self.assertLess(time.monotonic() - began, LIMIT / 2)
        self.assertIn("`server-1`", ended.line("error"))
        self.assertRegex(ended.line("cause"), r"rke2-server is (activating|failed)")
        self.assertIn("no licence for this morning", ended.line("cause"))
        lab("machine", "exec", server, "sh", "-c", MENDED)
        self.goes_on()


def etcd(machine: str, what: str, question: dict) -> dict:
    """Asks the etcd member on a server, as RKE2's own documentation does: with its client certificate."""
    tls = "/var/lib/rancher/rke2/server/tls/etcd"
    call = (
        f"curl -sS --fail --cacert {tls}/server-ca.crt --cert {tls}/client.crt --key {tls}/client.key"
        f" --data '{json.dumps(question)}' https://127.0.0.1:2382/v3/cluster/member/{what}"
    )
    return json.loads(lab("machine", "exec", machine, "sh", "-c", call))


def members(machine: str) -> list[str]:
    return [member["ID"] for member in etcd(machine, "list", {})["members"]]


# By hand, on the platform's console.
LOSE = """
import boto3
elb = boto3.client("elbv2")
[balancer] = elb.describe_load_balancers()["LoadBalancers"]
listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
[listener] = [one for one in listeners if one["Port"] == 6443]
elb.delete_listener(ListenerArn=listener["ListenerArn"])
elb.delete_target_group(TargetGroupArn=listener["DefaultActions"][0]["TargetGroupArn"])
"""

# As a person's drop-in that was meant well: the unit starts, fails, and systemd starts it again for ever.
PLANTED = """set -e
mkdir -p /etc/systemd/system/rke2-server.service.d
printf '[Service]\nExecStartPre=/bin/sh -c "echo no licence for this morning; exit 3"\n' \
  >/etc/systemd/system/rke2-server.service.d/planted.conf
systemctl daemon-reload
systemctl restart --no-block rke2-server
"""
MENDED = "rm -f /etc/systemd/system/rke2-server.service.d/planted.conf; systemctl daemon-reload"
