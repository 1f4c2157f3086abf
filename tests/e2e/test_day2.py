"""A cluster that runs: looks, snapshots, certificates, tokens, restores and an upgrade, of three servers and two agents.

One lab for all of them. Each test leaves a cluster of the same release behind, and the upgrade comes last. Every call of
the program is bounded, and how long it took is printed.
"""

import hashlib
import json
import re
import subprocess
import time
import unittest

from world import LIMIT, NAME, Blow, Ended, Running, World, lab

OLD, NEW = "v1.34.4+rke2r1", "v1.35.4+rke2r1"
SERVERS = ["server-1", "server-2", "server-3"]
KUBECTL = "/var/lib/rancher/rke2/bin/kubectl --kubeconfig /etc/rancher/rke2/rke2.yaml"
TERMINATE = "import boto3, sys; boto3.client('ec2').terminate_instances(InstanceIds=sys.argv[1:])"
LOSE_DATA = "systemctl stop rke2-server; /usr/local/bin/rke2-killall.sh >/dev/null 2>&1; rm -rf /var/lib/rancher/rke2/server/db"
# RKE2 takes a difference between disk and datastore for one only when three seconds lie between them.
LATER = 60
OTHERS = """apiVersion: v1
kind: Config
current-context: work
clusters: [{name: work, cluster: {server: 'https://work:6443', certificate-authority-data: V09SSw==}}]
users: [{name: me, user: {token: 'yes'}}]
contexts: [{name: work, context: {cluster: work, user: me, namespace: '007'}}]
"""
# Goes only when somebody takes its finalizer away, so that no drain comes to its end.
STAYS = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "stays", "finalizers": ["example.org/stays"]},
    "spec": {
        "nodeName": "general-1",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "one",
                "image": "example.org/none",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}


def agents(count: int) -> list[str]:
    return [f"general-{number + 1}" for number in range(count)]


class Cluster(unittest.TestCase):
    world: World
    agents: list[str]

    @classmethod
    def setUpClass(cls):
        cls.world = World("day2")
        there = [machine for machine in cls.world.machines() if machine.startswith("general-")]
        cls.agents = agents(max(2, len(there)))
        text = cls.world.file.read_text().replace("servers:\n    count: 1", "servers:\n    count: 3")
        text = text.replace("general:\n      count: 1", f"general:\n      count: {len(cls.agents)}")
        cls.world.file.write_text(text.replace(NEW, OLD))
        began = time.monotonic()
        ended = cls.world.up()
        if ended.code != 0:
            raise AssertionError(ended.said)
        cls.note("up", began)

    @staticmethod
    def note(what: str, began: float) -> None:
        print(f"  {what}: {time.monotonic() - began:.0f} s", flush=True)

    def on(self, node: str, command: str) -> str:
        return lab("machine", "exec", self.world.machine(node), "sh", "-c", command)

    def kubectl(self, words: str, server: str = "server-1") -> str:
        return self.on(server, f"{KUBECTL} {words}")

    def done(self, *words: str) -> Ended:
        began = time.monotonic()
        ended = self.world.run(*words)
        self.assertEqual(ended.code, 0, ended.said)
        self.note(" ".join(words), began)
        return ended

    def data(self, *words: str):
        """The last object that the program printed."""
        return json.loads(self.done(*words, "--output", "json").out.splitlines()[-1])

    def save(self, name: str) -> str:
        return self.data("snapshot", "save", NAME, "--name", name)["name"]

    def all_serve(self, version: str = OLD) -> None:
        """Every node is Ready at this release, and the servers are voters of one etcd."""
        lines = {line["node"]: line for line in self.data("nodes", NAME)}
        self.assertEqual(sorted([*self.agents, *SERVERS]), sorted(lines))
        told = {(line["state"], line["ready"], line["version"]) for line in lines.values()}
        self.assertEqual({("active", True, version)}, told, lines)
        self.assertEqual(["leader", "voter", "voter"], sorted(lines[server]["etcd"] for server in SERVERS))
        self.assertEqual(sorted(lines), sorted(self.kubectl("get nodes -o name").replace("node/", "").split()))
        self.assertEqual(1, len(self.world.authorities()))

    def config_maps(self, server: str = "server-1") -> set[str]:
        return set(self.kubectl("get configmaps -o name", server).replace("configmap/", "").split())

    def begun(self, since: int, stage: str, pattern: str = ".*") -> list[str]:
        """The steps that were begun, in order."""
        new = self.world.journal(since)
        steps = [one.get("step") for one in new if one["kind"] == "intent" and one["stage"] == stage]
        return [step for step in steps if step and re.fullmatch(pattern, step)]

    def wait_for_step(self, pattern: str, since: int, running: Running) -> None:
        """Returns once the journal tells that such a step was begun."""
        until = time.monotonic() + LIMIT
        while not [step for stage in ("servers", "agents") for step in self.begun(since, stage, pattern)]:
            if running.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"no step `{pattern}` was begun:\n{running.err[-2000:]}{running.out[-2000:]}")
            time.sleep(0.02)


