//! From what was seen to a finding per rule.

use crate::compliance::catalogue::{Catalogue, Check, SettingFile, Single, Stack, Whose};
use crate::compliance::facts;
use crate::compliance::observation::{FileMode, QUESTION, Seen, parameter_path};
use crate::compliance::report::{Finding, Report, Status};
use crate::compliance::system;
use crate::failure::{Exit, Failure};
use crate::node::Census;

/// Keys of sshd where less is stricter, and zero means never.
const AT_MOST: [&str; 4] = ["ClientAliveInterval", "LoginGraceTime", "MaxAuthTries", "MaxSessions"];
/// What FIPS 140 permits for SSH, in the STIG's words.
const WEAK_ALGORITHMS: [&str; 7] = ["cbc", "chacha20", "3des", "arcfour", "hmac-md5", "hmac-sha1", "umac-"];

impl Catalogue {
    /// Judges what a census brought.
    ///
    /// # Errors
    /// Exit 5 when the node did not answer the question.
    pub fn results(&self, node: &str, census: &Census) -> Result<Report, Failure> {
        match census.answer(QUESTION) {
            Some(answer) if answer.code == 0 => Ok(self.judge(&answer.text)),
            Some(_) | None => Err(Failure::new(Exit::Tool, format!("`{node}` did not answer how it is hardened"))),
        }
    }

    /// Judges what [`Catalogue::script`] wrote.
    pub fn judge(&self, text: &str) -> Report {
        let seen = Seen::read(text);
        let mut report = Report::default();
        for rule in &self.rules {
            let (status, observed, wanted) = judged(&rule.check, &seen);
            for id in &rule.ids {
                let excepted = self.exceptions.get(id).cloned();
                let wanted = if wanted.is_empty() { rule.what.clone() } else { wanted.clone() };
                report.add(id, &Finding { status, observed: observed.clone(), wanted, excepted, waived: None });
            }
        }
        report
    }
}

/// Status, what was seen, and what is wanted.
pub(super) type Verdict = (Status, String, String);

fn judged(check: &Check, seen: &Seen<'_>) -> Verdict {
    match check {
        Check::Sshd { key, value } => sshd(seen, key, value),
        Check::Sysctl { key, value } => sysctl(seen, key, value),
        Check::Module { name } => module(seen, name),
        Check::Setting { file, key, value } => setting(seen, *file, key, value),
        Check::Mode { path, limit } => mode(seen, path, *limit),
        Check::Owner { path, whose } => owner(seen, path, *whose),
        Check::File { path, exists } => presence(seen, path, *exists),
        Check::AuditLines { lines } => audit_lines(seen, lines),
        Check::Single(single) => self::single(seen, *single),
        Check::Package { name, installed } => system::package(seen, name, *installed),
        Check::Unit { name, runs } => system::unit(seen, name, *runs),
        Check::UnitIfThere { name } => system::unit_if_there(seen, name),
        Check::KernelArgument { argument, present } => system::kernel_argument(seen, argument, *present),
        Check::Mount { path, option } => system::mount(seen, path, option.as_deref()),
        Check::Key { path, key, value } => system::key(seen, path, key, value),
        Check::Line { path, line } => system::line(seen, path, line),
        Check::Fact(fact) => facts::fact(seen, *fact),
        Check::Desktop => system::desktop(seen),
        Check::NoUsb => system::no_usb(seen),
        Check::Unchecked { why } => (Status::NotReviewed, why.clone(), String::new()),
        Check::Unwritten => (Status::Unknown, "no check is written for it".to_owned(), String::new()),
    }
}

pub(super) fn passes(good: bool) -> Status {
    if good { Status::Pass } else { Status::Fail }
}

fn sshd(seen: &Seen<'_>, key: &str, value: &str) -> Verdict {
    let wanted = format!("{key} {value}");
    if seen.all("sshd").is_empty() {
        return (Status::Unknown, "`sshd -T` says nothing".to_owned(), wanted);
    }
    let Some(found) = seen.first_value("sshd", key) else {
        return (Status::NotApplicable, "this sshd has no such key".to_owned(), wanted);
    };
    let good = match (AT_MOST.contains(&key), found.parse::<u64>(), value.parse::<u64>()) {
        (true, Ok(found), Ok(limit)) => (1..=limit).contains(&found),
        _ => amounts(found).eq_ignore_ascii_case(&amounts(value)),
    };
    (passes(good), format!("{key} {found}"), wanted)
}

