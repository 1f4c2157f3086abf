//! The script that looks, and what it saw.
//!
//! It writes lines of a family, a blank and what was found. Only whole files and tables are written, never a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::compliance::catalogue::{Catalogue, Check};
use crate::node::{Question, quote};

/// The name of this question in a census.
pub const QUESTION: &str = "compliance";

/// How much a check may cost the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// A dozen processes, no walk over the file system.
    Quick,
    /// Also the walks: seconds on a slow disk.
    Deep,
}

/// What families of facts there are, before those of [`Depth::Deep`].
const QUICK: &str = r#"lines() { sed -n -e 's/[[:space:]]*$//' -e "/^[[:space:]]*[^#;[:space:]]/s|^[[:space:]]*|$1 |p"; }
some() { for file; do [ ! -f "$file" ] || cat "$file"; done; }
/usr/sbin/sshd -T 2>/dev/null | sed 's/^/sshd /'
systemd-analyze cat-config sysctl.d 2>/dev/null | lines sysctl-file
some /etc/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf /run/modprobe.d/*.conf | lines modprobe
sed 's/ .*//; s/^/module /' /proc/modules 2>/dev/null
some /etc/security/pwquality.conf.d/*.conf /etc/security/pwquality.conf | lines pwquality
some /etc/security/faillock.conf | lines faillock
some /etc/login.defs | lines login.defs
some /etc/audit/auditd.conf | lines auditd
some /etc/audit/rules.d/*.rules | lines audit-rule
auditctl -s 2>/dev/null | sed 's/^/audit-status /'
some /etc/pam.d/system-auth | lines system-auth
some /etc/pam.d/password-auth | lines password-auth
some /etc/profile.d/*.sh | grep TMOUT | lines idle
for file in /etc/bashrc /etc/csh.cshrc /etc/profile; do
  [ ! -f "$file" ] || grep -E '^[[:space:]]*umask[[:space:]]' "$file" | sed "s|^[[:space:]]*umask[[:space:]]*|umask $file |"
done
echo "fips $(cat /proc/sys/crypto/fips_enabled 2>/dev/null)"
echo "crypto-policy $(update-crypto-policies --show 2>/dev/null)"
rpm -q --qf 'package %{NAME}\n' audit crypto-policies crypto-policies-scripts 2>/dev/null | grep '^package [^ ]*$'
echo "auditd-enabled $(systemctl is-enabled auditd.service 2>/dev/null)"
echo "auditd-active $(systemctl is-active auditd.service 2>/dev/null)"
echo "issue $(sed -n '/[^[:space:]]/p' /etc/issue 2>/dev/null | wc -w)"
stat -c 'mode %a %u %g %n' /etc/audit/*.conf /etc/audit/rules.d/*.rules /etc/ssh/ssh_host_*key /etc/ssh/ssh_host_*.pub 2>/dev/null
"#;

/// The walks. Containers' own files are no part of the host.
const DEEP: &str = r#"local_roots() {
  awk '$3 ~ /^(ext[234]|xfs|btrfs|tmpfs|vfat)$/ || $2 == "/" { print $2 }' /proc/self/mounts | sort -u |
    grep -v -E '^/(proc|sys|dev|run/k3s|run/user|run/credentials|var/lib/(rancher|kubelet))(/|$)'
}
echo "walked yes"
find /usr/bin /usr/sbin /usr/libexec /usr/local/bin /usr/local/sbin -xdev -type f -perm /022 2>/dev/null |
  head -n 20 | sed 's/^/writable-command /'
find /usr/lib /usr/lib64 -xdev -type f -perm /022 2>/dev/null | head -n 20 | sed 's/^/writable-library /'
for root in $(local_roots); do
  find "$root" -xdev \( -path /var/lib/rancher -o -path /var/lib/kubelet -o -path /run/k3s -o -path /proc \) -prune -o \
    -type d -perm -0002 ! -perm -1000 -print 2>/dev/null
done | head -n 20 | sed 's/^/open-folder /'
awk -F: '$3 >= 1000 && $3 < 65534 && $7 !~ /(nologin|false)$/ { print $6 }' /etc/passwd | while read -r home; do
  [ ! -d "$home" ] || find "$home" -maxdepth 0 -perm /027 | sed 's/^/open-home /'
done
"#;

/// What the kernel was and will be started with; files and units are put after it, by name.
const STATE: &str = r#"echo "state yes"
sed 's/^/cmdline /' /proc/cmdline
for entry in /boot/loader/entries/*.conf; do [ ! -r "$entry" ] || sed -n 's/^options[[:space:]]*/boot-entry /p' "$entry"; done
if [ -r /boot/grub2/grubenv ]; then sed -n 's/^kernelopts=/kernelopts /p' /boot/grub2/grubenv; fi
"#;

