"""A cluster on machines that exist, from a bundle on a disk, where no way leads out: refusals first, on machines that stay
as they are; then one course from the bundle to a Ready cluster, stopped on its way and gone on with, and off them again.

The tests of `Course` follow each other by name, each on what the one before it left: one cluster takes minutes.
"""

import json
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

from world import CHECKOUT, SCRATCH, Blow, World, lab, releases

NAME = "airgap"
SERVERS = ["server-1", "server-2", "server-3"]
NODES = [*SERVERS, "general-1", "general-2"]
DISK = SCRATCH / "disk"
STRANGER = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDF78dUDqB3mVdZlmTzMWPcBKDC0qZDd5CJ/wo61wBpE"
    "rIBTHAfjrnycASodbdkJbIPODxh3UY9DG+z0DpqURMw="
)
# What a system writes by itself while it runs, and what the package manager and `useradd` keep: docs/hosts.md.
OWN_LIFE = re.compile(
    r"/(proc|sys|dev|run|tmp|var/(log|cache|tmp|run|spool|lib/(dnf|rpm|systemd|dbus|apt|dpkg|NetworkManager|private)))(/|$)"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|/etc/\.pwd\.lock$"
)
# Every path with its kind, mode, owner and size, and the digest of what is in it where we might have changed it.
LISTING = r"""
find / -xdev -printf '%p\t%y %m %U:%G %l\n' 2>/dev/null
find /etc /usr/local /opt /root /home /var/lib /boot -xdev -type f -exec sha256sum {} + 2>/dev/null | sed 's/^\([0-9a-f]*\)  \(.*\)/\2\t\1/'
getent passwd; getent group
"""


def on(node: str, script: str) -> str:
    """What a script says on a machine, by the lab's own way in."""
    return lab("machine", "exec", node, "sh", "-c", script)


def listing(node: str) -> set[str]:
    return {line for line in on(node, LISTING).splitlines() if not OWN_LIFE.match(line.split("\t")[0])}


def is_untouched(node: str) -> bool:
    return on(node, "ls -d /var/lib/sre-provision /var/lib/rancher /etc/rancher 2>/dev/null; true").strip() == ""


class Far(World):
    """The side without a way out: the machines, their environment file, and what was loaded."""

    def __init__(self):
        super().__init__("hosts", NAME)
        verb = [str(CHECKOUT / "lab/hosts"), "up", str(self.workspace)]
        subprocess.run(verb, check=True, capture_output=True)
        self.text = self.file.read_text()

    def start(self, *words, **changed):
        return super().start(*words, INSTALL_RKE2_ARTIFACT_PATH=None, **changed)

    def write(self, old: str = "", new: str = "") -> None:
        """The environment file as it came, or with this changed."""
        assert old in self.text, f"`{old}` is not in the file"
        self.file.write_text(self.text.replace(old, new, 1) if old else self.text)

    def host_key(self, node: str) -> str:
        return re.search(rf"    {node}:\n      address: .*\n      host_key: (.*)", self.text)[1]