/// Sizes and times in plain numbers, as `sshd -T` writes them: `1G 1h` is `1073741824 3600`.
fn amounts(value: &str) -> String {
    let amount = |word: &str| {
        let unit = match word.chars().last()? {
            'K' => 1 << 10,
            'M' => 1 << 20,
            'G' => 1_u64 << 30,
            'm' => 60,
            'h' => 3_600,
            _ => return None,
        };
        Some((word[..word.len() - 1].parse::<u64>().ok()? * unit).to_string())
    };
    let words: Vec<String> =
        value.split_whitespace().map(|word| amount(word).unwrap_or_else(|| word.to_owned())).collect();
    words.join(" ")
}

fn sysctl(seen: &Seen<'_>, key: &str, value: &str) -> Verdict {
    let wanted = format!("{key} = {value}");
    let path = parameter_path(key);
    let now = seen.all("sysctl").iter().find_map(|line| line.strip_prefix(path.as_str())?.strip_prefix(' '));
    let later = seen.last_value("sysctl-file", key).or_else(|| seen.last_value("sysctl-file", &key.replace('.', "/")));
    match (now, later) {
        (None, _) if seen.all("absent").contains(&path.as_str()) => {
            (Status::NotApplicable, "the kernel has no such parameter".to_owned(), wanted)
        }
        (None, _) => (Status::Unknown, format!("nothing was read of {path}"), wanted),
        (Some(now), _) if now != value => (Status::Fail, format!("{key} = {now}"), wanted),
        (Some(_), Some(later)) if later == value => (Status::Pass, format!("{key} = {value}"), wanted),
        (Some(_), later) => {
            let later = later.map_or_else(|| "in no file".to_owned(), |later| format!("{later} after the next boot"));
            (Status::Fail, format!("{key} = {value} now, {later}"), wanted)
        }
    }
}

fn module(seen: &Seen<'_>, name: &str) -> Verdict {
    let plain = |text: &str| text.replace('-', "_");
    let stands = |verb: &str, end: &str| {
        seen.all("modprobe").iter().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words.as_slice(), [first, module, rest @ ..]
                if *first == verb && plain(module) == plain(name) && rest.join(" ").ends_with(end))
        })
    };
    let wanted = format!("`install {name} /bin/false` and `blacklist {name}`");
    let is_loaded = seen.all("module").iter().any(|module| plain(module) == plain(name));
    let observed = match (is_loaded, stands("install", "/bin/false"), stands("blacklist", "")) {
        (true, _, _) => "it is loaded",
        (false, true, true) => return (Status::Pass, "it cannot be loaded".to_owned(), wanted),
        (false, false, true) => "it can be loaded by name",
        (false, true, false) => "it is not on the blacklist",
        (false, false, false) => "it can be loaded",
    };
    (Status::Fail, observed.to_owned(), wanted)
}

fn setting(seen: &Seen<'_>, file: SettingFile, key: &str, value: &str) -> Verdict {
    let family = match file {
        SettingFile::Pwquality => "pwquality",
        SettingFile::Faillock => "faillock",
        SettingFile::LoginDefs => "login.defs",
        SettingFile::Auditd => "auditd",
    };
    let written = |value: &str| if value.is_empty() { key.to_owned() } else { format!("{key} {value}") };
    let found = seen.last_value(family, key);
    let good = found.is_some_and(|found| found.eq_ignore_ascii_case(value));
    (passes(good), found.map_or_else(|| format!("{key} is not set"), written), written(value))
}

fn mode(seen: &Seen<'_>, path: &str, limit: u32) -> Verdict {
    file(seen, path, format!("{path} with mode {limit:04o} at most"), &|found| found.mode & !limit == 0)
}

fn owner(seen: &Seen<'_>, path: &str, whose: Whose) -> Verdict {
    match whose {
        Whose::User => file(seen, path, format!("{path} of root"), &|found| found.uid == 0),
        Whose::Group => file(seen, path, format!("{path} of the group root"), &|found| found.gid == 0),
    }
}

fn file(seen: &Seen<'_>, path: &str, wanted: String, good: &dyn Fn(FileMode) -> bool) -> Verdict {
    match seen.modes.get(path) {
        None if seen.all("absent").contains(&path) => (Status::NotApplicable, format!("{path} does not exist"), wanted),
        None => (Status::Unknown, format!("nothing was read of {path}"), wanted),
        Some(found) => (passes(good(*found)), written_mode(path, *found), wanted),
    }
}

