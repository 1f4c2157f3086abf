//! Findings about accounts, about what they own, and about the system's state.

use std::collections::{BTreeMap, BTreeSet};

use crate::compliance::catalogue::Fact;
use crate::compliance::judge::{Verdict, passes};
use crate::compliance::observation::Seen;
use crate::compliance::report::Status;
use crate::compliance::system::looked;

/// Days after which a password must be changed, in the STIG.
const OLDEST: i64 = 60;
/// From here on an account is a person's.
const FIRST_PERSON: u32 = 1_000;
const NOBODY: u32 = 65_534;

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

impl Account<'_> {
    fn is_person(&self) -> bool {
        let can_log_in = !self.shell.ends_with("nologin") && !self.shell.ends_with("false");
        (FIRST_PERSON..NOBODY).contains(&self.uid) && can_log_in
    }
}

struct Password<'a> {
    name: &'a str,
    /// `empty`, `locked`, `$6$`, …
    kind: &'a str,
    least: Option<i64>,
    most: Option<i64>,
}

impl Password<'_> {
    /// Whether somebody can log in with it.
    fn is_real(&self) -> bool {
        self.kind != "locked" && self.kind != "empty"
    }
}

pub(super) fn fact(seen: &Seen<'_>, fact: Fact) -> Verdict {
    looked(seen, || match fact {
        Fact::UniqueUids => repeated(accounts(seen).into_iter().map(|one| (one.uid, one.name)), "/etc/passwd"),
        Fact::UniqueGids => repeated(groups(seen).into_iter(), "/etc/group"),
        Fact::GroupsExist => {
            let known: BTreeSet<u32> = groups(seen).into_iter().map(|(gid, _)| gid).collect();
            accounts_that(seen, |one| !known.contains(&one.gid))
        }
        Fact::OnlyRootIsZero => accounts_that(seen, |one| one.uid == 0 && one.name != "root"),
        Fact::NoEmptyPassword => passwords_that(seen, |one| one.kind == "empty"),
        Fact::Sha512Passwords => passwords_that(seen, |one| one.is_real() && one.kind != "$6$"),
        Fact::PasswordsExpire => {
            passwords_that(seen, |one| one.is_real() && !one.most.is_some_and(|days| (1..=OLDEST).contains(&days)))
        }
        Fact::PasswordsStay => passwords_that(seen, |one| one.is_real() && one.least.is_none_or(|days| days < 1)),
        Fact::HomesNamed => accounts_that(seen, |one| one.is_person() && !one.home.starts_with('/')),
        Fact::HomesExist => {
            let there = homes(seen);
            accounts_that(seen, |one| one.is_person() && !there.contains_key(one.home))
        }
        Fact::HomesOfOwnGroup => {
            let there = homes(seen);
            accounts_that(seen, |one| one.is_person() && there.get(one.home).is_some_and(|gid| *gid != one.gid))
        }
        Fact::NoUnownedFile => none_of(seen, "unowned"),
        Fact::NoUngroupedFile => none_of(seen, "ungrouped"),
        Fact::NoTrustedHosts => none_of(seen, "shosts"),
        Fact::SudoAsks => sudoers_without(seen, "!authenticate"),
        Fact::SudoWantsPassword => sudoers_without(seen, "NOPASSWD"),
        Fact::TextTarget => told(seen, "default-target", "multi-user.target"),
        Fact::NoExecute => {
            let is_off = seen.first("cmdline").split(' ').any(|word| word == "noexec=off");
            let has = seen.first("cpu") == "nx";
            let observed = format!("the processor {} it, `noexec=off` is {}", has_word(has), set_word(is_off));
            (passes(has && !is_off), observed, String::new())
        }
        Fact::SelinuxEnforces => told(seen, "selinux", "Enforcing"),
        Fact::AuditRulesLoaded => audit_rules_loaded(seen),
        Fact::RepositoriesSigned => repositories_signed(seen),
    })
}

fn has_word(has: bool) -> &'static str {
    if has { "has" } else { "does not tell of" }
}

fn set_word(is: bool) -> &'static str {
    if is { "set" } else { "not set" }
}

fn accounts<'a>(seen: &Seen<'a>) -> Vec<Account<'a>> {
    let read = |line: &&'a str| {
        let mut parts = line.split(':');
        Some(Account {
            name: parts.next()?,
            uid: parts.next()?.parse().ok()?,
            gid: parts.next()?.parse().ok()?,
            home: parts.next()?,
            shell: parts.next()?,
        })
    };
    seen.all("passwd").iter().filter_map(read).collect()
}

fn groups<'a>(seen: &Seen<'a>) -> Vec<(u32, &'a str)> {
    let read = |line: &&'a str| {
        let (name, gid) = line.split_once(':')?;
        Some((gid.parse().ok()?, name))
    };
    seen.all("group").iter().filter_map(read).collect()
}

fn passwords<'a>(seen: &Seen<'a>) -> Vec<Password<'a>> {
    let read = |line: &&'a str| {
        let mut parts = line.split(':');
        let (name, kind) = (parts.next()?, parts.next()?);
        let mut days = || parts.next().and_then(|days| days.parse().ok());
        Some(Password { name, kind, least: days(), most: days() })
    };
    seen.all("shadow").iter().filter_map(read).collect()
}