/// What published rules beyond the role's ask for.
const SYSTEM: &str = r#"echo "system yes"
rpm -qa --qf 'rpm %{NAME}\n' 2>/dev/null && echo "rpms yes"
awk '{ print "mounted " $5 " " $6 }' /proc/self/mountinfo
awk '$1 !~ /^#/ && NF >= 4 { print "fstab " $2 " " $4 }' /etc/fstab 2>/dev/null
awk -F: '{ print "passwd " $1 ":" $3 ":" $4 ":" $6 ":" $7 }' /etc/passwd
awk -F: '{ print "group " $1 ":" $3 }' /etc/group
# Of a password only by what it is made, never itself.
awk -F: '{ kind = $2 == "" ? "empty" : $2 ~ /^[!*]/ ? "locked" : $2 ~ /^[$]/ ? substr($2, 1, index(substr($2, 2), "$") + 1) : "other"
  print "shadow " $1 ":" kind ":" $4 ":" $5 }' /etc/shadow
awk -F: '$3 >= 1000 && $3 < 65534 && $7 !~ /(nologin|false)$/ { print $6 }' /etc/passwd | while read -r home; do
  [ -z "$home" ] || stat -c 'home %g %n' "$home" 2>/dev/null
done
some /etc/sudoers /etc/sudoers.d/* | lines sudoers
some /etc/yum.repos.d/*.repo | grep -i -E '^[[:space:]]*(\[|gpgcheck)' | sed 's/^[[:space:]]*/repository /'
some /etc/dnf/dnf.conf | grep -i '^[[:space:]]*gpgcheck' | sed 's/^[[:space:]]*/repository-default /'
for root in $(local_roots); do
  find "$root" -xdev -ignore_readdir_race \( -path /var/lib/rancher -o -path /var/lib/kubelet -o -path /run/k3s -o -path /proc \) \
    -prune -o \( \( -nouser -printf 'unowned %p\n' \) , \( -nogroup -printf 'ungrouped %p\n' \) , \
    \( \( -name .shosts -o -name shosts.equiv \) -printf 'shosts %p\n' \) \) 2>/dev/null
  echo "whole-walk $?"
done | awk 'seen[$1]++ < 20'
echo "default-target $(systemctl get-default 2>/dev/null)"
grep -q -w -m 1 nx /proc/cpuinfo && echo "cpu nx"
echo "selinux $(getenforce 2>/dev/null)"
auditctl -l 2>/dev/null | sed 's/^/audit-loaded /'
[ ! -d /sys/bus/usb/devices ] || ls /sys/bus/usb/devices | sed 's/^/usb /'
"#;

/// A line for each name of a unit: an alias is known by the unit that it stands for.
const UNITS: &str = r#"2>/dev/null | awk -F= '
function tell(  names, count, at) {
  count = split(said["Names"], names, " ")
  for (at = 1; at <= count; at++) print "unit " names[at] " " said["LoadState"] " " said["ActiveState"] " " said["UnitFileState"]
  split("", said)
}
/^$/ { tell(); next }
{ said[$1] = $2 }
END { tell() }'"#;

impl Catalogue {
    /// What a census asks.
    pub fn question(&self) -> Question {
        Question { name: QUESTION, script: self.script(Depth::Quick) }
    }

    /// The script as a whole; it runs as root and changes nothing.
    pub fn script(&self, depth: Depth) -> String {
        if self.is_empty() {
            return "exit 0".to_owned();
        }
        let mut text = QUICK.to_owned();
        let Asked { keys, paths, units, files } = self.asked();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "grep -s -H '' /dev/null{keys} | sed 's/:/ /; s/^/sysctl /'\n\
             for file in{keys}; do [ -e \"$file\" ] || echo \"absent $file\"; done"
        );
        let _ = writeln!(text, "stat -c 'mode %a %u %g %n' --{paths} 2>/dev/null");
        let _ = writeln!(text, "for file in{paths}; do [ -e \"$file\" ] || echo \"absent $file\"; done");
        if !units.is_empty() {
            text.push_str(STATE);
            let _ = writeln!(text, "for file in{files}; do some \"$file\" | lines \"key $file\"; done");
            let _ =
                writeln!(text, "systemctl show --property=Names,LoadState,UnitFileState,ActiveState --{units} {UNITS}");
        }
        if depth == Depth::Deep {
            text.push_str(DEEP);
            if !units.is_empty() {
                text.push_str(SYSTEM);
            }
        }
        text.push_str("echo \"end yes\"\nexit 0");
        text
    }

    /// What of the rules goes into the script by name.
    fn asked(&self) -> Asked {
        let (mut keys, mut paths, mut units, mut files) = (String::new(), String::new(), String::new(), String::new());
        for rule in &self.rules {
            // Writing to a String cannot fail.
            match &rule.check {
                Check::Sysctl { key, .. } => {
                    let _ = write!(keys, " {}", quote(&parameter_path(key)));
                }
                Check::Mode { path, .. } | Check::Owner { path, .. } | Check::File { path, .. }
                    if !has_word(&paths, &quote(path)) =>
                {
                    let _ = write!(paths, " {}", quote(path));
                }
                Check::Unit { name, .. } | Check::UnitIfThere { name } => {
                    let _ = write!(units, " {}", quote(name));
                }
                Check::Key { path, .. } | Check::Line { path, .. } if !has_word(&files, &quote(path)) => {
                    let _ = write!(files, " {}", quote(path));
                }
                Check::Sshd { .. }
                | Check::Mode { .. }
                | Check::Owner { .. }
                | Check::File { .. }
                | Check::Key { .. }
                | Check::Line { .. }
                | Check::Fact(_)
                | Check::Package { .. }
                | Check::KernelArgument { .. }
                | Check::Mount { .. }
                | Check::Desktop
                | Check::NoUsb
                | Check::Unchecked { .. }
                | Check::Module { .. }
                | Check::Setting { .. }
                | Check::AuditLines { .. }
                | Check::Single(_)
                | Check::Unwritten => {}
            }
        }
        Asked { keys, paths, units, files }
    }
}