class Day2(Cluster):
    def test_looks_tell_what_there_is_and_write_nothing(self):
        before = len(self.world.journal())

        lines = self.data("nodes", NAME)
        certificates = self.data("certs", "list", NAME)
        tokens = self.data("token", "check", NAME)
        self.data("snapshot", "list", NAME)

        self.assertEqual(before, len(self.world.journal()), "a look is no run")
        self.all_serve()
        for line in lines:
            self.assertGreater(line["age"], 0, line)
            self.assertGreater(line["certificate_days"], 300, line)
        self.assertEqual({line["node"] for line in lines}, {one["node"] for one in certificates})
        self.assertEqual({line["node"]: [] for line in lines}, {held["node"]: held["amiss"] for held in tokens})
        self.assertEqual(1, len({held["ca"] for held in tokens}))

    def test_a_kubeconfig_is_merged_and_no_other_context_is_lost(self):
        file = self.world.dir / "merged"
        file.write_text(OTHERS)

        for _ in range(2):
            ended = self.world.run("kubeconfig", NAME, "--merge", KUBECONFIG=str(file))
            self.assertEqual(ended.code, 0, ended.said)

        view = json.loads(self.view(file, "config", "view", "--raw", "-o", "json"))
        contexts = {one["name"]: one["context"] for one in view["contexts"]}
        users = {one["name"]: one["user"] for one in view["users"]}
        self.assertEqual({"work", NAME}, set(contexts))
        self.assertEqual(("work", "yes"), (view["current-context"], users["me"]["token"]))
        self.assertEqual("007", contexts["work"]["namespace"])
        self.assertIn("server-1", self.view(file, "--context", NAME, "get", "nodes", "-o", "name"))

    def view(self, file, *words: str) -> str:
        return lab("exec", "--", "env", f"KUBECONFIG={file}", "kubectl", *words)

    def test_snapshots_are_saved_copied_listed_and_pruned(self):
        copies = self.world.dir / "copies"
        copies.mkdir(exist_ok=True)

        first = self.save("kept")
        second = self.data("snapshot", "save", NAME, "--name", "kept", "--to", str(copies))
        listed = self.data("snapshot", "list", NAME)
        would = self.data("snapshot", "prune", NAME, "--keep", "1", "--name", "kept", "--dry-run")
        gone = self.data("snapshot", "prune", NAME, "--keep", "1", "--name", "kept")
        left = [one["name"] for one in self.data("snapshot", "list", NAME)]

        copy = copies / second["name"]
        self.assertEqual(0o600, copy.stat().st_mode & 0o777)
        self.assertEqual(second["sha256"], hashlib.sha256(copy.read_bytes()).hexdigest())
        subprocess.run(["sha256sum", "-c", f"{copy.name}.sha256"], cwd=copies, check=True, capture_output=True)
        self.assertLessEqual({first, second["name"]}, {one["name"] for one in listed})
        self.assertEqual([first], [one["name"] for one in would["gone"]])
        self.assertEqual([first], [one["name"] for one in gone["gone"]])
        self.assertIn(second["name"], left)
        self.assertNotIn(first, left)

    def test_certificates_are_made_anew_server_by_server_then_agent_by_agent(self):
        ends = {(one["node"], one["file"]): one["not_after"] for one in self.data("certs", "list", NAME)}
        before = len(self.world.journal())

        rotated = self.data("certs", "rotate", NAME, "--yes")

        after = {(one["node"], one["file"]): one["not_after"] for one in rotated["certificates"]}
        older = {key: (end, after.get(key)) for key, end in ends.items() if after.get(key, "") <= end}
        self.assertEqual({}, {key: ends for key, ends in older.items() if "-ca" not in key[1]})
        for stage, nodes in (("servers", SERVERS), ("agents", self.agents)):
            self.assertEqual(nodes, [step.split("/")[1] for step in self.begun(before, stage, "certificates-.*")])
        self.all_serve()

    def test_new_tokens_hold_for_restarts_later_and_for_nodes_that_join(self):
        old = {held["node"]: (held["token"], held.get("agent_token")) for held in self.data("token", "check", NAME)}

        self.done("token", "rotate", NAME, "--yes")

        rotated = time.monotonic()
        new = {held["node"]: (held["token"], held.get("agent_token")) for held in self.data("token", "check", NAME)}
        self.assertEqual([], [node for node, held in new.items() if old[node][0] == held[0]])
        self.assertEqual(1, len({held for node, held in new.items() if node in SERVERS}))
        self.assertEqual({new["server-1"][1]}, {held[0] for node, held in new.items() if node not in SERVERS})
        # An agent and a server join by the new tokens; both last longer than what RKE2 overlooks.
        count = len(self.agents)
        text = self.world.file.read_text()
        self.world.file.write_text(text.replace(f"general:\n      count: {count}", f"general:\n      count: {count + 1}"))
        type(self).agents = agents(count + 1)
        self.on("server-3", LOSE_DATA)
        self.done("up", NAME, "--yes")
        self.assertGreater(time.monotonic() - rotated, LATER)
        self.all_serve()
        for server in SERVERS:
            for _ in range(2):
                began = time.monotonic()
                self.on(server, "timeout 600 systemctl restart rke2-server")
                self.note(f"restart of {server}", began)
        self.all_serve()
        for server in SERVERS:
            told = self.on(server, "journalctl -u rke2-server --no-pager | grep -c 'newer than datastore' || test $? = 1")
            self.assertEqual("0\n", told, server)

    def test_a_rotation_of_tokens_that_is_killed_is_gone_on_with_and_an_agent_that_is_gone_left_out(self):
        gone, words = self.agents[-1], ["token", "rotate", NAME, "--yes"]
        old = {held["node"]: held["token"] for held in self.data("token", "check", NAME)}
        lab("fault", "crash", self.world.machine(gone))
        self.addCleanup(lab, "machine", "start", self.world.machine(gone))
        since = len(self.world.journal())

        for place in ("token-[0-9]+/server-2", "token-[0-9]+/general-1"):
            running = self.world.start(*words)
            self.wait_for_step(place, since, running)
            Blow.KILL.strike(running)
            ended = self.world.ended(running)
            self.assertIn(ended.code, Blow.KILL.codes(), ended.said)
        halted = self.world.run(*words)
        answering = self.world.run(*words, "--leave-out", "general-1")
        rotated = self.data(*words, "--leave-out", gone)

        self.assertEqual(halted.code, 6, halted.said)
        self.assertIn(f"the same command with --leave-out {gone}", halted.line("hint"))
        self.assertEqual(answering.code, 2, answering.said)
        self.assertIn("`general-1` answers, and is not left out", answering.said)
        self.assertEqual([gone], rotated["left_out"])
        runs = {step.split("/")[0] for step in self.begun(since, "servers", "token-.*") + self.begun(since, "agents", "token-.*")}
        self.assertEqual(1, len(runs), "the same new values to the end")
        held = {held["node"]: held["token"] for held in self.data("token", "check", NAME) if held["token"]}
        self.assertEqual(sorted({*SERVERS, *self.agents} - {gone}), sorted(held))
        self.assertEqual([], [node for node, token in held.items() if token == old[node]])
        self.doCleanups()
        self.done("up", NAME, "--yes")
        self.all_serve()
        self.assertEqual([[]] * len(lines := self.data("token", "check", NAME)), [held["amiss"] for held in lines], lines)

    def test_a_restore_takes_the_place_of_a_rotation_of_certificates_that_was_halted(self):
        self.kubectl("create configmap before")
        self.addCleanup(self.kubectl, "delete configmap before")
        snapshot = self.save("instead")
        since = len(self.world.journal())
        running = self.world.start("certs", "rotate", NAME, "--yes")
        self.wait_for_step("certificates-[0-9]+/server-2", since, running)
        Blow.KILL.strike(running)
        self.world.ended(running)

        refused = self.world.run("up", NAME, "--yes")
        restored = self.done("restore", NAME, snapshot, "--yes")

        self.assertEqual(refused.code, 8, refused.said)
        self.assertIn(f"`certs rotate {NAME}` was begun and has not come to its end: this takes its place", restored.said)
        [told] = [one["value"] for one in self.world.journal(since) if one.get("name") == "upkeep/given-up"]
        self.assertEqual((f"certs rotate {NAME}", f"restore {NAME} {snapshot}"), (told["command"], told["for"]))
        self.assertIn("before", self.config_maps())
        self.all_serve()
        self.assertIn(f"{NAME} is up and as described", self.done("up", NAME, "--yes").out)

    def test_restore_brings_back_a_cluster_that_lost_two_of_three_servers(self):
        self.kubectl("create configmap before")
        self.addCleanup(self.kubectl, "delete configmap before")
        snapshot = self.save("lost")
        holder = self.holder(snapshot)
        self.kubectl("create configmap later")
        lost = [server for server in SERVERS if server != holder]
        lab("exec", "--", "python3", "-c", TERMINATE, *[self.world.machine(server) for server in lost])

        restored = self.data("restore", NAME, snapshot, "--yes")["restored"]

        self.assertEqual((snapshot, holder, lost), (restored["snapshot"], restored["first"], restored["lost"]))
        self.assertEqual(lost, restored["removed_nodes"])
        self.assertIn("before", self.config_maps(holder))
        self.assertNotIn("later", self.config_maps(holder))
        nodes = self.kubectl("get nodes -o name", holder).replace("node/", "").split()
        self.assertEqual(sorted([holder, *self.agents]), sorted(nodes))
        self.done("up", NAME, "--yes")
        self.all_serve()
        self.assertIn("before", self.config_maps("server-2"))

    def holder(self, snapshot: str) -> str:
        [place] = [one["place"] for one in self.data("snapshot", "list", NAME) if one["name"] == snapshot]
        return place["node"]

    def test_a_restore_that_is_killed_at_each_of_its_phases_is_gone_on_with(self):
        self.kubectl("create configmap before")
        self.addCleanup(self.kubectl, "delete configmap before")
        copies = self.world.dir / "copies"
        copies.mkdir(exist_ok=True)
        copy = self.data("snapshot", "save", NAME, "--name", "killed", "--to", str(copies))["copy"]
        self.kubectl("create configmap later")
        # From the file here, as if no server had it any more.
        self.done("snapshot", "prune", NAME, "--keep", "0", "--name", "killed")
        words = ["restore", NAME, "--from", copy]
        began, since = time.monotonic(), len(self.world.journal())

        for phase in ["stop/server-3", "reset/.*", "start/.*", "rejoin/server-2", "rejoin/server-3", "restart/general-2"]:
            running = self.world.start(*words, "--yes")
            self.wait_for_step(f"restore-[0-9]+/{phase}", since, running)
            Blow.KILL.strike(running)
            ended = self.world.ended(running)
            self.assertIn(ended.code, Blow.KILL.codes(), ended.said)
            refused = self.world.run("up", NAME, "--yes")
            self.assertEqual(refused.code, 8, refused.said)
            self.assertIn(f"`restore {NAME} --from", refused.line("error"))
        restored = self.data(*words, "--yes")["restored"]

        self.note("restore, killed six times", began)
        self.assertEqual(sorted(SERVERS), sorted([restored["first"], *restored["rejoined"]]))
        self.assertEqual([], restored["lost"])
        self.assertIn("before", self.config_maps())
        self.assertNotIn("later", self.config_maps())
        self.all_serve()
        self.assertIn(f"{NAME} is up and as described", self.done("up", NAME, "--yes").out)