fn presence(seen: &Seen<'_>, path: &str, exists: bool) -> Verdict {
    let wanted = format!("{path} {}", if exists { "exists" } else { "does not exist" });
    match (seen.modes.contains_key(path), seen.all("absent").contains(&path)) {
        (true, _) => (passes(exists), format!("{path} exists"), wanted),
        (false, true) => (passes(!exists), format!("{path} does not exist"), wanted),
        (false, false) => (Status::Unknown, format!("nothing was read of {path}"), wanted),
    }
}

fn written_mode(path: &str, found: FileMode) -> String {
    format!("{path} of {}:{} with mode {:04o}", found.uid, found.gid, found.mode)
}

fn audit_lines(seen: &Seen<'_>, lines: &[String]) -> Verdict {
    let missing: Vec<&str> =
        lines.iter().map(String::as_str).filter(|line| !seen.has_line("audit-rule", line)).collect();
    match missing.first() {
        None => (Status::Pass, format!("{} of {} lines", lines.len(), lines.len()), lines.join("; ")),
        Some(first) => (Status::Fail, format!("`{first}` is missing"), lines.join("; ")),
    }
}

fn single(seen: &Seen<'_>, single: Single) -> Verdict {
    let verdict = |good: bool, observed: String| (passes(good), observed, String::new());
    match single {
        Single::Banner => {
            let words: u32 = seen.first("issue").trim().parse().unwrap_or(0);
            verdict(words >= 10, format!("/etc/issue has {words} words"))
        }
        Single::CryptoPolicyInstalled => verdict(seen.packages().contains("crypto-policies"), packages(seen)),
        Single::CryptoPolicy => {
            let policy = seen.first("crypto-policy");
            verdict(policy == "FIPS" || policy.starts_with("FIPS:"), format!("the policy is `{policy}`"))
        }
        Single::CryptoPolicyNotLegacy => {
            let policy = seen.first("crypto-policy");
            let base = policy.split(':').next().unwrap_or_default();
            verdict(!["", "LEGACY"].contains(&base), format!("the policy is `{policy}`"))
        }
        Single::SshCiphers => ssh_algorithms(seen, "ciphers"),
        Single::SshMacs => ssh_algorithms(seen, "macs"),
        Single::FipsMode => verdict(seen.first("fips") == "1", format!("fips_enabled is `{}`", seen.first("fips"))),
        Single::AuditInstalled => verdict(seen.packages().contains("audit"), packages(seen)),
        Single::AuditRunning => {
            let (enabled, active) = (seen.first("auditd-enabled"), seen.first("auditd-active"));
            verdict((enabled, active) == ("enabled", "active"), format!("auditd is {enabled} and {active}"))
        }
        Single::AuditFileModes => modes_of(seen, &is_audit_file, 0o600),
        Single::AuditFailure => last_audit_option(seen, "-f", "-f 2"),
        Single::LoginIdFrozen => {
            verdict(seen.has_line("audit-rule", "--loginuid-immutable"), "looked for `--loginuid-immutable`".to_owned())
        }
        Single::AuditFrozen => last_audit_option(seen, "-e", "-e 2"),
        Single::NoEmptyPasswords => no_empty_passwords(seen),
        Single::Faillock(stack) => faillock(seen, stack),
        Single::PasswordRounds(stack) => pam(seen, stack, &has_rounds),
        Single::IdleShell => idle_shell(seen),
        Single::UmaskOfBash => umask(seen, "/etc/bashrc"),
        Single::UmaskOfCsh => umask(seen, "/etc/csh.cshrc"),
        Single::UmaskOfProfile => umask(seen, "/etc/profile"),
        Single::PrivateKeyModes => modes_of(seen, &|path| is_host_key(path) && !path.ends_with(".pub"), 0o600),
        Single::PublicKeyModes => modes_of(seen, &|path| is_host_key(path) && path.ends_with(".pub"), 0o644),
        Single::WritableCommands => walked(seen, "writable-command"),
        Single::WritableLibraries => walked(seen, "writable-library"),
        Single::OpenHomes => walked(seen, "open-home"),
        Single::OpenFolders => walked(seen, "open-folder"),
    }
}

fn is_host_key(path: &str) -> bool {
    path.starts_with("/etc/ssh/ssh_host_")
}

