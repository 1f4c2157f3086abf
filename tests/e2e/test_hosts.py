"""A cluster on machines that exist, from a bundle on a disk, where no way leads out: refusals first, on machines that stay
as they are; then one course from the bundle to a Ready cluster, stopped on its way and gone on with, and off them again.

The tests of `Course` follow each other by name, each on what the one before it left: one cluster takes minutes.
"""

import json
import os
import re
import shutil
import subprocess
import time
import unittest
from pathlib import Path

from world import CHECKOUT, SCRATCH, Blow, World, lab, releases

NAME = "airgap"
SERVERS = ["server-1", "server-2", "server-3"]
NODES = [*SERVERS, "general-1", "general-2"]
ADDRESSES = {node: f"10.20.1.{11 + index}" for index, node in enumerate(NODES)}
DISK = SCRATCH / "disk"
GUARDED = "general-2"  # SELinux is on there, in the course
FAR_OFF = "general-1"  # reached through a machine of its own
WAY, WAY_ADDRESS = "way", "10.20.1.20"
STRANGER = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDF78dUDqB3mVdZlmTzMWPcBKDC0qZDd5CJ/wo61wBpE"
    "rIBTHAfjrnycASodbdkJbIPODxh3UY9DG+z0DpqURMw="
)
# Packages in the bundle: those that the roles want and a machine of the lab lacks, from repositories that only the
# connected side reaches.
SUPPLY = """
bundle:
  elsewhere: [ansible]
  rpms:
    packages: [PACKAGES]
    repositories:
      baseos: {from: given/repo/baseos, keys: ["file:keys/rpm.asc"]}
      appstream: {from: given/repo/appstream, keys: ["file:keys/rpm.asc"]}
    base: given/database
"""
PACKAGES = ["iptables-nft", "container-selinux", "rke2-selinux", "audit"]
# What a system writes by itself while it runs, and what the package manager and `useradd` keep: docs/hosts.md.
OWN_LIFE = re.compile(
    r"/(proc|sys|dev|run|tmp|var/(log|cache|tmp|run|spool|lib/(dnf|rpm|systemd|dbus|apt|dpkg|NetworkManager|private)))(/|$)"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|/etc/\.pwd\.lock$"
)
# Every path with its kind, mode, owner and size, and the digest of what is in it where we might have changed it.
LISTING = r"""
find / -xdev -printf '%p\t%y %m %U:%G %l\n' 2>/dev/null
find /etc /usr/local /opt /root /home /var/lib /boot -xdev -type f -exec sha256sum {} + 2>/dev/null | sed 's/^\([0-9a-f]*\)  \(.*\)/\2\t\1/'
getent passwd; getent group; rpm -qa
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

    def with_packages(self, *packages: str) -> None:
        """Has the environment file name packages for the bundle from now on."""
        self.text = self.text.partition("bundle:\n")[0] + SUPPLY.replace("PACKAGES", ", ".join(packages))
        self.write()

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
    base = Path(os.environ.get("SRE_LAB_DIR", f"/var/lib/sre-lab/{os.environ['LAB_NAME']}")) / "base"
    shutil.copy(keys / "trust.pem", far.workspace / "keys/trust.pem")
    for side in (connected, far):
        (side.workspace / "keys").mkdir(exist_ok=True)
        shutil.copy(base / "etc/pki/rpm-gpg/RPM-GPG-KEY-lab", side.workspace / "keys/rpm.asc")
    for name, place in {"repo": "opt/lab/repo", "database": "var/lib/rpm"}.items():
        shutil.copytree(base / place, connected.workspace / "given" / name, dirs_exist_ok=True)
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
            self.assertIn(f"it lacks release file {image}, which stage `servers` wants", ended.said)
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

    def test_a_package_that_the_bundle_lacks_is_told_by_name_and_no_machine_is_touched(self):
        plain, self.far.text = self.far.text, self.far.text
        self.addCleanup(setattr, self.far, "text", plain)
        # By a bundle that was made for machines with packages of their own.
        self.far.with_packages("container-selinux", "audit")
        whole = self.far.text
        self.far.text = whole.replace("elsewhere: [ansible]", "elsewhere: [ansible, packages]")
        self.far.write()
        bundle(self.far)
        self.assertEqual(self.far.run("bundle", "load", NAME, str(DISK)).code, 0)
        self.far.write("elsewhere: [ansible, packages]", "elsewhere: [ansible]")

        refused = self.far.run("bundle", "load", NAME, str(DISK))
        up = self.far.up()

        self.assertEqual(refused.code, 1, refused.said)
        self.assertIn("it lacks rpm `iptables-nft`, which stage `servers` wants", refused.said)
        self.assertEqual(up.code, 6, up.said)
        self.assertIn("5 of 5 nodes cannot be taken", up.said)
        self.assertIn("it lacks rpm `iptables-nft`", up.said)
        self.assertIn("it lacks rpm `rke2-selinux`", up.said)
        self.assertIn("`bundle.rpms.packages` in environments/airgap.yaml", up.line("hint"))
        self.assertEqual([node for node in NODES if not is_untouched(node)], [])


def behind_a_way(far: Far, node: str) -> None:
    """Lets nobody but machines of its network reach a node, and names it a machine of its own that leads there."""
    lab_dir = Path(os.environ.get("SRE_LAB_DIR", f"/var/lib/sre-lab/{os.environ['LAB_NAME']}"))
    network = json.loads((lab_dir / "network.json").read_text())
    inner = {"proto": "-1", "from": 0, "to": 65535, "cidrs": ["10.20.0.0/16"], "groups": []}
    network["groups"]["sg-2"] = {"ingress": [inner], "egress": network["groups"]["sg-1"]["egress"]}
    machine = next(machine for machine in network["machines"] if machine["id"] == node)
    network["machines"] += [machine | {"id": WAY, "ip": WAY_ADDRESS}]
    machine["groups"] = ["sg-2"]
    call = [str(CHECKOUT / "lab/lab"), "machine", "network"]
    subprocess.run(call, input=json.dumps(network), text=True, check=True, capture_output=True)
    console = lab_dir / f"machines/{WAY}/console.log"
    if not console.parent.exists():
        lab("machine", "up", WAY, WAY_ADDRESS, "base", str(far.workspace / f"keys/{NAME}.pub"))
    until = time.monotonic() + 180
    while "-----END SSH HOST KEY KEYS-----" not in (text := console.read_text()):
        assert time.monotonic() < until, f"`{WAY}` wrote no host keys to its console"
        time.sleep(0.2)
    key = re.findall(r"ecdsa-sha2-nistp256 [A-Za-z0-9+/=]*", text)[-1]
    own = f"host_key: {far.host_key(node)}\n"
    assert own in far.text
    far.text = far.text.replace(own, f"{own}      jump: {{host: {WAY_ADDRESS}, host_key: {key}, user: rocky}}\n", 1)
    far.write()


def another_key() -> str:
    """A public key for packages that signed none of ours."""
    home = SCRATCH / "gpg"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    call = ["gpg", "--homedir", str(home), "--quiet", "--batch"]
    new = [*call, "--passphrase", "", "--quick-gen-key", "Another <another@invalid>", "rsa3072", "sign", "never"]
    subprocess.run(new, check=True, capture_output=True)
    told = subprocess.run([*call, "--armor", "--export"], check=True, capture_output=True, text=True)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)
    return told.stdout


class Course(unittest.TestCase):
    """From the bundle to a Ready cluster and off the machines again."""

    @classmethod
    def setUpClass(cls):
        cls.far = Far()
        behind_a_way(cls.far, FAR_OFF)
        cls.far.with_packages(*PACKAGES)
        for node in NODES:
            on(node, f"echo {'enforcing' if node == GUARDED else 'disabled'} >/run/lab/selinux-mode")
        cls.before = SCRATCH / "before.json"
        if not cls.before.exists():
            for node in NODES:
                # As where no repository is reached, and no key of one is known.
                on(node, "sed -i s/enabled=1/enabled=0/ /etc/yum.repos.d/*.repo; rpm -e $(rpm -q gpg-pubkey)")
                # Who came before us is another test's matter.
                on(node, "journalctl --quiet --rotate; journalctl --quiet --vacuum-time=1s")
            cls.before.write_text(json.dumps({node: sorted(listing(node)) for node in NODES}))

    def kubectl(self, *words: str) -> str:
        return lab("exec", "--", "kubectl", "--kubeconfig", str(self.far.state / "kubeconfig"), *words)

    def test_0_a_package_that_none_of_the_named_keys_signed_is_not_installed(self):
        bundle(self.far)
        loaded = self.far.run("bundle", "load", NAME, str(DISK))
        key = self.far.workspace / "keys/rpm.asc"
        key.write_text(another_key())

        up = self.far.up()

        self.assertEqual((loaded.code, up.code), (0, 5), up.said)
        self.assertIn("hardening", up.line("error"))
        self.assertRegex(up.said, r"GPG|public key")
        installed = "rpm -q audit container-selinux iptables-nft | grep -v 'is not installed'; true"
        self.assertEqual({node: on(node, installed).strip() for node in NODES}, dict.fromkeys(NODES, ""))

    def test_1a_up_from_the_bundle_killed_on_its_way_goes_on_to_a_ready_cluster(self):
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

    def test_1b_up_installed_what_was_lacking_from_the_bundle_and_the_policy_where_selinux_is_on(self):
        had = {node: set(lines) for node, lines in json.loads(self.before.read_text()).items()}
        query = r"rpm -qa --qf '%{NAME}\t%{NVRA}\t%{RSAHEADER:pgpsig}\n'"
        said = {node: [line.split("\t") for line in on(node, query).splitlines()] for node in NODES}

        for node, lines in said.items():
            new = {name: signed for name, full, signed in lines if full.removesuffix(".(none)") not in had[node]}
            wanted = {"audit", "container-selinux", "iptables-nft", "policycoreutils", "gpg-pubkey"}
            self.assertEqual(new.keys(), wanted | ({"rke2-selinux"} if node == GUARDED else set()), node)
            unsigned = [name for name, signed in new.items() if name != "gpg-pubkey" and "Key ID" not in signed]
            self.assertEqual(unsigned, [], node)

    def test_1c_up_reached_the_machine_that_has_a_jump_of_its_own_through_it_alone(self):
        direct = 'timeout 3 bash -c "exec 3<>/dev/tcp/$0/22" 2>/dev/null && echo open || echo shut'
        reached = {node: lab("exec", "--", "sh", "-c", direct, address).strip() for node, address in ADDRESSES.items()}
        came = r"journalctl -u sshd -o cat | sed -n 's/^Accepted publickey for .* from \([^ ]*\) port .*/\1/p' | sort -u"
        from_where = {node: on(node, came).split() for node in (FAR_OFF, GUARDED)}
        asked = self.far.run("ssh", NAME, FAR_OFF, "--", "hostname", "-I")

        self.assertEqual(reached, {node: "shut" if node == FAR_OFF else "open" for node in ADDRESSES})
        self.assertEqual(from_where, {FAR_OFF: [WAY_ADDRESS], GUARDED: ["192.0.2.10"]})
        self.assertEqual((asked.code, asked.out.split()[:1]), (0, [ADDRESSES[FAR_OFF]]), asked.said)

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
