"""Three servers and two agents: prepared once up to the moment before anything of RKE2 starts, and up once from there.

Each test says within how many minutes it is over (`within`); what it calls gets what is left of that, and what it took is
printed. `SRE_E2E_LIMIT`, 1200 where it is not set, makes all of them longer or shorter.
"""

import json
import shlex
import time
import unittest

from world import LIMIT, NAME, SCRATCH, Blow, Ended, World, lab

DIR = "/etc/rancher/rke2"
DATA = "/var/lib/rancher/rke2"
PASSWORD = "pulls-Bn7c2Wq"
CONFIG = """  config:
    tls_san: [api.joins.example]
    audit_policy: audit.yaml
    pod_security: pods.yaml
    snapshots: {retention: 3}
    arguments:
      kubelet: [max-pods=120]
    registries:
      mirrors: {quay.io: ["https://registry.joins.example:5000"]}
      access:
        registry.joins.example:5000: {ca: registry.pem, username: puller, password: "file:registry-password"}
    more: {debug: "false"}
"""
CA = "-----BEGIN CERTIFICATE-----\nof a registry that is never asked\n-----END CERTIFICATE-----\n"
AUDIT = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"
POD_SECURITY = """apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: PodSecurity
    configuration:
      apiVersion: pod-security.admission.config.k8s.io/v1
      kind: PodSecurityConfiguration
      defaults: {enforce: baseline, enforce-version: latest}
      exemptions: {namespaces: [kube-system]}
"""
KILLALL = "/usr/local/bin/rke2-killall.sh >/dev/null 2>&1"
HALT = f"systemctl stop rke2-server; {KILLALL}"
LOSE_DATA = f"{HALT} && rm -rf {DATA}/server/db"
LEAST = 120.0


def within(minutes: float):
    """Says within how many minutes a test is over."""

    def bounded(test):
        test.seconds = minutes * 60 * LIMIT / 1200
        return test

    return bounded


def prepared() -> World:
    """Five machines that are hardened; nothing of RKE2 was ever started on them."""
    world = World("joins")
    if (SCRATCH / "kept/prepared").exists():
        world.back("prepared")
        return world
    text = world.file.read_text().replace("servers:\n    count: 1", "servers:\n    count: 3")
    text = text.replace("general:\n      count: 1", "general:\n      count: 2")
    world.file.write_text(text.replace("rke2:\n", f"rke2:\n{CONFIG}"))
    (world.workspace / "registry.pem").write_text(CA)
    (world.workspace / "registry-password").write_text(f"{PASSWORD}\n")
    (world.workspace / "audit.yaml").write_text(AUDIT)
    (world.workspace / "pods.yaml").write_text(POD_SECURITY)
    moment, _, ended = world.stop_at({"servers": [Blow.KILL]})
    if moment != "servers":
        raise AssertionError(ended.said)
    world.wait_until_nothing_runs()
    world.keep("prepared")
    return world


def joined() -> World:
    """All five in one cluster, made in one `up`."""
    if (SCRATCH / "kept/joins").exists():
        world = World("joins")
        world.back("joins")
        world.wait_until_as_described()
        return world
    world = prepared()
    ended = world.up()
    if ended.code != 0:
        raise AssertionError(ended.said)
    world.keep("joins")
    return world