fn has_word(words: &str, word: &str) -> bool {
    words.split(' ').any(|one| one == word)
}

/// Words for the shell, a blank before each.
struct Asked {
    keys: String,
    paths: String,
    units: String,
    files: String,
}

/// The file of a kernel parameter.
pub(super) fn parameter_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

/// Owner, group and mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileMode {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What a node showed, by family.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    families: BTreeMap<&'a str, Vec<&'a str>>,
    pub modes: BTreeMap<&'a str, FileMode>,
}

impl<'a> Seen<'a> {
    pub fn read(text: &'a str) -> Self {
        let mut seen = Self::default();
        for line in text.lines() {
            let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
            match family {
                "mode" => seen.modes.extend(file_mode(rest)),
                _ => seen.families.entry(family).or_default().push(rest),
            }
        }
        seen
    }

    pub fn all(&self, family: &str) -> &[&'a str] {
        self.families.get(family).map_or(&[], Vec::as_slice)
    }

    pub fn first(&self, family: &str) -> &'a str {
        self.all(family).first().copied().unwrap_or_default()
    }

    /// The value of `key` in a family of `key value` or `key = value` lines: the last one, as most files are read.
    pub fn last_value(&self, family: &str, key: &str) -> Option<&'a str> {
        self.all(family).iter().rev().find_map(|line| value_of(line, key))
    }

    /// The value of `key` where the first one counts, as in sshd.
    pub fn first_value(&self, family: &str, key: &str) -> Option<&'a str> {
        self.all(family).iter().find_map(|line| value_of(line, key))
    }

    /// Whether a whole line stands in a family, blanks aside.
    pub fn has_line(&self, family: &str, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.all(family).iter().any(|seen| seen.split_whitespace().eq(words.iter().copied()))
    }

    pub fn packages(&self) -> BTreeSet<&'a str> {
        self.all("package").iter().copied().collect()
    }
}

/// The rest of `line` when it starts with the key, in whatever case.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let end = line.find(|letter: char| letter.is_whitespace() || letter == '=').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let is_it = name.trim_start_matches('-').eq_ignore_ascii_case(key);
    is_it.then(|| rest.trim_start().trim_start_matches('=').trim())
}

fn file_mode(line: &str) -> Option<(&str, FileMode)> {
    let mut words = line.splitn(4, ' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    let (uid, gid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((words.next()?, FileMode { mode, uid, gid }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_however_its_file_writes_it() {
        let seen = Seen::read(
            "sshd permitrootlogin no\nauditd freq = 100\nfaillock even_deny_root\nsysctl-file -a.b=1\nsysctl-file a.b = 2\n",
        );

        assert_eq!(seen.first_value("sshd", "PermitRootLogin"), Some("no"));
        assert_eq!(seen.last_value("auditd", "freq"), Some("100"));
        assert_eq!(seen.last_value("faillock", "even_deny_root"), Some(""));
        assert_eq!(seen.last_value("sysctl-file", "a.b"), Some("2"));
        assert_eq!(seen.last_value("auditd", "fre"), None);
    }

    #[test]
    fn a_file_is_known_by_its_mode_and_owner() {
        let seen = Seen::read("mode 644 0 0 /etc/passwd\nmode nonsense\n");

        assert_eq!(seen.modes.get("/etc/passwd"), Some(&FileMode { mode: 0o644, uid: 0, gid: 0 }));
    }
}
