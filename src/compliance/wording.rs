//! What published rules want, from the small language of `data/README.md` to checks.

use crate::compliance::catalogue::{Check, Fact, Whose};
use crate::compliance::published::{Applies, Published};

impl Published {
    /// The checks that decide the rule together, where all it wants can be told by looking.
    pub(super) fn checks(&self) -> Option<Vec<Check>> {
        if self.applies == Applies::GuiOnly {
            return Some(vec![Check::Desktop]);
        }
        if self.area == "services" && self.applies == Applies::CloudException && self.wanted.contains("usbguard") {
            return Some(vec![Check::NoUsb]);
        }
        // Whether it is there is the other half of such a rule.
        if self.applies == Applies::NaIfAbsent {
            return None;
        }
        let plain = without_remarks(&self.wanted);
        let conjuncts = plain.split("; ").map(str::trim).filter(|part| !part.is_empty());
        let checks: Vec<Vec<Check>> = conjuncts.map(one).collect::<Option<_>>()?;
        (!checks.is_empty()).then(|| checks.concat())
    }
}

/// `service rngd enabled (NA in FIPS mode)` without what is in parentheses.
fn without_remarks(text: &str) -> String {
    let (mut plain, mut depth) = (String::new(), 0_u32);
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn one(conjunct: &str) -> Option<Vec<Check>> {
    let words: Vec<&str> = conjunct.split(' ').collect();
    let check = match words[..] {
        ["package", name, "installed"] => Check::Package { name: name.to_owned(), installed: true },
        ["package", name, "absent"] => Check::Package { name: name.to_owned(), installed: false },
        ["service", name, "enabled"] => Check::Unit { name: unit(name, "service"), runs: true },
        ["socket", name, "active"] => Check::Unit { name: unit(name, "socket"), runs: true },
        ["service", name, "disabled", ..] => Check::Unit { name: unit(name, "service"), runs: false },
        ["socket", name, "disabled", ..] => Check::Unit { name: unit(name, "socket"), runs: false },
        [name, "disabled", "and", "masked"] if name.ends_with(".target") => {
            Check::Unit { name: name.to_owned(), runs: false }
        }
        ["kernel", "arg", name, "absent"] => Check::KernelArgument { argument: name.to_owned(), present: false },
        ["kernel", "arg", argument] => Check::KernelArgument { argument: argument.to_owned(), present: true },
        ["mount", path, option] => Check::Mount { path: path.to_owned(), option: Some(option.to_owned()) },
        ["separate", "filesystem", path] => Check::Mount { path: path.to_owned(), option: None },
        [path, setting] if is_file(path) && setting.contains('=') => {
            let (key, value) = setting.split_once('=')?;
            Check::Key { path: path.to_owned(), key: key.to_owned(), value: value.to_owned() }
        }
        ["/etc/yum.repos.d/*.repo", "gpgcheck=1"] => Check::Fact(Fact::RepositoriesSigned),
        [path, state @ ("exists" | "absent")] if is_file(path) => {
            Check::File { path: path.to_owned(), exists: state == "exists" }
        }
        [ref paths @ .., "mode", "<=", limit] => return modes(paths, limit),
        [ref paths @ .., "owner", "0" | "root"] => return owners(paths, Whose::User),
        [ref paths @ .., "group", "0" | "root"] => return owners(paths, Whose::Group),
        ["sysctl", setting] => {
            let (key, value) = setting.split_once('=')?;
            Check::Sysctl { key: key.to_owned(), value: value.to_owned() }
        }
        _ => Check::Fact(fact(conjunct)?),
    };
    let mut checks = vec![check];
    // What the file says holds at the next boot; whether it holds now is another question.
    if conjunct == "/etc/selinux/config SELINUX=enforcing" {
        checks.push(Check::Fact(Fact::SelinuxEnforces));
    }
    Some(checks)
}

/// One file, by its whole name.
fn is_file(path: &str) -> bool {
    path.starts_with('/') && !path.contains('*') && !path.trim_end_matches(':').ends_with(".d")
}

fn fact(conjunct: &str) -> Option<Fact> {
    Some(match conjunct {
        "unique UIDs" => Fact::UniqueUids,
        "unique GIDs" => Fact::UniqueGids,
        "every passwd GID exists in group" => Fact::GroupsExist,
        "only root has UID 0" => Fact::OnlyRootIsZero,
        "no blank password in /etc/shadow" => Fact::NoEmptyPassword,
        "all password hashes $6$" => Fact::Sha512Passwords,
        "/etc/shadow max age <= 60 for accounts with a password" => Fact::PasswordsExpire,
        "/etc/shadow min age >= 1" => Fact::PasswordsStay,
        "interactive users have a home in passwd" => Fact::HomesNamed,
        "interactive homes exist" => Fact::HomesExist,
        "home group = primary group" => Fact::HomesOfOwnGroup,
        "no file without valid owner" => Fact::NoUnownedFile,
        "no file without valid group" => Fact::NoUngroupedFile,
        "no shosts.equiv anywhere" | "no .shosts anywhere" => Fact::NoTrustedHosts,
        "sudoers: no !authenticate" => Fact::SudoAsks,
        "sudoers: no NOPASSWD" => Fact::SudoWantsPassword,
        "systemd default target multi-user.target" => Fact::TextTarget,
        "NX on" => Fact::NoExecute,
        _ => return None,
    })
}

/// A limit on files that are named one by one.
fn modes(paths: &[&str], limit: &str) -> Option<Vec<Check>> {
    let limit = u32::from_str_radix(limit, 8).ok()?;
    named(paths).then(|| paths.iter().map(|path| Check::Mode { path: (*path).to_owned(), limit }).collect())
}

fn owners(paths: &[&str], whose: Whose) -> Option<Vec<Check>> {
    named(paths).then(|| paths.iter().map(|path| Check::Owner { path: (*path).to_owned(), whose }).collect())
}

fn named(paths: &[&str]) -> bool {
    !paths.is_empty() && paths.iter().all(|path| path.starts_with('/') && !path.contains('*'))
}

fn unit(name: &str, kind: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{name}.{kind}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::HardeningProfile;

    fn checks(id: &str) -> Option<Vec<Check>> {
        let profile = if id.starts_with("CIS-") { HardeningProfile::Cis } else { HardeningProfile::Stig };
        let rules = Published::of(profile).expect("read");
        rules.iter().find(|rule| rule.id == id).expect("a rule").checks()
    }

    #[test]
    fn what_a_rule_wants_is_read_from_its_words() {
        let package = |name: &str, installed| Check::Package { name: name.to_owned(), installed };
        let unit = |name: &str, runs| Check::Unit { name: name.to_owned(), runs };
        let argument = |argument: &str, present| Check::KernelArgument { argument: argument.to_owned(), present };

        assert_eq!(checks("RHEL-09-215015"), Some(vec![package("vsftpd", false)]));
        assert_eq!(checks("RHEL-09-215090"), Some(vec![package("rng-tools", true)]));
        assert_eq!(checks("RHEL-09-252015"), Some(vec![unit("chronyd.service", true)]));
        assert_eq!(checks("RHEL-09-211035"), None, "it does not apply in FIPS mode");
        assert_eq!(checks("RHEL-09-211055"), Some(vec![unit("debug-shell.service", false)]));
        assert_eq!(checks("RHEL-09-211050"), Some(vec![unit("ctrl-alt-del.target", false)]));
        assert_eq!(checks("RHEL-09-212040"), Some(vec![argument("page_poison=1", true)]));
        assert_eq!(checks("RHEL-09-212015"), Some(vec![argument("systemd.confirm_spawn", false)]));
        let home = Check::Mount { path: "/home".to_owned(), option: Some("nodev".to_owned()) };
        assert_eq!(checks("RHEL-09-231045"), Some(vec![home]));
        assert_eq!(checks("RHEL-09-231010"), Some(vec![Check::Mount { path: "/home".to_owned(), option: None }]));
        assert_eq!(checks("RHEL-09-271040"), Some(vec![Check::Desktop]));
        assert_eq!(checks("RHEL-09-232035").map(|all| all.len()), Some(7));
        let enforcing = Check::Key {
            path: "/etc/selinux/config".to_owned(),
            key: "SELINUX".to_owned(),
            value: "enforcing".to_owned(),
        };
        assert_eq!(checks("RHEL-09-431010"), Some(vec![enforcing, Check::Fact(Fact::SelinuxEnforces)]));
        assert_eq!(checks("RHEL-09-411100"), Some(vec![Check::Fact(Fact::OnlyRootIsZero)]));
    }

    #[test]
    fn what_only_a_person_can_tell_has_no_check() {
        assert_eq!(checks("RHEL-09-411035"), None);
        assert_eq!(checks("RHEL-09-652055"), None);
        assert_eq!(checks("RHEL-09-211045"), None, "one of many files of a directory");
        assert_eq!(checks("CIS-1.2.1.4"), None);
    }
}