def bundle(far: Far, **release: str | None) -> World:
    """The connected side: makes and signs a bundle of the environment on the disk; its key goes over by hand."""
    connected = World("connected", NAME)
    connected.file.write_text(far.file.read_text())
    keys = connected.dir / "keys"
    keys.mkdir(exist_ok=True)
    if not (keys / "sign.pem").exists():
        made = ["openssl", "genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run([*made, "-out", str(keys / "sign.pem")], check=True)
        public = ["openssl", "pkey", "-in", str(keys / "sign.pem"), "-pubout", "-out", str(keys / "trust.pem")]
        subprocess.run(public, check=True)
    shutil.copy(keys / "trust.pem", far.workspace / "keys/trust.pem")
    shutil.rmtree(DISK, ignore_errors=True)
    words = ["--to", str(DISK), "--split", "64MiB", "--sign", f"file:{keys}/sign.pem", "--yes"]
    made = connected.run("bundle", "create", NAME, *words, INSTALL_RKE2_ARTIFACT_PATH=str(releases()), **release)
    assert made.code == 0, made.said
    return connected


class Refused(unittest.TestCase):
    """What is refused, each time with all machines as they were."""

    @classmethod
    def setUpClass(cls):
        cls.far = Far()

    def setUp(self):
        self.far.write()

    def test_a_bundle_that_lacks_an_image_is_refused_by_its_name_and_no_machine_is_touched(self):
        bundle(self.far)
        self.far.write("cni: canal", "cni: cilium")

        verified = self.far.run("bundle", "verify", str(DISK), "--environment", NAME)
        loaded = self.far.run("bundle", "load", NAME, str(DISK))
        self.far.write()
        whole = self.far.run("bundle", "load", NAME, str(DISK))
        self.far.write("cni: canal", "cni: cilium")
        up = self.far.up()

        image = "`rke2-images-cilium.linux-amd64.tar.zst`"
        for ended in (verified, loaded):
            self.assertEqual(ended.code, 1, ended.said)
            self.assertIn(f"it lacks release file {image}", ended.said)
        self.assertEqual(whole.code, 0, whole.said)
        self.assertEqual(up.code, 1, up.said)
        self.assertIn(f"it lacks release file {image}", up.said)
        self.assertEqual([node for node in NODES if not is_untouched(node)], [])

    def test_a_machine_with_another_host_key_is_refused_by_its_name_and_none_is_touched(self):
        bundle(self.far)
        self.assertEqual(self.far.run("bundle", "load", NAME, str(DISK)).code, 0)
        self.far.write(self.far.host_key("server-2"), STRANGER)

        up = self.far.up()

        self.assertEqual(up.code, 6, up.said)
        self.assertIn("server-2", up.line("error"))
        self.assertRegex(up.line("cause"), r"`server-2`.* shows SHA256:.*, pinned is SHA256:")
        self.assertEqual([node for node in NODES if not is_untouched(node)], [])

    def test_a_strangers_cluster_on_a_machine_is_refused_and_none_is_touched(self):
        bundle(self.far)
        self.assertEqual(self.far.run("bundle", "load", NAME, str(DISK)).code, 0)
        on("server-3", "mkdir -p /var/lib/rancher/k3s/server/db && echo theirs >/var/lib/rancher/k3s/server/db/state.db")
        self.addCleanup(on, "server-3", "rm -rf /var/lib/rancher")

        up = self.far.up()

        self.assertEqual(up.code, 6, up.said)
        self.assertIn("a cluster is on `server-3` that this environment did not make", up.said)
        self.assertIn("/var/lib/rancher/k3s", up.said)
        self.assertEqual(on("server-3", "cat /var/lib/rancher/k3s/server/db/state.db").strip(), "theirs")
        self.assertEqual([node for node in NODES if node != "server-3" and not is_untouched(node)], [])


class Course(unittest.TestCase):
    """From the bundle to a Ready cluster and off the machines again."""

    @classmethod
    def setUpClass(cls):
        cls.far = Far()
        cls.before = SCRATCH / "before.json"
        if not cls.before.exists():
            cls.before.write_text(json.dumps({node: sorted(listing(node)) for node in NODES}))

    def kubectl(self, *words: str) -> str:
        return lab("exec", "--", "kubectl", "--kubeconfig", str(self.far.state / "kubeconfig"), *words)

    def test_1_up_from_the_bundle_killed_on_its_way_goes_on_to_a_ready_cluster(self):
        bundle(self.far)
        verified = self.far.run("bundle", "verify", str(DISK), "--environment", NAME)
        loaded = self.far.run("bundle", "load", NAME, str(DISK))
        self.assertEqual((verified.code, loaded.code), (0, 0), verified.said + loaded.said)
        self.assertGreater(len(list(DISK.glob("chunks-*"))), 1)

        moment, _, killed = self.far.stop_at({"servers/server-2": [Blow.KILL]})
        resumed = self.far.up()

        self.assertEqual(moment, "servers/server-2", killed.said)
        self.assertIn(killed.code, Blow.KILL.codes())
        self.assertEqual(resumed.code, 0, resumed.said)
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        ready = {
            node["metadata"]["name"]: "node-role.kubernetes.io/control-plane" in node["metadata"]["labels"]
            for node in nodes
            if any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])
        }
        self.assertEqual(ready, {node: node in SERVERS for node in NODES})
        self.assertEqual(len(self.far.authorities()), 1)

    def test_2_a_second_up_changes_nothing(self):
        before, seen = {node: listing(node) for node in NODES}, len(self.far.journal())

        second = self.far.run("up", NAME, "--yes", "--output", "json")

        self.assertEqual(second.code, 0, second.said)
        self.assertEqual(json.loads(second.out.splitlines()[-1])["event"], "as-described")
        self.assertEqual(len(self.far.journal()), seen)
        changed = {node: sorted(settled(listing(node) ^ before[node])) for node in NODES}
        self.assertEqual({node: lines for node, lines in changed.items() if lines}, {})

    def test_3_plan_status_history_and_nodes_tell_of_machines_that_exist(self):
        told = {word: self.far.run(word, NAME) for word in ("plan", "status", "history", "nodes")}

        self.assertEqual({word: ended.code for word, ended in told.items()}, dict.fromkeys(told, 0))
        for node in NODES:
            self.assertIn(node, told["nodes"].out)
        self.assertNotRegex(told["plan"].said, r"base-image|node-image|network")
        self.assertIn("hosts", told["status"].out)
        self.assertRegex(told["history"].out, rf"up {NAME}")

    def test_4_down_leaves_the_machines_as_they_were_and_nothing_else(self):
        gone = self.far.down()

        self.assertEqual(gone.code, 0, gone.said)
        before = {node: set(lines) for node, lines in json.loads(self.before.read_text()).items()}
        changed = {node: sorted(listing(node) ^ before[node]) for node in NODES}
        self.assertEqual({node: lines for node, lines in changed.items() if lines}, {})
        running = "systemctl is-active rke2-server rke2-agent; pgrep -l 'rke2|etcd|kube'"
        self.assertEqual({node: set(on(node, f"{running}; true").split()) - {"inactive"} for node in NODES}, dict.fromkeys(NODES, set()))


def settled(lines: set[str]) -> set[str]:
    """Without what a cluster that runs writes all the time."""
    return {line for line in lines if not re.match(r"/var/lib/(rancher|kubelet|cni|calico)/|/etc/rancher/", line)}


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
