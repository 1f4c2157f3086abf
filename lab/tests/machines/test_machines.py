"""What a machine does: first boot, power, disk, images, faults, saved states."""

import re
import sys
import unittest
from pathlib import Path

from harness import ANYTHING, InLab, eventually

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "machines"))

from labmachine import guest  # noqa: E402
from labmachine.place import Lab  # noqa: E402

IP = "10.20.1.11"
USER_DATA = """#cloud-config
hostname: ada
users:
  - default
  - {name: ops, sudo: "ALL=(ALL) NOPASSWD:ALL"}
write_files:
  - {path: /etc/greeting, content: hello, permissions: "0640"}
runcmd:
  - [sh, -c, "date >/etc/ran"]
"""


class Machines(InLab):
    """One machine, `one`, with user data."""

    @classmethod
    def prepare(cls) -> None:
        cls.lab.put(
            vpcs=[{"id": "vpc-a", "cidr": "10.20.0.0/16"}],
            groups={"sg-all": {"ingress": [ANYTHING], "egress": [ANYTHING]}},
        )
        cls.lab.declare("one", IP, "vpc-a", ["sg-all"])
        cls.lab.boot("one", IP, user_data=USER_DATA)

    def another(self, name: str, ip: str, image: str) -> None:
        self.lab.declare(name, ip, "vpc-a", ["sg-all"])
        self.lab.boot(name, ip, image)
        self.addCleanup(self.lab.do, "machine", "down", name)

    def boot_id(self) -> str:
        return self.lab.on("one", "cat", "/proc/sys/kernel/random/boot_id")

    def reboot(self) -> None:
        """Restarts it and waits for the next boot, without entering it meanwhile: that may keep it from booting."""
        machine = Lab(self.lab.name, self.lab.dir).machine("one")
        before = guest.leader(machine)
        self.lab.do("machine", "reboot", "one")
        eventually(lambda: guest.leader(machine) not in (None, before))
        self.lab.wait("one")

    def test_user_data_is_applied(self) -> None:
        self.assertEqual(self.lab.on("one", "hostname"), "ada")
        self.assertEqual(self.lab.on("one", "stat", "-c", "%a", "/etc/greeting"), "640")
        self.assertEqual(self.lab.on("one", "id", "-un", "ops"), "ops")
        self.assertIn("rocky", self.lab.on("one", "getent", "passwd", "rocky"))
        self.lab.on("one", "test", "-s", "/etc/ran")

    def test_it_looks_like_rocky_and_nothing_failed(self) -> None:
        self.assertIn('ID="rocky"', self.lab.on("one", "cat", "/etc/os-release"))
        self.assertEqual(self.lab.on("one", "systemctl", "--failed", "--no-legend"), "")
        self.assertIn("rocky-release", self.lab.on("one", "rpm", "-q", "rocky-release"))

    def test_dnf_installs_a_signed_package(self) -> None:
        self.lab.on("one", "dnf", "-y", "-q", "install", "audit")

        self.assertEqual(self.lab.on("one", "rpm", "-q", "audit"), "audit-3.1.2-2.el9.noarch")
        self.assertEqual(self.lab.on("one", "systemctl", "is-enabled", "auditd"), "enabled")

    def test_audit_rules_are_loaded_once_they_are_whole_and_then_locked(self) -> None:
        self.lab.on("one", "dnf", "-y", "-q", "install", "audit")
        rules = r"--loginuid-immutable\n-w /etc/passwd -p wa -k identity\n-f 1\n-e 2\n"
        self.lab.on("one", "sh", "-c", f"printf '%b' '{rules}' >/etc/audit/rules.d/99-last.rules")

        self.lab.on("one", "augenrules", "--load")

        said = self.lab.on("one", "auditctl", "-s").splitlines()
        self.assertLessEqual({"enabled 2", "loginuid_immutable 1 locked"}, set(said))
        self.assertIn("-w /etc/passwd -p wa -k identity", self.lab.on("one", "auditctl", "-l"))
        refused = self.lab.call("machine", "exec", "one", "auditctl", "--loginuid-immutable")
        self.assertIn("immutable mode", refused.stderr)

    def test_kernel_arguments_and_fips_show_after_a_reboot(self) -> None:
        self.lab.on("one", "fips-mode-setup", "--enable")
        self.lab.on("one", "grubby", "--update-kernel=ALL", "--args=audit=1 audit_backlog_limit=8192")
        self.lab.on("one", "grubby", "--update-kernel=ALL", "--args=audit=0", "--remove-args=audit_backlog_limit")

        self.reboot()

        arguments = self.lab.on("one", "cat", "/proc/cmdline").split()
        self.assertTrue({"fips=1", "audit=0", "ro"} <= set(arguments), arguments)
        self.assertFalse([a for a in arguments if a == "audit=1" or a.startswith("audit_backlog")], arguments)
        self.assertEqual(self.lab.on("one", "fips-mode-setup", "--check"), "FIPS mode is enabled.")
        self.assertEqual(self.lab.on("one", "update-crypto-policies", "--show"), "FIPS")

    def test_semanage_refuses_what_it_has_and_what_it_has_not(self) -> None:
        port = ("-t", "http_port_t", "-p", "tcp", "9345")
        self.lab.on("one", "semanage", "port", "-a", *port)

        again = self.lab.call("machine", "exec", "one", "semanage", "port", "-a", *port)
        self.lab.on("one", "semanage", "port", "-d", *port)
        gone = self.lab.call("machine", "exec", "one", "semanage", "port", "-d", *port)

        self.assertEqual(again.stderr, "ValueError: Port tcp/9345 already defined\n")
        self.assertEqual(gone.stderr, "ValueError: Port tcp/9345 is not defined\n")

    def test_the_console_shows_the_host_keys_that_it_answers_with(self) -> None:
        console = self.lab.do("machine", "log", "one")
        shown = re.search(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", console, re.S)
        self.assertIsNotNone(shown)
        printed = {tuple(line.split()[:2]) for line in shown[1].strip().splitlines()}

        scan = self.lab.do("exec", "--", "ssh-keyscan", "-T", "5", IP)

        answered = {tuple(line.split()[1:3]) for line in scan.splitlines() if not line.startswith("#")}
        self.assertEqual({kind for kind, _ in printed}, {"ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256"})
        self.assertEqual(answered, printed)

    def test_stop_and_start_keep_disk_and_keys(self) -> None:
        key = self.lab.on("one", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        self.lab.on("one", "touch", "/etc/kept")

        self.lab.do("machine", "stop", "one")
        stopped = self.lab.state("one")
        self.lab.do("machine", "start", "one")
        self.lab.wait("one")

        self.assertEqual(stopped, "off")
        self.lab.on("one", "test", "-e", "/etc/kept")
        self.assertEqual(self.lab.on("one", "cat", "/etc/ssh/ssh_host_ed25519_key.pub"), key)

    def test_reboot_boots_again(self) -> None:
        before = self.boot_id()

        self.reboot()

        self.assertNotEqual(before, self.boot_id())
        eventually(lambda: self.lab.reach("operator", IP, 22) == "open")

    def test_power_loss_keeps_the_disk(self) -> None:
        self.lab.on("one", "touch", "/etc/before-the-crash")

        self.lab.do("fault", "crash", "one")
        crashed = self.lab.state("one")
        self.lab.do("machine", "start", "one")
        self.lab.wait("one")

        self.assertEqual(crashed, "off")
        self.lab.on("one", "test", "-e", "/etc/before-the-crash")

    def test_a_machine_may_switch_itself_off(self) -> None:
        self.lab.call("machine", "exec", "one", "systemctl", "poweroff")

        eventually(lambda: self.lab.state("one") == "off")

        self.lab.do("machine", "start", "one")
        self.lab.wait("one")

    def test_a_cut_cable_is_silent_until_healed(self) -> None:
        self.lab.do("fault", "cut", "one")
        cut = self.lab.reach("operator", IP, 22)
        self.lab.do("fault", "heal", "one")

        self.assertEqual(cut, "silent")
        eventually(lambda: self.lab.reach("operator", IP, 22) == "open")

    def test_a_frozen_machine_takes_connections_and_says_nothing(self) -> None:
        banner = f"import socket; s = socket.create_connection(('{IP}', 22), 2); s.settimeout(0.6); print(s.recv(4))"

        self.lab.do("fault", "freeze", "one")
        state, frozen = self.lab.state("one"), self.lab.call("exec", "--", "python3", "-c", banner)
        self.lab.do("fault", "thaw", "one")
        thawed = self.lab.call("exec", "--", "python3", "-c", banner)

        self.assertEqual(state, "frozen")
        self.assertIn("TimeoutError", frozen.stderr)
        self.assertEqual(thawed.stdout.strip(), "b'SSH-'")

    def test_a_full_disk_takes_nothing_until_emptied(self) -> None:
        self.lab.do("fault", "fill", "one", "/var/lib")
        full = self.lab.call("machine", "exec", "one", "cp", "/etc/hostname", "/var/lib/one-more")
        readable = self.lab.on("one", "cat", "/var/lib/cloud/data/instance-id")
        self.lab.do("fault", "unfill", "one", "/var/lib")

        self.assertIn("No space left on device", full.stderr)
        self.assertEqual(readable, "one")
        self.lab.on("one", "cp", "/etc/hostname", "/var/lib/one-more")

    def test_an_image_holds_what_was_on_the_disk_and_images_build_on_images(self) -> None:
        self.lab.on("one", "sh", "-c", "echo first >/etc/layer")
        self.lab.do("machine", "image", "ami-1", "one")
        self.another("two", "10.20.1.12", "ami-1")
        self.lab.on("two", "sh", "-c", "echo second >>/etc/layer")
        self.lab.do("machine", "image", "ami-2", "two")
        self.lab.do("machine", "copyimage", "ami-3", "ami-2")
        self.another("three", "10.20.1.13", "ami-3")

        self.assertEqual(self.lab.on("three", "cat", "/etc/layer"), "first\nsecond")
        keys = {self.lab.on(m, "cat", "/etc/ssh/ssh_host_ed25519_key.pub") for m in ("one", "two", "three")}
        self.assertEqual(len(keys), 3)

    def test_an_image_in_use_outlives_its_removal(self) -> None:
        self.lab.do("machine", "image", "ami-4", "one")
        self.another("four", "10.20.1.14", "ami-4")

        self.lab.do("machine", "rmimage", "ami-4")
        files = self.lab.dir / "images" / "ami-4" / "upper"
        kept = files.exists()
        self.lab.do("machine", "down", "four")

        self.assertEqual((kept, files.exists()), (True, False))

    def test_every_verb_may_be_repeated(self) -> None:
        self.another("five", "10.20.1.15", "ami-base")
        for words in (("up", "five", "10.20.1.15", "ami-base"), ("start", "five"), ("stop", "five"), ("stop", "five")):
            self.lab.do("machine", *words)
        self.assertEqual(self.lab.state("five"), "off")
        for _ in range(2):
            self.lab.do("machine", "down", "five")
        self.assertEqual(self.lab.state("five"), "gone")

    def test_an_unknown_machine_is_an_error_with_its_name(self) -> None:
        refused = self.lab.call("machine", "start", "nobody")

        self.assertEqual((refused.returncode, refused.stderr), (1, "error: start: no machine `nobody`\n"))


class Saved(InLab):
    """A saved state comes back: disks, who ran, what is allowed."""

    @classmethod
    def prepare(cls) -> None:
        cls.lab.put(groups={"sg-all": {"ingress": [ANYTHING], "egress": [ANYTHING]}})
        cls.lab.declare("one", IP, "vpc-a", ["sg-all"])
        cls.lab.boot("one", IP)

    def test_restore_brings_back_machines_disks_and_network(self) -> None:
        self.lab.on("one", "sh", "-c", "echo saved >/etc/state")
        self.lab.do("save", "middle")
        self.lab.on("one", "sh", "-c", "echo changed >/etc/state")
        self.lab.boot("late", "10.20.1.12")
        self.lab.put(groups={})

        self.lab.do("restore", "middle")
        self.lab.wait("one")

        self.assertEqual(self.lab.on("one", "cat", "/etc/state"), "saved")
        self.assertEqual(self.lab.state("late"), "gone")
        eventually(lambda: self.lab.reach("operator", IP, 22) == "open")

    def test_a_saved_state_is_not_overwritten(self) -> None:
        self.lab.do("save", "once")

        again = self.lab.call("save", "once")

        self.assertEqual(again.returncode, 1)
        self.assertIn("error: a saved state once exists", again.stderr)


if __name__ == "__main__":
    unittest.main()