class Five(unittest.TestCase):
    """What tests of joins do with the nodes."""

    world: World

    def setUp(self):
        self.began = time.monotonic()
        self.ids: dict[str, str] = {}
        self.addCleanup(self.tell_time)

    def tell_time(self) -> None:
        print(f"  {self._testMethodName}: {time.monotonic() - self.began:.0f} s", flush=True)

    def left(self) -> float:
        """How much of its time the test has left; what puts things back has a little in any case."""
        bound = getattr(getattr(self, self._testMethodName), "seconds", LIMIT)
        return max(self.began + bound - time.monotonic(), LEAST)

    def on(self, node: str, command: str) -> str:
        return lab("machine", "exec", self.id(node), "sh", "-c", command)

    def id(self, node: str) -> str:
        """The instance id of a node; machines come and go with a run of `up` alone, and with a test that ends them."""
        if not self.ids:
            self.ids = self.world.machines_by_name()
        return self.ids[node]

    def run_up(self) -> Ended:
        self.ids = {}
        return self.world.run("up", NAME, "--yes", limit=self.left())

    def up(self) -> str:
        ended = self.run_up()
        self.assertEqual(ended.code, 0, ended.said)
        return ended.said

    def refused(self, code: int = 7) -> Ended:
        """`up` ends with this code, a cause and a hint, and well before the time of a join is over."""
        ended = self.run_up()
        self.assertEqual(ended.code, code, ended.said)
        self.assertTrue(ended.line("cause") and ended.line("hint"), ended.said)
        return ended

    def goes_on(self) -> None:
        """What is amiss is mended by one `up`, the next finds nothing to do, and there was never a second cluster."""
        settled = f"{NAME} is up and as described"
        if settled not in self.up():
            self.assertIn(settled, self.up())
        self.is_one_cluster()

    def is_one_cluster(self) -> None:
        self.assertEqual(1, len(self.world.authorities()))
        lists = [self.members(number) for number in (1, 2, 3)]
        self.assertEqual(3, len(lists[0]), lists)
        self.assertEqual([lists[0]] * 3, lists)

    def members(self, number: int) -> dict[str, str]:
        """Name → id of the voters, as the member of this server tells."""
        told = self.etcd("list", {"linearizable": True}, f"server-{number}")["members"]
        self.assertFalse([one for one in told if one.get("isLearner")], told)
        return {one["name"]: one["ID"] for one in told}

    def member(self, node: str) -> dict:
        [member] = [one for one in self.etcd("list", {})["members"] if one.get("name", "").startswith(f"{node}-")]
        return member

    def kubectl(self, *words: str) -> str:
        return self.on("server-1", shlex.join([f"{DATA}/bin/kubectl", "--kubeconfig", f"{DIR}/rke2.yaml", *words]))

    def etcd(self, what: str, question: dict, server: str = "server-1") -> dict:
        return json.loads(self.on(server, asking(what, question)))

    def wait_until_starting(self, node: str) -> None:
        """Returns once the node's service was told to start."""
        machine = self.id(node)
        until = time.monotonic() + self.left()
        ask = "systemctl show rke2-server --property=ActiveState --value"
        while lab("machine", "exec", machine, "sh", "-c", ask).strip() not in ("activating", "active"):
            if time.monotonic() > until:
                raise AssertionError(f"rke2-server was never started on {node}")
            time.sleep(0.1)

    def struck(self, node: str) -> None:
        """Starts `up` and cuts the power of this node when its service starts."""
        seen = len(self.world.journal())
        running = self.world.start("up", NAME, "--yes")
        self.world.wait_for_journal(f"tool servers-{node}", seen, running)
        self.wait_until_starting(node)
        machine = self.id(node)
        lab("fault", "crash", machine)
        ended = self.world.ended(running, self.left())
        self.assertNotEqual(0, ended.code, ended.said)
        lab("machine", "start", machine)

    def begun(self, since: int) -> list[str]:
        """The servers on which work was begun."""
        new = self.world.journal()[since:]
        return [one["step"] for one in new if one["kind"] == "intent" and one["stage"] == "servers" and one.get("step")]


def asking(what: str, question: dict) -> str:
    """A command that asks the etcd member of the server that it runs on."""
    tls = f"{DATA}/server/tls/etcd"
    return (
        f"curl -sS --fail --max-time 10 --cacert {tls}/server-ca.crt --cert {tls}/client.crt --key {tls}/client.key"
        f" --data '{json.dumps(question)}' https://127.0.0.1:2382/v3/cluster/member/{what}"
    )