fn is_audit_file(path: &str) -> bool {
    path.starts_with("/etc/audit/") && (path.ends_with(".conf") || path.ends_with(".rules"))
}

/// Of an option that stands in several files, `augenrules` takes the last, wherever it stands.
fn last_audit_option(seen: &Seen<'_>, option: &str, wanted: &str) -> Verdict {
    let last = seen.all("audit-rule").iter().rev().find(|line| line.split_whitespace().next() == Some(option));
    let observed = last.map_or_else(|| format!("no rule sets `{option}`"), |line| (*line).to_owned());
    (passes(last == Some(&wanted)), observed, wanted.to_owned())
}

fn packages(seen: &Seen<'_>) -> String {
    let names: Vec<&str> = seen.packages().into_iter().collect();
    format!("installed are {}", names.join(", "))
}

fn ssh_algorithms(seen: &Seen<'_>, key: &str) -> Verdict {
    let Some(offered) = seen.first_value("sshd", key) else {
        return (Status::Unknown, "`sshd -T` says nothing".to_owned(), String::new());
    };
    let weak: Vec<&str> =
        offered.split(',').filter(|name| WEAK_ALGORITHMS.iter().any(|weak| name.contains(weak))).collect();
    let observed = if weak.is_empty() { offered.to_owned() } else { format!("offers {}", weak.join(", ")) };
    (passes(weak.is_empty()), observed, String::new())
}

/// Every file of a kind within the limit; none at all is not applicable.
fn modes_of(seen: &Seen<'_>, of: &dyn Fn(&str) -> bool, limit: u32) -> Verdict {
    let files: Vec<(&str, FileMode)> =
        seen.modes.iter().filter(|(path, _)| of(path)).map(|(path, mode)| (*path, *mode)).collect();
    let wanted = format!("mode {limit:04o} at most");
    match files.iter().find(|(_, found)| found.mode & !limit != 0 || found.uid != 0) {
        Some((path, found)) => (Status::Fail, written_mode(path, *found), wanted),
        None if files.is_empty() => (Status::NotApplicable, "there is no such file".to_owned(), wanted),
        None => (Status::Pass, format!("{} files", files.len()), wanted),
    }
}

/// The lines of a stack; one that is empty or missing tells nothing.
fn lines_of<'a>(seen: &'a Seen<'_>, stack: Stack) -> Result<(&'static str, &'a [&'a str]), Verdict> {
    let name = match stack {
        Stack::System => "system-auth",
        Stack::Password => "password-auth",
    };
    match seen.all(name) {
        [] => Err((Status::Unknown, format!("/etc/pam.d/{name} is empty or missing"), String::new())),
        lines => Ok((name, lines)),
    }
}

fn pam(seen: &Seen<'_>, stack: Stack, good: &dyn Fn(&str) -> bool) -> Verdict {
    match lines_of(seen, stack) {
        Err(verdict) => verdict,
        Ok((name, lines)) => match lines.iter().find(|line| good(line)) {
            Some(line) => (Status::Pass, format!("{name}: `{line}`"), String::new()),
            None => (Status::Fail, format!("{name} has no such line"), String::new()),
        },
    }
}

/// Each of the three places where it must stand, or a failed try is not counted, or not heeded.
fn faillock(seen: &Seen<'_>, stack: Stack) -> Verdict {
    for (kind, word) in [("auth", "preauth"), ("auth", "authfail"), ("account", "")] {
        let is_it = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_told = word.is_empty() || words.contains(&word);
            words.first() == Some(&kind) && words.contains(&"pam_faillock.so") && is_told
        };
        let (status, _, _) = pam(seen, stack, &is_it);
        if status != Status::Pass {
            return (status, format!("no line has `{kind}` and `pam_faillock.so {word}`"), String::new());
        }
    }
    (Status::Pass, "preauth, authfail and account".to_owned(), String::new())
}

fn no_empty_passwords(seen: &Seen<'_>) -> Verdict {
    for stack in [Stack::System, Stack::Password] {
        match lines_of(seen, stack) {
            Err(verdict) => return verdict,
            Ok((name, lines)) => {
                if let Some(line) = lines.iter().find(|line| line.contains("nullok")) {
                    return (Status::Fail, format!("{name}: `{line}`"), String::new());
                }
            }
        }
    }
    (Status::Pass, "both stacks".to_owned(), String::new())
}

