"""What the role os_hardening makes of machines of the lab that are as a fresh Rocky Linux is, and worse, under both profiles; then
the seal of an image. Started by `tests/role-in-lab`, which brings the machines up."""

import itertools
import json
import os
import pathlib
import re
import subprocess
import time
import unittest

ROOT = pathlib.Path(__file__).parents[1]
LAB = os.environ["SRE_TEST_LAB"]
DIR = pathlib.Path(os.environ["SRE_TEST_DIR"])
MACHINES = {"stig-1": "10.20.1.11", "cis-1": "10.20.1.12"}
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
TASK = re.compile(r"^(TASK \[.*?\]|changed: \[.*)", re.MULTILINE)

# Files of packages that the lab does not have, and what the rules do not want.
WORSE = """
set -e
useradd --create-home --user-group --uid 2000 person
dnf install -qy telnet iprutils >/dev/null
mkdir -p /etc/postfix /etc/sysconfig /boot/grub2 /var/log/audit
printf '[defaults]\\nmoduledir = /usr/lib64/libuser\\n' >/etc/libuser.conf
printf 'OPTIONS="-F 2"\\n' >/etc/sysconfig/chronyd
printf 'CRYPTO_POLICY=\\n' >/etc/sysconfig/sshd
printf 'inet_interfaces = all\\n' >/etc/postfix/main.cf
printf 'C /root/.bashrc 0644 root root - /usr/share/rootfiles/.bashrc\\n' >/usr/lib/tmpfiles.d/rootfiles.conf
touch /etc/cron.deny /boot/grub2/grub.cfg /boot/grub2/user.cfg
chmod 0644 /boot/grub2/*.cfg
printf 'session optional pam_succeed_if.so uid >= 0 quiet\\n' >>/etc/pam.d/sudo
install -m 0644 /dev/null /var/log/audit/audit.log.1
install -m 0644 /dev/null /var/log/tool.log
install -m 0755 -o person -g person /bin/true /usr/local/bin/tool
install -d -m 0777 -o person -g person /usr/lib/tool /srv/drop
install -m 0644 -o person -g person /dev/null /usr/lib/tool/part.so
chmod 0644 /home/person/.bashrc
grubby --update-kernel=ALL --args=enforcing=0
"""