/// Home to its group.
fn homes<'a>(seen: &Seen<'a>) -> BTreeMap<&'a str, u32> {
    let read = |line: &&'a str| {
        let (gid, home) = line.split_once(' ')?;
        Some((home, gid.parse().ok()?))
    };
    seen.all("home").iter().filter_map(read).collect()
}

fn named(names: &[&str], of: &str) -> Verdict {
    match names {
        [] => (Status::Pass, format!("none in {of}"), String::new()),
        names => (Status::Fail, format!("{} in {of}", names.join(", ")), String::new()),
    }
}

/// A file that says nothing was not read: no evidence, no pass.
fn silent(of: &str) -> Verdict {
    (Status::Unknown, format!("nothing was read of {of}"), String::new())
}

fn accounts_that(seen: &Seen<'_>, is_wrong: impl Fn(&Account<'_>) -> bool) -> Verdict {
    let all = accounts(seen);
    let wrong: Vec<&str> = all.iter().filter(|one| is_wrong(one)).map(|one| one.name).collect();
    if all.is_empty() || all.len() != seen.all("passwd").len() {
        silent("/etc/passwd")
    } else {
        named(&wrong, "/etc/passwd")
    }
}

fn passwords_that(seen: &Seen<'_>, is_wrong: impl Fn(&Password<'_>) -> bool) -> Verdict {
    let all = passwords(seen);
    let wrong: Vec<&str> = all.iter().filter(|one| is_wrong(one)).map(|one| one.name).collect();
    if all.is_empty() || all.len() != seen.all("shadow").len() {
        silent("/etc/shadow")
    } else {
        named(&wrong, "/etc/shadow")
    }
}

fn repeated<'a>(all: impl Iterator<Item = (u32, &'a str)>, of: &str) -> Verdict {
    let (mut first, mut wrong) = (BTreeMap::new(), Vec::new());
    for (id, name) in all {
        if first.insert(id, name).is_some() {
            wrong.push(name);
        }
    }
    if first.is_empty() { silent(of) } else { named(&wrong, of) }
}

/// What a walk would have found.
fn none_of(seen: &Seen<'_>, family: &str) -> Verdict {
    match seen.all(family) {
        _ if seen.all("whole-walk").is_empty() || seen.all("whole-walk").iter().any(|code| *code != "0") => {
            (Status::Unknown, "the walk over the file systems did not come to its end".to_owned(), String::new())
        }
        [] => (Status::Pass, "none found".to_owned(), String::new()),
        found => (Status::Fail, found.join(", "), String::new()),
    }
}

fn sudoers_without(seen: &Seen<'_>, word: &str) -> Verdict {
    let lines = seen.all("sudoers");
    match lines.iter().find(|line| line.contains(word)) {
        _ if lines.is_empty() => silent("/etc/sudoers"),
        Some(line) => (Status::Fail, (*line).to_owned(), format!("no `{word}`")),
        None => (Status::Pass, format!("no `{word}` in {} lines", lines.len()), String::new()),
    }
}

/// A repository that does not say counts as dnf's own configuration says.
fn repositories_signed(seen: &Seen<'_>) -> Verdict {
    let is_on = |line: &str| {
        let (_, value) = line.split_once('=')?;
        Some(["1", "true", "yes"].contains(&value.trim().to_lowercase().as_str()))
    };
    let usual = seen.all("repository-default").iter().rev().find_map(|line| is_on(line)).unwrap_or(false);
    let mut repositories: Vec<(&str, Option<bool>)> = vec![];
    for line in seen.all("repository") {
        if line.starts_with('[') {
            repositories.push((line, None));
        } else if let Some(last) = repositories.last_mut() {
            last.1 = is_on(line);
        }
    }
    let unsigned: Vec<&str> =
        repositories.iter().filter(|(_, checks)| !checks.unwrap_or(usual)).map(|(name, _)| *name).collect();
    if repositories.is_empty() {
        silent("/etc/yum.repos.d")
    } else {
        named(&unsigned, "/etc/yum.repos.d without gpgcheck")
    }
}

/// The kernel writes rules in words of its own, so they are counted: as many as the files have.
fn audit_rules_loaded(seen: &Seen<'_>) -> Verdict {
    let is_rule = |line: &&&str| line.starts_with("-a ") || line.starts_with("-w ") || line.starts_with("-A ");
    let written = seen.all("audit-rule").iter().filter(is_rule).count();
    let loaded = seen.all("audit-loaded").iter().filter(is_rule).count();
    let observed = format!("{loaded} rules are loaded of {written} on disk");
    match loaded {
        0 if seen.all("audit-loaded").is_empty() => {
            (Status::Unknown, "`auditctl -l` says nothing of what is loaded".to_owned(), String::new())
        }
        _ => (passes(loaded >= written), observed, "the rules on disk are loaded".to_owned()),
    }
}

