"""Joins in three servers and two agents: what is on the nodes, what is half joined and mended, what is refused and why.

One environment, brought up once; each test puts back what it changed. The lab's machines share one clock, so that a
skewed clock is shown on the scripted world alone.
"""

import json
import re
import time
import unittest

from world import LIMIT, NAME, SCRATCH, Running, World, inside, lab

DIR = "/etc/rancher/rke2"
CONFIG = """  config:
    tls_san: [api.joins.example]
    snapshots: {retention: 3}
    arguments:
      kubelet: [max-pods=120]
    more: {debug: "false"}
"""
LOSE_DATA = "systemctl stop rke2-server; rke2-killall.sh >/dev/null 2>&1; rm -rf /var/lib/rancher/rke2/server/db"
MEMBER = re.compile(r"server-3-[0-9a-f]{8}")


class Joins(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World("joins")
        if (SCRATCH / "kept/joins").exists():
            cls.world.back("joins")
            cls.world.wait_until_as_described()
        else:
            text = cls.world.file.read_text().replace("servers:\n    count: 1", "servers:\n    count: 3")
            text = text.replace("general:\n      count: 1", "general:\n      count: 2")
            cls.world.file.write_text(text.replace("rke2:\n", f"rke2:\n{CONFIG}"))
            ended = cls.world.up()
            if ended.code != 0:
                raise AssertionError(ended.said)
            cls.world.keep("joins")
        for fact in cls.world.journal():
            if str(fact.get("name", "")).startswith("start/"):
                print(f"  {fact['name'].removeprefix('start/'):10} {fact['value']}", flush=True)

    def on(self, node: str, command: str) -> str:
        return lab("machine", "exec", self.world.machine(node), "sh", "-c", command)

    def up(self) -> str:
        ended = self.world.up()
        self.assertEqual(ended.code, 0, ended.said)
        return ended.said

    def goes_on(self) -> None:
        self.up()
        self.assertIn(f"{NAME} is up and as described", self.world.up().out)
        self.assertEqual(1, len(self.world.authorities()))

    def test_a_configuration_is_on_every_node_and_what_servers_share_is_the_same_text(self):
        servers = [self.on(f"server-{number}", f"cat {DIR}/config.yaml.d/*") for number in (1, 2, 3)]
        agents = [self.on(f"general-{number}", f"ls {DIR}/config.yaml.d") for number in (1, 2)]

        self.assertEqual(1, len(set(servers)), servers)
        self.assertIn('\netcd-snapshot-retention: 3\n', servers[0])
        self.assertEqual(["50-sre-node.yaml\n70-sre-more.yaml\n"] * 2, agents)
        self.assertIn("--max-pods=120", self.on("general-1", "ps -C kubelet -o args="))
        self.assertIn("api.joins.example", self.on("server-2", f"cat {DIR}/config.yaml"))
        self.assertEqual("600\n", self.on("general-1", f"stat -c %a {DIR}/token"))

    def test_a_changed_fragment_names_who_restarts_and_each_node_gets_it(self):
        text = self.world.file.read_text()
        self.addCleanup(self.goes_on)
        self.addCleanup(self.world.file.write_text, text)
        self.world.file.write_text(text.replace("retention: 3", "retention: 4"))

        plan = self.world.plan()
        self.up()

        restarts = {one["node"]: one["what"] for one in plan["nodes"] if one["change"] == "restart"}
        self.assertEqual({f"server-{number}": ["40-sre-snapshots.yaml"] for number in (1, 2, 3)}, restarts)
        for number in (1, 2, 3):
            self.assertIn("retention: 4", self.on(f"server-{number}", f"cat {DIR}/config.yaml.d/40-sre-snapshots.yaml"))

    def test_a_server_that_lost_its_data_is_mended_and_joins_again(self):
        self.on("server-3", LOSE_DATA)

        said = self.up()

        self.assertRegex(said, r"half joined, removing an etcd member `server-3-[0-9a-f]{8}` without its machine")
        self.goes_on()

    def test_a_learner_that_was_left_behind_is_removed(self):
        self.on("server-3", LOSE_DATA)
        [member] = [one for one in self.etcd("list", {})["members"] if one["name"].startswith("server-3-")]
        self.etcd("remove", {"ID": member["ID"]})
        self.etcd("add", {"peerURLs": member["peerURLs"], "isLearner": True})

        planned = self.world.plan()["stages"]["servers"]
        said = self.up()

        self.assertIn("server-3 is half joined", planned["reason"])
        self.assertIn("half joined, removing an etcd learner that never started without its machine", said)
        self.goes_on()

    def test_the_data_of_a_member_that_was_removed_is_moved_aside(self):
        [member] = [one for one in self.etcd("list", {})["members"] if one["name"].startswith("server-3-")]
        self.on("server-3", "systemctl stop rke2-server; rke2-killall.sh >/dev/null 2>&1; true")
        self.etcd("remove", {"ID": member["ID"]})

        said = self.up()

        self.assertIn(f"half joined, removing the data of etcd member `{member['name']}`, which was removed", said)
        self.assertIn("etcd-left-", self.on("server-3", "ls /var/lib/rancher/rke2/server/db"))
        self.goes_on()

    def test_an_agent_that_the_cluster_remembers_as_another_machine_is_let_in(self):
        self.on("general-2", "systemctl stop rke2-agent; rke2-killall.sh >/dev/null 2>&1; rm /etc/rancher/node/password")

        said = self.up()

        self.assertIn("the Node of an earlier machine, the node password of an earlier machine", said)
        self.goes_on()

    def test_an_agent_with_a_password_of_its_own_is_told_by_its_journal_and_keeps_nobody_back(self):
        kept = self.on("general-2", "cat /etc/rancher/node/password")
        self.on("general-2", "systemctl stop rke2-agent; echo stale >/etc/rancher/node/password")
        began = time.monotonic()

        ended = self.world.up()

        self.assertEqual(ended.code, 7, ended.said)
        self.assertLess(time.monotonic() - began, LIMIT / 3)
        self.assertIn("Node password rejected", ended.line("cause"))
        self.assertIn("the cluster remembers another machine under that name", ended.said)
        self.assertIn("general-2.node-password.rke2", ended.line("hint").replace("<node>", "general-2"))
        self.on("general-2", f"echo {kept.strip()} >/etc/rancher/node/password")
        self.goes_on()

    def test_an_agent_with_a_wrong_token_is_told_by_its_journal(self):
        wrong = f"sed 's/::node:.*/::node:wrong/' {DIR}/token >{DIR}/token.new; cat {DIR}/token.new >{DIR}/token"
        drop = "/etc/systemd/system/rke2-agent.service.d/wrong.conf"
        self.on("general-1", f"printf '[Service]\\nExecStartPre=/bin/sh -c \"{wrong}\"\\n' >{drop}; systemctl daemon-reload")
        # With its certificates it would not need the token.
        self.on("general-1", "systemctl stop rke2-agent; cd /var/lib/rancher/rke2/agent && rm -f *.crt *.key *.kubeconfig")
        began = time.monotonic()

        ended = self.world.up()

        self.on("general-1", f"rm {drop}; systemctl daemon-reload; systemctl stop rke2-agent")
        self.assertEqual(ended.code, 7, ended.said)
        self.assertLess(time.monotonic() - began, LIMIT / 3)
        self.assertIn("not authorized", ended.line("cause"))
        self.assertIn("the servers do not accept its token", ended.said)
        self.goes_on()

    def test_a_way_that_is_closed_is_named_before_anything_is_started(self):
        [rule] = [line for line in inside("groups", "revoke", NAME, "in-supervisor").splitlines() if line]
        self.addCleanup(self.goes_on)
        self.addCleanup(inside, "groups", "authorize", rule)
        self.on("server-3", "systemctl stop rke2-server")
        before = len(self.world.journal())

        ended = self.world.up()

        self.assertEqual(ended.code, 7, ended.said)
        self.assertRegex(ended.line("error"), r"^servers: \d+ ways that a join needs are closed")
        self.assertRegex(ended.line("cause"), r"server-\d → server-\d [\d.]+:9345 \(registration\): no answer within 3 s")
        self.assertEqual([], self.begun(before))

    def test_a_server_that_would_differ_from_the_others_is_not_started(self):
        person = f"{DIR}/config.yaml.d/99-person.yaml"
        self.on("server-1", f"echo 'cluster-domain: other.local' >{person}")
        self.addCleanup(self.goes_on)
        self.addCleanup(self.on, "server-1", f"rm {person}")
        self.on("server-3", "systemctl stop rke2-server")
        before = len(self.world.journal())

        ended = self.world.up()

        self.assertEqual(ended.code, 7, ended.said)
        told = "`cluster-domain`: `server-3` would get cluster.local, `server-1` has other.local"
        self.assertIn(told, ended.line("cause"))
        self.assertEqual([], self.begun(before))

    def test_each_server_loses_its_power_while_it_joins(self):
        for number in (3, 2, 1):
            with self.subTest(number=number):
                self.on(f"server-{number}", LOSE_DATA)
                began = time.monotonic()
                machine = self.world.machine(f"server-{number}")
                seen = len(self.world.journal())
                running: Running = self.world.start("up", NAME, "--yes")
                self.world.wait_for_journal(f"tool servers-server-{number}", seen, running)
                lab("fault", "crash", machine)
                ended = self.world.ended(running)
                self.assertNotEqual(0, ended.code, ended.said)
                lab("machine", "start", machine)
                self.goes_on()
                print(f"  server-{number}: rejoined after power loss, {time.monotonic() - began:.0f} s in all", flush=True)

    def begun(self, since: int) -> list[str]:
        """The servers on which work was begun."""
        new = self.world.journal()[since:]
        return [one["step"] for one in new if one["kind"] == "intent" and one["stage"] == "servers" and one.get("step")]

    def etcd(self, what: str, question: dict) -> dict:
        tls = "/var/lib/rancher/rke2/server/tls/etcd"
        call = (
            f"curl -sS --fail --cacert {tls}/server-ca.crt --cert {tls}/client.crt --key {tls}/client.key"
            f" --data '{json.dumps(question)}' https://127.0.0.1:2382/v3/cluster/member/{what}"
        )
        return json.loads(self.on("server-1", call))


if __name__ == "__main__":
    unittest.main()