fn has_rounds(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.first() == Some(&"password")
        && words.contains(&"pam_unix.so")
        && words.contains(&"sha512")
        && words
            .iter()
            .any(|word| word.strip_prefix("rounds=").and_then(|rounds| rounds.parse().ok()) >= Some(100_000_u32))
}

fn idle_shell(seen: &Seen<'_>) -> Verdict {
    let limit = seen.all("idle").iter().rev().find_map(|line| {
        let digits: String = line.split_once("TMOUT=")?.1.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let good = limit.is_some_and(|limit| (1..=900).contains(&limit));
    (passes(good), limit.map_or_else(|| "TMOUT is not set".to_owned(), |limit| format!("TMOUT={limit}")), String::new())
}

fn umask(seen: &Seen<'_>, file: &str) -> Verdict {
    let of_file = |line: &&&str| line.strip_prefix(file).is_some_and(|rest| rest.starts_with(' '));
    let lines: Vec<&&str> = seen.all("umask").iter().filter(of_file).collect();
    match lines.iter().find(|line| !line.ends_with(" 077")) {
        Some(line) => (Status::Fail, (**line).to_string(), "077".to_owned()),
        None if lines.is_empty() => {
            (Status::NotReviewed, format!("{file} sets none, or is not there"), "077".to_owned())
        }
        None => (Status::Pass, format!("077 in {} places", lines.len()), "077".to_owned()),
    }
}

/// A rule that only a walk over the file system decides.
fn walked(seen: &Seen<'_>, family: &str) -> Verdict {
    if seen.all("walked").is_empty() {
        return (Status::NotLookedAt, "needs a deep check".to_owned(), String::new());
    }
    match seen.all(family) {
        [] => (Status::Pass, "none found".to_owned(), String::new()),
        found => (Status::Fail, found.join(", "), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_one(check: Check, text: &str) -> (Status, String) {
        let (status, observed, _) = judged(&check, &Seen::read(text));
        (status, observed)
    }

    fn sshd_key(key: &str, value: &str) -> Check {
        Check::Sshd { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn sshd_is_judged_by_what_it_says_itself() {
        let said = "sshd permitrootlogin without-password\nsshd rekeylimit 1073741824 3600\nsshd clientaliveinterval 120\n\
                    sshd maxauthtries 6\n";

        assert_eq!(
            judge_one(sshd_key("PermitRootLogin", "no"), said),
            (Status::Fail, "PermitRootLogin without-password".to_owned())
        );
        assert_eq!(judge_one(sshd_key("RekeyLimit", "1G 1h"), said).0, Status::Pass);
        assert_eq!(judge_one(sshd_key("ClientAliveInterval", "300"), said).0, Status::Pass);
        assert_eq!(judge_one(sshd_key("MaxAuthTries", "4"), said).0, Status::Fail);
        assert_eq!(judge_one(sshd_key("KerberosAuthentication", "no"), said).0, Status::NotApplicable);
        assert_eq!(judge_one(sshd_key("UsePAM", "yes"), "").0, Status::Unknown);
    }

    #[test]
    fn a_kernel_parameter_must_hold_now_and_after_the_next_boot() {
        let check = |text: &str| {
            judge_one(Check::Sysctl { key: "kernel.dmesg_restrict".to_owned(), value: "1".to_owned() }, text)
        };
        let now = "sysctl /proc/sys/kernel/dmesg_restrict 1\n";

        assert_eq!(check(&format!("{now}sysctl-file kernel.dmesg_restrict = 1\n")).0, Status::Pass);
        assert_eq!(
            check(&format!("{now}sysctl-file kernel.dmesg_restrict=1\nsysctl-file kernel.dmesg_restrict=0\n")),
            (Status::Fail, "kernel.dmesg_restrict = 1 now, 0 after the next boot".to_owned())
        );
        assert_eq!(check(now), (Status::Fail, "kernel.dmesg_restrict = 1 now, in no file".to_owned()));
        assert_eq!(check("absent /proc/sys/kernel/dmesg_restrict\n").0, Status::NotApplicable);
        assert_eq!(check("").0, Status::Unknown);
    }

    #[test]
    fn a_module_must_be_barred_by_name_and_by_alias_and_not_be_loaded() {
        let check = |text: &str| judge_one(Check::Module { name: "usb-storage".to_owned() }, text);
        let barred = "modprobe install usb_storage /bin/false\nmodprobe blacklist usb-storage\n";

        assert_eq!(check(barred).0, Status::Pass);
        assert_eq!(check(&format!("{barred}module usb_storage\n")), (Status::Fail, "it is loaded".to_owned()));
        assert_eq!(check("modprobe blacklist usb-storage\n"), (Status::Fail, "it can be loaded by name".to_owned()));
    }

    #[test]
    fn a_stricter_mode_passes_and_a_foreign_owner_fails() {
        let path = || "/etc/shadow".to_owned();
        let check = |text: &str| judge_one(Check::Mode { path: path(), limit: 0o640 }, text);
        let of = |whose, text: &str| judge_one(Check::Owner { path: path(), whose }, text).0;

        assert_eq!(check("mode 0 0 0 /etc/shadow\n").0, Status::Pass);
        assert_eq!(
            check("mode 644 0 42 /etc/shadow\n"),
            (Status::Fail, "/etc/shadow of 0:42 with mode 0644".to_owned())
        );
        let foreign = "mode 640 7 0 /etc/shadow\n";
        assert_eq!((of(Whose::User, foreign), of(Whose::Group, foreign)), (Status::Fail, Status::Pass));
        let foreign = "mode 640 0 42 /etc/shadow\n";
        assert_eq!((of(Whose::User, foreign), of(Whose::Group, foreign)), (Status::Pass, Status::Fail));
        assert_eq!(check(foreign).0, Status::Pass, "the mode alone");
        assert_eq!(check("absent /etc/shadow\n").0, Status::NotApplicable);
        assert_eq!(check("").0, Status::Unknown);
    }

    #[test]
    fn a_rule_that_needs_a_walk_is_not_passed_by_a_quick_check() {
        let check = |text: &str| judge_one(Check::Single(Single::OpenFolders), text);

        assert_eq!(check("").0, Status::NotLookedAt);
        assert_eq!(check("walked yes\n").0, Status::Pass);
        assert_eq!(check("walked yes\nopen-folder /srv/share\n"), (Status::Fail, "/srv/share".to_owned()));
    }

    #[test]
    fn of_an_audit_option_the_last_counts_wherever_it_stands() {
        let check = |text: &str| judge_one(Check::Single(Single::AuditFrozen), text);

        assert_eq!(check("audit-rule -e 2\naudit-rule -a always,exit -S x\n").0, Status::Pass);
        assert_eq!(check("audit-rule -e 2\naudit-rule -e 1\n"), (Status::Fail, "-e 1".to_owned()));
        assert_eq!(check(""), (Status::Fail, "no rule sets `-e`".to_owned()));
    }

    #[test]
    fn lockout_wants_each_of_its_three_lines() {
        let lines = [
            "auth required pam_faillock.so preauth silent",
            "auth required pam_faillock.so authfail",
            "account required pam_faillock.so",
        ];
        let of = |left_out: usize| {
            let kept = lines.iter().enumerate().filter(|(at, _)| *at != left_out);
            let text: String = kept.map(|(_, line)| format!("system-auth {line}\n")).collect();
            judge_one(Check::Single(Single::Faillock(Stack::System)), &text).0
        };

        assert_eq!([of(0), of(1), of(2), of(3)], [Status::Fail, Status::Fail, Status::Fail, Status::Pass]);
        assert_eq!(judge_one(Check::Single(Single::Faillock(Stack::System)), "").0, Status::Unknown);
    }

    #[test]
    fn passwords_are_judged_in_both_pam_stacks() {
        let stack = |name: &str, rest: &str| format!("{name} password sufficient pam_unix.so sha512 shadow {rest}\n");
        let good = [stack("system-auth", "rounds=100000"), stack("password-auth", "rounds=200000")].concat();
        let half = [stack("system-auth", "rounds=100000"), stack("password-auth", "rounds=5000 nullok")].concat();

        let rounds = |stack, text: &str| judge_one(Check::Single(Single::PasswordRounds(stack)), text);
        assert_eq!(rounds(Stack::Password, &good).0, Status::Pass);
        assert_eq!(rounds(Stack::Password, &half), (Status::Fail, "password-auth has no such line".to_owned()));
        assert_eq!(rounds(Stack::System, &half).0, Status::Pass);
        assert_eq!(judge_one(Check::Single(Single::NoEmptyPasswords), &good).0, Status::Pass);
        assert_eq!(judge_one(Check::Single(Single::NoEmptyPasswords), &half).0, Status::Fail);
    }
}