fn told(seen: &Seen<'_>, family: &str, wanted: &str) -> Verdict {
    match seen.first(family) {
        "" => (Status::Unknown, "the machine does not tell".to_owned(), wanted.to_owned()),
        found => (passes(found == wanted), found.to_owned(), wanted.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "system yes\nwhole-walk 0\npasswd root:0:0:/root:/bin/bash\npasswd ops:1000:1000:/home/ops:/bin/bash\n\
        group root:0\ngroup ops:1000\nshadow root:locked::99999\nshadow ops:$6$:1:60\nhome 1000 /home/ops\n\
        sudoers Defaults use_pty\ndefault-target multi-user.target\ncpu nx\ncmdline ro\nselinux Enforcing\n\
        audit-rule -a always,exit -S x\naudit-rule -e 2\naudit-loaded -a always,exit -S x\n\
        repository-default gpgcheck=1\nrepository [baseos]\nrepository gpgcheck=1\nrepository [appstream]\n";
    const ALL: [Fact; 21] = [
        Fact::UniqueUids,
        Fact::UniqueGids,
        Fact::GroupsExist,
        Fact::OnlyRootIsZero,
        Fact::NoEmptyPassword,
        Fact::Sha512Passwords,
        Fact::PasswordsExpire,
        Fact::PasswordsStay,
        Fact::HomesNamed,
        Fact::HomesExist,
        Fact::HomesOfOwnGroup,
        Fact::NoUnownedFile,
        Fact::NoUngroupedFile,
        Fact::NoTrustedHosts,
        Fact::SudoAsks,
        Fact::SudoWantsPassword,
        Fact::TextTarget,
        Fact::NoExecute,
        Fact::SelinuxEnforces,
        Fact::AuditRulesLoaded,
        Fact::RepositoriesSigned,
    ];

    fn status(text: &str, of: Fact) -> Status {
        fact(&Seen::read(text), of).0
    }

    #[test]
    fn a_machine_that_is_as_it_should_be_passes_each() {
        for of in ALL {
            assert_eq!(status(GOOD, of), Status::Pass, "{of:?}");
        }
    }

    #[test]
    fn each_fails_on_a_machine_that_is_not() {
        let worse = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            GOOD.replace(from, to)
        };
        let more = |line: &str| format!("{GOOD}{line}\n");
        let broken = [
            (Fact::UniqueUids, more("passwd too:1000:1000:/home/ops:/bin/bash")),
            (Fact::UniqueGids, more("group too:1000")),
            (Fact::GroupsExist, worse("group ops:1000", "group ops:1001")),
            (Fact::OnlyRootIsZero, more("passwd toor:0:0:/root:/bin/sh")),
            (Fact::NoEmptyPassword, worse("shadow ops:$6$", "shadow ops:empty")),
            (Fact::Sha512Passwords, worse("shadow ops:$6$", "shadow ops:$5$")),
            (Fact::PasswordsExpire, worse(":1:60", ":1:99999")),
            (Fact::PasswordsStay, worse(":1:60", ":0:60")),
            (Fact::HomesNamed, worse(":/home/ops:", "::")),
            (Fact::HomesExist, worse("home 1000 /home/ops\n", "")),
            (Fact::HomesOfOwnGroup, worse("home 1000 /home/ops", "home 0 /home/ops")),
            (Fact::NoUnownedFile, more("unowned /srv/a")),
            (Fact::NoUngroupedFile, more("ungrouped /srv/a")),
            (Fact::NoTrustedHosts, more("shosts /root/.shosts")),
            (Fact::SudoAsks, more("sudoers Defaults !authenticate")),
            (Fact::SudoWantsPassword, more("sudoers ops ALL=(ALL) NOPASSWD:ALL")),
            (Fact::TextTarget, worse("multi-user.target", "graphical.target")),
            (Fact::NoExecute, worse("cmdline ro", "cmdline ro noexec=off")),
            (Fact::SelinuxEnforces, worse("selinux Enforcing", "selinux Permissive")),
            (Fact::AuditRulesLoaded, worse("audit-loaded -a always,exit -S x", "audit-loaded No rules")),
            (Fact::RepositoriesSigned, worse("repository gpgcheck=1", "repository gpgcheck = 0")),
        ];

        assert_eq!(broken.len(), ALL.len());
        for (of, text) in broken {
            assert_eq!(status(&text, of), Status::Fail, "{of:?}");
        }
    }

    #[test]
    fn a_repository_that_does_not_say_counts_as_the_configuration_of_dnf() {
        let of = |from: &str, to: &str| status(&GOOD.replace(from, to), Fact::RepositoriesSigned);

        assert_eq!(of("repository-default gpgcheck=1", "repository-default gpgcheck=0"), Status::Fail);
        assert_eq!(of("repository-default gpgcheck=1\n", ""), Status::Fail);
    }

    #[test]
    fn what_was_not_read_is_no_pass() {
        for of in ALL {
            let nothing = status("system yes\n", of);
            assert!(matches!(nothing, Status::Unknown | Status::Fail), "{of:?}: {nothing:?}");
            assert_eq!(status("", of), Status::NotLookedAt, "{of:?}");
        }
    }
}