class Upgrade(Cluster):
    def test_a_minor_release_is_not_skipped_and_no_node_is_brought_back(self):
        before = len(self.world.journal())
        for to, why in [("v1.36.0+rke2r1", "no minor release may be left out"), ("v1.34.3+rke2r1", "is not brought back")]:
            refused = self.world.run("upgrade", NAME, "--to", to, "--yes")

            self.assertEqual(refused.code, 2, refused.said)
            self.assertRegex(refused.line("error"), rf"^`\S+` cannot be brought from {re.escape(OLD)} to {re.escape(to)}")
            self.assertIn(why, refused.line("cause"))
        self.assertEqual([], self.begun(before, "servers") + self.begun(before, "agents"))

    def test_a_restore_takes_the_place_of_an_upgrade_that_halted(self):
        """Leaves one server ahead, with which the upgrade that comes last begins."""
        self.kubectl("create configmap before")
        self.addCleanup(self.kubectl, "delete configmap before")
        snapshot, words = self.save("halted"), ["upgrade", NAME, "--to", NEW, "--yes"]
        since = len(self.world.journal())
        running = self.world.start(*words)
        self.world.wait_for_journal("tool servers-server-2", since, running)
        Blow.KILL.strike(running)
        self.world.ended(running)

        restored = self.done("restore", NAME, snapshot, "--yes")

        instead = f"`upgrade {NAME} --to {NEW}` was begun and has not come to its end: this takes its place"
        self.assertIn(instead, restored.said)
        [told] = [one["value"] for one in self.world.journal(since) if one.get("name") == "upkeep/given-up"]
        self.assertEqual((f"upgrade {NAME} --to {NEW}", f"restore {NAME} {snapshot}"), (told["command"], told["for"]))
        self.assertIn("before", self.config_maps())
        cordoned = json.loads(self.kubectl("get nodes -o json"))["items"]
        self.assertEqual([], [node["metadata"]["name"] for node in cordoned if node["spec"].get("unschedulable")])
        self.assertIn(NEW, self.on("server-1", "/usr/local/bin/rke2 --version"))
        back = self.world.run("up", NAME, "--yes")
        self.assertNotEqual(back.code, 0, back.said)
        self.assertIn(f"sre-provision upgrade {NAME} --to {NEW}", back.line("hint"))
        self.assertIn(NEW, self.on("server-1", "/usr/local/bin/rke2 --version"), "brought back")

    def test_an_upgrade_in_which_a_server_loses_its_power_is_gone_on_with(self):
        self.kubectl("create configmap kept")
        self.on("server-1", f"echo '{json.dumps(STAYS)}' | {KUBECTL} create -f -")
        words, since, began = ["upgrade", NAME, "--to", NEW, "--yes"], len(self.world.journal()), time.monotonic()
        running = self.world.start(*words)
        self.world.wait_for_journal("tool servers-server-2", since, running)
        lab("fault", "crash", self.world.machine("server-2"))

        halted = self.world.ended(running)

        self.note("upgrade, halted", began)
        self.assertNotEqual(0, halted.code, halted.said)
        self.assertIn(f"sre-provision upgrade {NAME} --to {NEW}   goes on where it was stopped", halted.line("hint"))
        begun = self.begun(since, "servers", "server-[0-9]")
        self.assertEqual(("server-2", set()), (begun[-1], {*begun} - {"server-1", "server-2"}))
        self.assertEqual([], self.begun(since, "agents"))
        refused = self.world.run("up", NAME, "--yes")
        self.assertEqual(refused.code, 8, refused.said)
        lab("machine", "start", self.world.machine("server-2"))
        resumed, again = len(self.world.journal()), time.monotonic()

        ended = self.done(*words)

        self.note("upgrade, gone on with", again)
        self.assertEqual(["server-2", "server-3"], self.begun(resumed, "servers", "server-[0-9]"))
        self.two_at_a_time(resumed)
        self.assertRegex(ended.said, r"general-1: not drained within \d+ s, and restarted with what is left: ")
        told = [one["value"]["left"] for one in self.world.journal(since) if one.get("name") == "drain/general-1"]
        self.assertEqual(1, len(told))
        self.kubectl("patch pod stays --type=merge -p '{\"metadata\":{\"finalizers\":null}}'")
        self.all_serve(NEW)
        self.assertIn("kept", self.config_maps())
        self.assertIn("before-v1.35.4", " ".join(one["name"] for one in self.data("snapshot", "list", NAME)))

    def two_at_a_time(self, since: int) -> None:
        """Each agent was brought over once, after all servers, and no more than two at a time."""
        going, most, begun, servers = set(), 0, [], set()
        for one in self.world.journal(since):
            step = one.get("step")
            if one.get("stage") == "servers" and one["kind"] == "outcome" and step in SERVERS:
                servers.add(step)
            if one.get("stage") != "agents" or step not in self.agents:
                continue
            if one["kind"] == "intent":
                self.assertIn("server-3", servers, "an agent before a server")
                begun.append(step)
                going.add(step)
                most = max(most, len(going))
            elif one["kind"] == "outcome":
                going.discard(step)
        self.assertEqual(sorted(self.agents), sorted(begun))
        self.assertEqual(2, most)


if __name__ == "__main__":
    unittest.main()