def on(machine: str, script: str) -> str:
    done = subprocess.run([LAB, "machine", "exec", machine, "bash", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{machine}: `{script}` ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def booted_anew(machine: str) -> None:
    which = "cat /proc/sys/kernel/random/boot_id"
    look, before = f"{which}; systemctl is-system-running --wait", on(machine, which)
    subprocess.run([LAB, "machine", "reboot", machine], check=True)
    until = time.monotonic() + 120
    while True:
        done = subprocess.run([LAB, "machine", "exec", machine, "bash", "-c", look], capture_output=True, text=True, check=False)
        boot, _, state = done.stdout.partition("\n")
        if f"{boot}\n" != before and state.strip() in ("running", "degraded"):
            return
        if time.monotonic() > until:
            raise AssertionError(f"{machine} does not come up: {done.stdout}{done.stderr}")
        time.sleep(0.2)


def play(roles: list[str], *options: str, **variables) -> tuple[dict[str, int], str]:
    """Plays these roles on both machines as `rocky`; every host came through. How many tasks changed each, and what was said."""
    hosts = {
        name: {"ansible_host": address, "os_hardening_profile": name.removesuffix("-1")} for name, address in MACHINES.items()
    }
    (DIR / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    book = [{"hosts": "all", "become": True, "roles": [{"role": role} for role in roles]}]
    (DIR / "play.yml").write_text(json.dumps(book))
    # The seal takes the host keys away: what comes after it goes over the connection that is there.
    ssh = "-o ControlMaster=auto -o ControlPersist=600s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    config = {"ANSIBLE_CONFIG": ROOT / "ansible/ansible.cfg", "ANSIBLE_ROLES_PATH": ROOT / "ansible/roles", "ANSIBLE_NOCOLOR": 1,
              "ANSIBLE_SSH_ARGS": ssh, "ANSIBLE_SSH_CONTROL_PATH_DIR": DIR / "cp", "ANSIBLE_FORKS": 2}
    call = ("ansible-playbook", "-i", str(DIR / "hosts.json"), "--user", "rocky", "--private-key", str(DIR / "key"),
            "--extra-vars", json.dumps(variables), *options, str(DIR / "play.yml"))
    settings = [f"{name}={value}" for name, value in config.items()]
    done = subprocess.run([LAB, "exec", "--", "env", *settings, *call], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise AssertionError(said[-6000:])
    recap = {host: [int(count) for count in counts] for host, *counts in RECAP.findall(said)}
    if recap.keys() != MACHINES.keys() or any(failed or lost for _, _, lost, failed in recap.values()):
        raise AssertionError(said[-6000:])
    words = TASK.findall(said)
    changes = [f"{before} {word}" for before, word in itertools.pairwise(words) if word.startswith("changed")]
    return {host: changed for host, (_, changed, *_) in recap.items()}, "\n".join(changes)


# One of each profile stays as it is.
WAIVERS = {"RHEL-09-252025": "the nodes serve time", "CIS-2.3.3": "chronyd changes its user by itself"}
IMAGE = {"os_hardening_install": True, "os_hardening_audit_load": False}


class Role(unittest.TestCase):
    """In the order of their names: each goes on from the machines as the one before has left them."""

    def unchanged(self, played: tuple[dict[str, int], str]) -> None:
        changed, what = played
        self.assertEqual({host: 0 for host in MACHINES}, changed, what)

    def has(self, machine: str, path: str, *lines: str) -> None:
        there = on(machine, f"cat {path}").splitlines()
        self.assertEqual([], [line for line in lines if line not in there], f"{path} of {machine}:\n" + "\n".join(there))

    def test_1_it_comes_through_and_a_second_run_and_a_check_change_nothing(self):
        for machine in MACHINES:
            on(machine, WORSE)
        waived = {machine: {rule: why for rule, why in WAIVERS.items() if rule.startswith(prefix)}
                  for machine, prefix in (("stig-1", "RHEL-"), ("cis-1", "CIS-"))}
        options = {**IMAGE, "os_hardening_waivers": "{{ waived[inventory_hostname] }}", "waived": waived}

        first, _ = play(["os_hardening"], **options)
        again = play(["os_hardening"], **options)
        checked = play(["os_hardening"], "--check", **options)
        live = play(["os_hardening"], os_hardening_live=True, **options)

        self.assertTrue(all(count > 20 for count in first.values()), first)
        self.unchanged(again)
        self.unchanged(checked)
        self.unchanged(live)

    def test_2_what_the_stig_wants_is_there(self):
        self.has("stig-1", "/etc/chrony.conf", "cmdport 0")
        self.has("stig-1", "/etc/pam.d/su", "auth required pam_wheel.so use_uid")
        self.assertNotIn("pam_succeed_if", on("stig-1", "cat /etc/pam.d/sudo"))
        self.has("stig-1", "/etc/libuser.conf", "crypt_style = sha512")
        self.has("stig-1", "/etc/rsyslog.conf", "auth.*;authpriv.*;daemon.* /var/log/secure", "cron.* /var/log/cron")
        stack = on("stig-1", "grep ^password /etc/authselect/custom/os-hardening/password-auth")
        self.assertRegex(stack, r"(?m)^password\s+required\s+pam_pwquality\.so")
        self.assertRegex(stack, r"(?m)^password\s+sufficient\s+pam_unix\.so sha512 rounds=100000 shadow")
        self.assertIn("/var/log/faillock(/.*)?", on("stig-1", "semanage fcontext --list -C"))
        self.has("stig-1", "/etc/tmpfiles.d/rootfiles.conf", "C /root/.bashrc 0600 root root - /usr/share/rootfiles/.bashrc")
        self.assertEqual("FIPS\n", on("stig-1", "update-crypto-policies --show"))
        modes = on("stig-1", "stat -c '%a %U %G %n' /usr/local/bin/tool /usr/lib/tool /usr/lib/tool/part.so /srv/drop "
                             "/var/log/audit/audit.log.1 /home/person/.bashrc")
        self.assertEqual(["755 root root /usr/local/bin/tool", "1755 root root /usr/lib/tool", "644 root root /usr/lib/tool/part.so",
                          "1777 root person /srv/drop",
                          "600 root root /var/log/audit/audit.log.1", "640 person person /home/person/.bashrc"],
                         modes.splitlines())
        packages = on("stig-1", "rpm -qa --queryformat '%{NAME}\\n'").splitlines()
        self.assertTrue({"aide", "rsyslog", "s-nail", "telnet"} <= set(packages), packages)
        self.assertNotIn("iprutils", packages)

    def test_3_what_cis_wants_is_there(self):
        self.assertEqual("DEFAULT:NO-SHA1:NO-SSHCBC:NO-SSHETM:NO-WEAKMAC\n", on("cis-1", "update-crypto-policies --show"))
        self.has("cis-1", "/etc/crypto-policies/policies/modules/NO-SSHETM.pmod", "etm@SSH = DISABLE_ETM")
        self.assertIn("\nmacs hmac-sha2-256,hmac-sha2-512\n", on("cis-1", "sshd -T"))
        self.has("cis-1", "/etc/pam.d/su", "auth required pam_wheel.so use_uid group=sugroup")
        self.assertRegex(on("cis-1", "cat /etc/group"), r"(?m)^sugroup:[^:]*:\d+:$")
        self.has("cis-1", "/etc/postfix/main.cf", "inet_interfaces = loopback-only")
        self.has("cis-1", "/etc/rsyslog.conf", "$FileCreateMode 0640")
        self.has("cis-1", "/etc/security/pwhistory.conf", "remember = 24", "enforce_for_root")
        self.has("cis-1", "/etc/systemd/journald.conf.d/os-hardening.conf", "ForwardToSyslog=yes")
        self.assertEqual("", on("cis-1", "cat /etc/sysconfig/sshd /etc/cron.allow; ls /etc/cron.deny 2>/dev/null || :"))
        self.assertIn("with-pwhistory", on("cis-1", "authselect current --raw"))
        self.assertNotIn("enforcing=0", on("cis-1", "grubby --info=ALL"))
        modes = on("cis-1", "stat -c %a /var/log/tool.log /boot/grub2/grub.cfg /boot/grub2/user.cfg")
        self.assertEqual(["640", "600", "600"], modes.splitlines())
        self.assertNotIn("telnet\n", on("cis-1", "rpm -qa --queryformat '%{NAME}\\n'"))

    def test_4_waivers_are_kept_one_by_one_and_recorded(self):
        self.assertNotIn("\nport 0", on("stig-1", "cat /etc/chrony.conf"))
        self.has("cis-1", "/etc/sysconfig/chronyd", 'OPTIONS="-F 2"')
        for machine, rule in (("stig-1", "RHEL-09-252025"), ("cis-1", "CIS-2.3.3")):
            record = json.loads(on(machine, "cat /etc/sre-hardening.json"))
            self.assertEqual(WAIVERS[rule], record["not_applied"][rule])
            self.assertNotIn(rule, record["applied"])
        self.assertTrue({"RHEL-09-651010", "RHEL-09-252030"} <= set(json.loads(on("stig-1", "cat /etc/sre-hardening.json"))["applied"]))

    def test_5_after_a_boot_the_stage_finds_nothing_to_repair(self):
        for machine in MACHINES:  # arguments of the kernel hold from then on
            booted_anew(machine)

        call = (os.environ["SRE_TEST_BINARY"], "--ignored", "--nocapture", "the_stage_finds_nothing_to_repair_after_the_role")
        done = subprocess.run([LAB, "exec", "--", *call], capture_output=True, text=True, check=False)
        print(*[line for line in done.stdout.splitlines() if "rules pass" in line], sep="\n")
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def test_6_an_image_is_sealed_with_a_database_of_aide_and_a_second_seal_changes_nothing(self):
        self.has("stig-1", "/etc/aide.conf", "WATCHED = p+u+g+ftype+selinux+sha512+acl+xattrs", "!/var/lib/rancher", "/etc WATCHED",
                 "/usr/sbin/auditctl p+i+n+u+g+s+b+acl+xattrs+sha512")
        self.assertEqual("", on("stig-1", "ls /var/lib/aide 2>/dev/null || :; /etc/cron.daily/os-hardening-aide"))

        for machine in MACHINES:  # what a machine without a service for metadata is given from outside
            on(machine, "umount /var/lib/cloud/seed/nocloud-net")

        sealed, _ = play(["image_seal"])
        again = play(["image_seal"])

        self.assertTrue(all(sealed.values()), sealed)
        self.unchanged(again)
        for machine in MACHINES:
            self.assertIn("NO differences", on(machine, "/usr/sbin/aide --check"))
            self.assertEqual("", on(machine, "/etc/cron.daily/os-hardening-aide"))
            self.assertIn("found differences", on(machine, "echo '# more' >>/etc/shells; /etc/cron.daily/os-hardening-aide"))
