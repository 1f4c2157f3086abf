"""Joins in three servers and two agents: what is on the nodes, what is half joined and mended, what is refused and why.

One environment, brought up once; each test puts back what it changed. The lab's machines share one clock, so that a
skewed clock is played by another `date`.
"""

import json
import shutil
import unittest
from functools import partial

from five import AUDIT, CA, DATA, DIR, HALT, KILLALL, LOSE_DATA, PASSWORD, POD_SECURITY, Five, asking, joined, within
from world import NAME, inside, lab

# As a clock that is an hour ahead shows itself.
SKEWED = """mv /usr/bin/date /usr/bin/date.kept
cat >/usr/bin/date <<'END'\n#!/bin/sh
exec /usr/bin/date.kept -d '1 hour' "$@"
END
chmod 755 /usr/bin/date
"""
MENDED_CLOCK = "mv /usr/bin/date.kept /usr/bin/date"
TERMINATE = "import boto3, sys; boto3.client('ec2').terminate_instances(InstanceIds=sys.argv[1:])"


class Joins(Five):
    @classmethod
    def setUpClass(cls):
        cls.world = joined()
        for fact in cls.world.journal():
            if str(fact.get("name", "")).startswith("start/"):
                print(f"  {fact['name'].removeprefix('start/'):10} {fact['value']}", flush=True)

    @within(3)
    def test_a_configuration_is_on_every_node_and_what_servers_share_is_the_same_text(self):
        servers = [self.on(f"server-{number}", f"cat {DIR}/config.yaml.d/*") for number in (1, 2, 3)]
        agents = [self.on(f"general-{number}", f"ls {DIR}/config.yaml.d") for number in (1, 2)]

        self.assertEqual(1, len(set(servers)), servers)
        self.assertIn("\netcd-snapshot-retention: 3\n", servers[0])
        self.assertEqual(["50-sre-node.yaml\n70-sre-more.yaml\n"] * 2, agents)
        self.assertIn("--max-pods=120", self.on("general-1", "ps -C kubelet -o args="))
        self.assertIn("api.joins.example", self.on("server-2", f"cat {DIR}/config.yaml"))
        self.assertEqual("600\n", self.on("general-1", f"stat -c %a {DIR}/token"))

    @within(3)
    def test_servers_have_audit_policy_and_pod_security_and_joiners_a_token_that_names_the_ca(self):
        for number in (1, 2, 3):
            on = partial(self.on, f"server-{number}")
            self.assertIn(f'audit-policy-file: "{DIR}/sre-audit-policy.yaml"', on(f"cat {DIR}/config.yaml.d/*"))
            self.assertEqual(AUDIT, on(f"cat {DIR}/sre-audit-policy.yaml"))
            self.assertEqual(POD_SECURITY, on(f"cat {DIR}/sre-pod-security.yaml"))
        for node in ("server-2", "server-3", "general-1", "general-2"):
            self.assertRegex(self.on(node, f"cat {DIR}/token"), r"^K10[0-9a-f]{64}::(server|node):")
        self.assertEqual("", self.on("general-1", f"ls {DIR} | grep -e audit -e pod-security || test $? = 1"))

    @within(6)
    def test_labels_and_taints_of_a_pool_follow_the_file_and_leave_what_others_gave(self):
        text = self.world.file.read_text()
        self.addCleanup(self.goes_on)
        self.addCleanup(self.world.file.write_text, text)
        self.kubectl("label", "node", "general-1", "person=kept")
        marks = "labels: {tier: other, new: label}\n      taints: [dedicated=batch:NoSchedule]"
        self.world.file.write_text(text.replace("general:\n", f"general:\n      {marks}\n"))

        plan = self.world.plan()
        self.up()
        given = self.marks("general-1")
        self.world.file.write_text(text)
        self.up()

        restarts = {one["node"]: one["what"] for one in plan["nodes"] if one["change"] == "restart"}
        self.assertEqual({f"general-{number}": ["labels and taints"] for number in (1, 2)}, restarts)
        self.assertEqual(({"tier": "other", "new": "label", "person": "kept"}, ["dedicated=batch:NoSchedule"]), given)
        self.assertEqual(({"person": "kept"}, []), self.marks("general-1"))

    def marks(self, node: str) -> tuple[dict[str, str], list[str]]:
        """The labels that are not Kubernetes's own, and the taints."""
        told = json.loads(self.kubectl("get", "node", node, "-o", "json"))
        labels = {key: value for key, value in told["metadata"]["labels"].items() if key in ("tier", "new", "person")}
        taints = told["spec"].get("taints", [])
        return labels, [f"{one['key']}={one.get('value', '')}:{one['effect']}" for one in taints]

    @within(3)
    def test_a_registry_is_on_every_node_with_its_password_for_root_alone_and_nowhere_else(self):
        for node in ("server-1", "server-2", "server-3", "general-1", "general-2"):
            told = json.loads(self.on(node, f"tail -n +2 {DIR}/registries.yaml"))
            self.assertEqual({"endpoint": ["https://registry.joins.example:5000"]}, told["mirrors"]["quay.io"])
            access = told["configs"]["registry.joins.example:5000"]
            self.assertEqual({"username": "puller", "password": PASSWORD}, access["auth"])
            self.assertEqual(CA, self.on(node, f"cat {access['tls']['ca_file']}"))
            self.assertEqual("root 600\n", self.on(node, f"stat -c '%U %a' {DIR}/registries.yaml"))
            holders = self.on(node, f"grep -rlF {PASSWORD} /etc /home /root /tmp /var/tmp /run /var/log || test $? = 1")
            self.assertEqual([f"{DIR}/registries.yaml"], holders.split())
        here = [path for path in self.world.workspace.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
        self.assertEqual([self.world.workspace / "registry-password"], here)

    @within(10)
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

    @within(10)
    def test_a_server_that_lost_its_data_is_mended_and_joins_again(self):
        self.on("server-3", LOSE_DATA)

        said = self.up()

        self.assertRegex(said, r"half joined, removing an etcd member `server-3-[0-9a-f]{8}` without its machine")
        self.goes_on()

    @within(10)
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

    @within(10)
    def test_the_data_of_a_member_that_was_removed_is_moved_aside(self):
        [member] = [one for one in self.etcd("list", {})["members"] if one["name"].startswith("server-3-")]
        self.on("server-3", HALT)
        self.etcd("remove", {"ID": member["ID"]})

        said = self.up()

        self.assertIn(f"half joined, removing the data of etcd member `{member['name']}`, which was removed", said)
        self.assertIn("etcd-left-", self.on("server-3", "ls /var/lib/rancher/rke2/server/db"))
        self.goes_on()

    @within(8)
    def test_an_agent_that_the_cluster_remembers_as_another_machine_is_let_in(self):
        self.on("general-2", f"systemctl stop rke2-agent; {KILLALL} && rm /etc/rancher/node/password")

        said = self.up()

        self.assertIn("the Node of an earlier machine, the node password of an earlier machine", said)
        self.goes_on()

    @within(8)
    def test_an_agent_with_a_password_of_its_own_is_told_by_its_journal_and_keeps_nobody_back(self):
        kept = self.on("general-2", "cat /etc/rancher/node/password")
        self.on("general-2", "systemctl stop rke2-agent; echo stale >/etc/rancher/node/password")

        ended = self.run_up()

        self.assertEqual(ended.code, 7, ended.said)
        self.assertIn("Node password rejected", ended.line("cause"))
        self.assertIn("the cluster remembers another machine under that name", ended.said)
        self.assertIn("general-2.node-password.rke2", ended.line("hint").replace("<node>", "general-2"))
        self.on("general-2", f"echo {kept.strip()} >/etc/rancher/node/password")
        self.goes_on()

    @within(8)
    def test_an_agent_with_a_wrong_token_is_told_by_its_journal(self):
        wrong = f"sed 's/::node:.*/::node:wrong/' {DIR}/token >{DIR}/token.new; cat {DIR}/token.new >{DIR}/token"
        drop = "/etc/systemd/system/rke2-agent.service.d/wrong.conf"
        self.on("general-1", f"printf '[Service]\\nExecStartPre=/bin/sh -c \"{wrong}\"\\n' >{drop}; systemctl daemon-reload")
        # With its certificates it would not need the token.
        self.on("general-1", "systemctl stop rke2-agent; cd /var/lib/rancher/rke2/agent && rm -f *.crt *.key *.kubeconfig")

        ended = self.run_up()

        self.on("general-1", f"rm {drop}; systemctl daemon-reload; systemctl stop rke2-agent")
        self.assertEqual(ended.code, 7, ended.said)
        self.assertIn("not authorized", ended.line("cause"))
        self.assertIn("the servers do not accept its token", ended.said)
        self.goes_on()

    @within(8)
    def test_a_wrong_clock_is_named_before_anything_is_started(self):
        self.on("server-3", f"systemctl stop rke2-server\n{SKEWED}")
        before = len(self.world.journal())

        ended = self.refused()

        self.on("server-3", MENDED_CLOCK)
        self.assertEqual("servers: the clock of `server-3` is wrong", ended.line("error"))
        self.assertRegex(ended.line("cause"), r"`server-3` is 3[56]\d\d s ahead of the other nodes")
        self.assertIn("chronyc", ended.line("hint"))
        self.assertEqual([], self.begun(before))
        self.goes_on()

    @within(8)
    def test_a_full_disk_of_a_joining_server_is_named(self):
        self.on("server-3", LOSE_DATA)
        machine = self.id("server-3")
        lab("fault", "fill", machine, f"{DATA}/server")

        ended = self.refused()

        lab("fault", "unfill", machine, f"{DATA}/server")
        self.assertIn("no space left on device", ended.line("cause"))
        self.assertIn("its disk is full", ended.said)
        self.goes_on()

    @within(12)
    def test_an_image_that_a_node_lacks_is_named(self):
        images = f"{DATA}/agent/images"
        core = self.on("server-3", f"ls {images} | grep core").strip()
        canal = self.on("server-3", f"ls {images} | grep canal").strip()
        self.on("server-3", f"{LOSE_DATA} && rm -rf {DATA}/data {DATA}/bin; mv {images}/{core} /root/; cp {images}/{canal} {images}/{core}")

        other = self.refused()

        self.on("server-3", f"rm {images}/{core}")
        missing = self.refused(5)

        self.on("server-3", f"mv /root/{core} {images}/")
        self.assertIn("failed to get runtime image", other.line("cause"))
        self.assertIn("the image archive of its version is missing or damaged", other.said)
        self.assertIn(f"lacks archives ['{core}']", missing.line("cause"))
        self.goes_on()

    @within(6)
    def test_a_way_that_is_closed_is_named_before_anything_is_started(self):
        [rule] = [line for line in inside("groups", "revoke", NAME, "in-supervisor").splitlines() if line]
        self.addCleanup(self.goes_on)
        self.addCleanup(inside, "groups", "authorize", rule)
        self.on("server-3", "systemctl stop rke2-server")
        before = len(self.world.journal())

        ended = self.run_up()

        self.assertEqual(ended.code, 7, ended.said)
        self.assertRegex(ended.line("error"), r"^servers: \d+ ways that a join needs are closed")
        self.assertRegex(ended.line("cause"), r"server-\d → server-\d [\d.]+:9345 \(registration\): no answer within 3 s")
        self.assertEqual([], self.begun(before))

    @within(8)
    def test_a_server_that_would_differ_from_the_others_is_not_started(self):
        person = f"{DIR}/config.yaml.d/99-person.yaml"
        self.on("server-1", f"echo 'cluster-domain: other.local' >{person}")
        self.addCleanup(self.goes_on)
        self.addCleanup(self.on, "server-1", f"rm {person}")
        self.on("server-3", "systemctl stop rke2-server")
        before = len(self.world.journal())

        ended = self.run_up()

        self.assertEqual(ended.code, 7, ended.said)
        told = "`cluster-domain`: `server-3` would get cluster.local, `server-1` has other.local"
        self.assertIn(told, ended.line("cause"))
        self.assertEqual([], self.begun(before))

    @within(3)
    def test_a_list_of_members_proves_a_quorum_behind_the_member_that_tells_it(self):
        said = {}
        try:
            for stopped, node in enumerate(("server-2", "server-3"), 1):
                self.on(node, "pkill -STOP -x etcd")
                for kind in (True, False):
                    asked = f"{asking('list', {'linearizable': kind})} 2>/dev/null | grep -o '\"name\"' | wc -l"
                    said[stopped, kind] = int(self.on("server-1", asked))
        finally:
            for node in ("server-2", "server-3"):
                self.on(node, "pkill -CONT -x etcd")

        # With one of three stopped there is a quorum, with two there is none: a list from memory is told all the same.
        self.assertEqual({(1, True): 3, (1, False): 3, (2, True): 0, (2, False): 3}, said)
        self.goes_on()

    @within(5)
    def test_an_inventory_that_was_reordered_by_hand_changes_nobody(self):
        inventory = self.world.workspace / f"inventories/{NAME}/nodes.json"
        written = inventory.read_text()
        self.assertLess(written.index("server-1"), written.index("server-3"))
        swapped = written.replace("server-1", "server-X").replace("server-3", "server-1").replace("server-X", "server-3")
        inventory.write_text(swapped)
        started = [self.on(f"server-{number}", "systemctl show rke2-server --property=MainPID") for number in (1, 2, 3)]

        self.goes_on()

        self.assertEqual(written, inventory.read_text())
        again = [self.on(f"server-{number}", "systemctl show rke2-server --property=MainPID") for number in (1, 2, 3)]
        self.assertEqual(started, again)

    @within(3)
    def test_a_lost_state_is_named_and_nothing_is_made_beside_the_cluster(self):
        identity = json.loads((self.world.state / "identity.json").read_text())["id"]
        machines, aside = self.world.machines_by_name(), self.world.dir / "aside"
        shutil.move(self.world.state, aside)

        ended = self.refused(9)
        planned = self.world.run("plan", NAME, limit=self.left())

        self.assertFalse(self.world.state.joinpath("identity.json").exists())
        shutil.rmtree(self.world.state, ignore_errors=True)
        shutil.move(aside, self.world.state)
        self.assertEqual(f"the state of `{NAME}` is not here, and nodes of that name are there", ended.line("error"))
        self.assertIn(identity, ended.line("cause"))
        self.assertEqual((9, machines), (planned.code, self.world.machines_by_name()))
        self.assertIn(f"{NAME} is up and as described", self.up())

    @within(12)
    def test_a_server_of_another_cluster_is_named_and_nobody_joins_through_it(self):
        away = f"mkdir -p /root/away && mv {DIR}/config.yaml {DIR}/config.yaml.d /root/away/"
        back = f"mv /root/away/config.yaml /root/away/config.yaml.d {DIR}/"
        self.on("server-1", f"{HALT} && rm -rf {DATA}/server; {away}; systemctl start rke2-server; {back}")
        # It is no voter any more: that of server-3 goes on.
        self.on("server-3", "systemctl stop rke2-server")
        before = len(self.world.journal())

        planned = self.world.run("plan", NAME, limit=self.left())
        ended = self.refused(6)

        for said in (planned, ended):
            told = "`server-1` belongs to another cluster: it holds the datastore of a cluster with the CA"
            self.assertIn(told, said.line("cause"), said.said)
            self.assertIn(f"remove {DATA}/server and /etc/rancher/node there", said.line("cause"))
        self.assertEqual([], self.begun(before))
        self.on("server-1", f"{HALT} && rm -rf {DATA}/server /etc/rancher/node")
        # The voter that is gone is removed only while a majority serves.
        self.on("server-3", "timeout 300 systemctl start rke2-server")
        self.goes_on()

    @within(12)
    def test_a_first_server_that_was_removed_and_is_switched_on_again_joins_anew(self):
        machine, member = self.id("server-1"), self.member("server-1")
        lab("machine", "stop", machine)
        kubectl = f"{DATA}/bin/kubectl --kubeconfig {DIR}/rke2.yaml"
        self.on("server-2", f"{kubectl} delete node server-1 --wait=false")
        names = f"{asking('list', {'linearizable': True})} | grep -c {member['name']}"
        self.on("server-2", f"timeout 120 sh -c 'while [ \"$({names.replace(chr(39), chr(34))})\" != 0 ]; do sleep 1; done'")
        lab("machine", "start", machine)

        said = self.up()

        self.assertIn(f"half joined, removing the data of etcd member `{member['name']}`, which was removed", said)
        self.goes_on()

    @within(15)
    def test_a_first_server_whose_machine_ended_is_made_again_and_joins(self):
        lost = self.id("server-1")
        lab("exec", "--", "python3", "-c", TERMINATE, lost)

        self.goes_on()

        self.assertNotEqual(lost, self.world.machine("server-1"))
        founders = [entry["value"] for entry in self.world.journal() if entry.get("name") == "servers/founder"]
        self.assertEqual([lost], [founder["machine"] for founder in founders])

    @within(25)
    def test_each_server_loses_its_power_while_it_joins(self):
        for number in (3, 2, 1):
            with self.subTest(number=number):
                self.on(f"server-{number}", LOSE_DATA)
                self.struck(f"server-{number}")
                self.goes_on()


if __name__ == "__main__":
    unittest.main()
