//! The rules of a profile and how each is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::compliance::published::Published;
use crate::compliance::role::{Other, Role, Setting, System};
use crate::environment::HardeningProfile;
use crate::failure::Failure;

/// What is looked at, and what is wanted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// What `sshd -T` says of a key.
    Sshd { key: String, value: String },
    /// A kernel parameter, now and after the next boot.
    Sysctl { key: String, value: String },
    /// A kernel module that cannot be loaded.
    Module { name: String },
    /// A key in a file of settings; an empty value wants the key alone.
    Setting { file: SettingFile, key: String, value: String },
    /// No mode bit outside the limit.
    Mode { path: String, limit: u32 },
    /// A file or folder of root, or of root's group.
    Owner { path: String, whose: Whose },
    /// A file that is there, or is not.
    File { path: String, exists: bool },
    /// Lines among the audit rules on disk.
    AuditLines { lines: Vec<String> },
    /// One of the checks that are no list.
    Single(Single),
    /// A package that is installed, or is not.
    Package { name: String, installed: bool },
    /// A unit that is enabled and active, or can be neither.
    Unit { name: String, runs: bool },
    /// A unit that is enabled and active where it is there.
    UnitIfThere { name: String },
    /// A word on the kernel's command line, now and after the next boot, or its absence.
    KernelArgument { argument: String, present: bool },
    /// A file system of its own, mounted with this option where one is given.
    Mount { path: String, option: Option<String> },
    /// A key in a file of `key=value` lines.
    Key { path: String, key: String, value: String },
    /// A line of a file of the role's own.
    Line { path: String, line: String },
    /// Something that holds of accounts, of what they own, or of the system.
    Fact(Fact),
    /// What is about a graphical login only.
    Desktop,
    /// What is about USB devices only.
    NoUsb,
    /// What cannot be told by looking, and why.
    Unchecked { why: String },
    /// A rule of the role that no check is written for.
    Unwritten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingFile {
    Pwquality,
    Faillock,
    LoginDefs,
    Auditd,
}

/// Whom a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    User,
    Group,
}

/// One of the two PAM stacks that ask for passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    System,
    Password,
}

/// A check of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Single {
    Banner,
    CryptoPolicyInstalled,
    CryptoPolicy,
    CryptoPolicyNotLegacy,
    SshCiphers,
    SshMacs,
    FipsMode,
    AuditInstalled,
    AuditRunning,
    AuditFileModes,
    AuditFailure,
    AuditFrozen,
    LoginIdFrozen,
    NoEmptyPasswords,
    Faillock(Stack),
    PasswordRounds(Stack),
    IdleShell,
    UmaskOfBash,
    UmaskOfCsh,
    UmaskOfProfile,
    PrivateKeyModes,
    PublicKeyModes,
    WritableCommands,
    WritableLibraries,
    OpenHomes,
    OpenFolders,
}

/// What holds of the machine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    UniqueUids,
    UniqueGids,
    GroupsExist,
    OnlyRootIsZero,
    NoEmptyPassword,
    Sha512Passwords,
    PasswordsExpire,
    PasswordsStay,
    HomesNamed,
    HomesExist,
    HomesOfOwnGroup,
    NoUnownedFile,
    NoUngroupedFile,
    NoTrustedHosts,
    SudoAsks,
    SudoWantsPassword,
    TextTarget,
    NoExecute,
    SelinuxEnforces,
    AuditRulesLoaded,
    RepositoriesSigned,
}

/// One thing to check; it may fulfil several rules, and a rule may need several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub ids: Vec<String>,
    pub check: Check,
    /// What the role says it does, where it is no list.
    pub what: String,
}

impl Check {
    /// Whether it is about mode, owner or presence of one file: the role sets them together, and rules want them one by one.
    fn is_of_a_file(&self) -> bool {
        matches!(self, Self::Mode { .. } | Self::Owner { .. } | Self::File { .. })
    }
}

/// The rules of one profile.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub profile: HardeningProfile,
    pub rules: Vec<Rule>,
    /// Rule to the reason why it stays open on a node of a cluster.
    pub exceptions: BTreeMap<String, String>,
}

impl Catalogue {
    /// Where the role keeps its rules, in the assets.
    pub const DIR: &str = "ansible/roles/os_hardening/vars/main";

    /// Reads the rules from `dir`, the `vars/main/` of the role `os_hardening`. The profile `none` has none.
    ///
    /// # Errors
    /// Exit 4 when a file of the role is missing or cannot be read.
    pub fn read(dir: &Path, profile: HardeningProfile) -> Result<Self, Failure> {
        let mut catalogue = Self::settings(dir, profile)?;
        if profile != HardeningProfile::None {
            catalogue.rules.extend(System::read(dir)?.rules(profile));
        }
        Ok(catalogue)
    }

    /// The same without the lists of the system as a whole: that the role has written a drop-in does not tell what is in force.
    fn settings(dir: &Path, profile: HardeningProfile) -> Result<Self, Failure> {
        if profile == HardeningProfile::None {
            return Ok(Self { profile, rules: vec![], exceptions: BTreeMap::new() });
        }
        Ok(Self::of(Role::read(dir)?, profile))
    }

    /// Reads every published rule of the profile: those of the role, those that can be told by looking, and the rest, which
    /// says why it cannot.
    ///
    /// # Errors
    /// As [`Catalogue::read`].
    pub fn whole(dir: &Path, profile: HardeningProfile) -> Result<Self, Failure> {
        let mut catalogue = Self::settings(dir, profile)?;
        let held: BTreeSet<String> = catalogue.rules.iter().flat_map(|rule| rule.ids.clone()).collect();
        let is_audit = |rule: &&Rule| {
            matches!(
                rule.check,
                Check::AuditLines { .. }
                    | Check::Single(Single::AuditFailure | Single::AuditFrozen | Single::LoginIdFrozen)
            )
        };
        let audited: BTreeSet<String> =
            catalogue.rules.iter().filter(is_audit).flat_map(|rule| rule.ids.clone()).collect();
        for published in Published::of(profile)? {
            if let Some(why) = published.exception() {
                catalogue.exceptions.entry(published.id.clone()).or_insert_with(|| why.to_owned());
            }
            let rule = |check| Rule { ids: vec![published.id.clone()], check, what: published.about().to_owned() };
            let precise = published.checks().filter(|checks| checks.iter().all(Check::is_of_a_file));
            if precise.is_some() {
                catalogue.rules.iter_mut().for_each(|rule| rule.ids.retain(|id| *id != published.id));
            }
            let mut checks = match (precise, held.contains(&published.id)) {
                (Some(checks), _) => checks,
                (None, true) => vec![],
                (None, false) => {
                    published.checks().unwrap_or_else(|| vec![Check::Unchecked { why: published.unchecked() }])
                }
            };
            checks.extend(published.rest().map(|rest| Check::Unchecked { why: format!("not looked at: {rest}") }));
            if audited.contains(&published.id) {
                checks.push(Check::Fact(Fact::AuditRulesLoaded));
            }
            if published.id == "CIS-7.2.8" {
                checks.push(Check::Fact(Fact::HomesExist));
            }
            catalogue.rules.extend(checks.into_iter().map(rule));
        }
        catalogue.rules.retain(|rule| !rule.ids.is_empty());
        Ok(catalogue)
    }

    /// The number of rules, each counted once.
    pub fn len(&self) -> usize {
        self.rules.iter().flat_map(|rule| &rule.ids).collect::<BTreeSet<_>>().len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn of(role: Role, profile: HardeningProfile) -> Self {
        let mut rules = Vec::new();
        let ids = |stig: &[String], cis: &[String]| match profile {
            HardeningProfile::Stig => stig.to_vec(),
            HardeningProfile::Cis => cis.to_vec(),
            HardeningProfile::None => vec![],
        };
        let settings = |list: &[Setting], check: &dyn Fn(&str, &str) -> Check| -> Vec<Rule> {
            list.iter()
                .map(|setting| {
                    let check = check(&setting.key, setting.value_for(profile));
                    Rule { ids: ids(&setting.stig, &setting.cis), check, what: String::new() }
                })
                .collect()
        };
        let of_file = |file: SettingFile| {
            move |key: &str, value: &str| Check::Setting { file, key: key.to_owned(), value: value.to_owned() }
        };
        rules.extend(settings(&role.sshd, &|key, value| Check::Sshd { key: key.to_owned(), value: value.to_owned() }));
        rules.extend(settings(&role.sysctl, &|key, value| Check::Sysctl {
            key: key.to_owned(),
            value: value.to_owned(),
        }));
        rules.extend(settings(&role.modules, &|key, _| Check::Module { name: key.to_owned() }));
        rules.extend(settings(&role.pwquality, &of_file(SettingFile::Pwquality)));
        rules.extend(settings(&role.faillock, &of_file(SettingFile::Faillock)));
        rules.extend(settings(&role.login_defs, &of_file(SettingFile::LoginDefs)));
        rules.extend(settings(&role.auditd_conf, &of_file(SettingFile::Auditd)));
        rules.extend(role.audit_rules.iter().map(|rule| Rule {
            ids: ids(&rule.stig, &rule.cis),
            check: Check::AuditLines { lines: rule.lines.clone() },
            what: String::new(),
        }));
        rules.extend(role.files.iter().flat_map(|file| {
            let (ids, path) = (ids(&file.stig, &file.cis), format!("{}/{}", file.folder, file.name));
            let limit = u32::from_str_radix(&file.mode, 8).unwrap_or(0);
            let whose = |whose| Check::Owner { path: path.clone(), whose };
            let checks = [whose(Whose::User), whose(Whose::Group), Check::Mode { path, limit }];
            checks.map(|check| Rule { ids: ids.clone(), check, what: String::new() })
        }));
        rules.extend(role.other.iter().flat_map(|other| singles(other, &ids(&other.stig, &other.cis))));
        rules.retain(|rule| !rule.ids.is_empty());
        let mut exceptions = role.exceptions;
        exceptions.extend(role.audit_exceptions);
        Self { profile, rules, exceptions }
    }
}

/// Each rule of an entry that is no list, with the check that is written for it.
fn singles(other: &Other, ids: &[String]) -> Vec<Rule> {
    ids.iter()
        .flat_map(|id| {
            let checks = match (id.as_str(), single(id)) {
                ("RHEL-09-611030", _) => vec![Single::Faillock(Stack::System)],
                ("RHEL-09-611035", _) => vec![Single::Faillock(Stack::Password)],
                ("CIS-5.3.2.2", _) => vec![Single::Faillock(Stack::System), Single::Faillock(Stack::Password)],
                (_, single) => single.into_iter().collect(),
            };
            let rule = |check| Rule { ids: vec![id.clone()], check, what: other.what.clone() };
            match checks[..] {
                [] => vec![rule(Check::Unwritten)],
                _ => checks.into_iter().map(|single| rule(Check::Single(single))).collect(),
            }
        })
        .collect()
}

fn single(id: &str) -> Option<Single> {
    Some(match id {
        "RHEL-09-211020" | "CIS-1.7.2" | "CIS-1.7.3" => Single::Banner,
        "RHEL-09-215100" => Single::CryptoPolicyInstalled,
        "RHEL-09-215105" | "RHEL-09-672020" => Single::CryptoPolicy,
        "CIS-1.6.1" => Single::CryptoPolicyNotLegacy,
        "RHEL-09-255064" | "RHEL-09-255065" | "CIS-5.1.4" => Single::SshCiphers,
        "RHEL-09-255070" | "RHEL-09-255075" | "CIS-5.1.5" | "CIS-5.1.6" => Single::SshMacs,
        "RHEL-09-671010" => Single::FipsMode,
        "RHEL-09-653010" => Single::AuditInstalled,
        "RHEL-09-653015" => Single::AuditRunning,
        "RHEL-09-653110" => Single::AuditFileModes,
        "RHEL-09-654265" => Single::AuditFailure,
        "RHEL-09-654270" => Single::LoginIdFrozen,
        "RHEL-09-654275" => Single::AuditFrozen,
        "RHEL-09-611025" | "CIS-5.3.3.4.1" => Single::NoEmptyPasswords,
        "RHEL-09-611050" => Single::PasswordRounds(Stack::Password),
        "RHEL-09-611055" => Single::PasswordRounds(Stack::System),
        "RHEL-09-412035" | "CIS-5.4.3.2" => Single::IdleShell,
        "RHEL-09-412055" => Single::UmaskOfBash,
        "RHEL-09-412060" => Single::UmaskOfCsh,
        "RHEL-09-412070" => Single::UmaskOfProfile,
        "RHEL-09-232010" => Single::WritableCommands,
        "RHEL-09-232020" => Single::WritableLibraries,
        "RHEL-09-232050" | "CIS-7.2.8" => Single::OpenHomes,
        "RHEL-09-232245" | "CIS-7.1.11" => Single::OpenFolders,
        "RHEL-09-255120" | "CIS-5.1.2" => Single::PrivateKeyModes,
        "RHEL-09-255125" | "CIS-5.1.3" => Single::PublicKeyModes,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn catalogue(profile: HardeningProfile) -> Catalogue {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ansible/roles/os_hardening/vars/main");
        Catalogue::read(&dir, profile).expect("the role of this repository")
    }

    #[test]
    fn every_rule_of_the_role_has_a_check() {
        for profile in [HardeningProfile::Stig, HardeningProfile::Cis] {
            let catalogue = catalogue(profile);

            let unwritten: Vec<&Rule> = catalogue.rules.iter().filter(|rule| rule.check == Check::Unwritten).collect();

            assert_eq!(unwritten, Vec::<&Rule>::new(), "{}", profile.name());
        }
    }

    #[test]
    fn a_profile_holds_its_own_rules_and_values() {
        let (stig, cis) = (catalogue(HardeningProfile::Stig), catalogue(HardeningProfile::Cis));

        let value = |catalogue: &Catalogue| {
            catalogue.rules.iter().find_map(|rule| match &rule.check {
                Check::Setting { file: SettingFile::Pwquality, key, value } if key == "minlen" => Some(value.clone()),
                _ => None,
            })
        };

        assert_eq!((value(&stig).as_deref(), value(&cis).as_deref()), (Some("15"), Some("14")));
        assert!(stig.len() > 180, "{} rules", stig.len());
        assert!(stig.rules.iter().all(|rule| rule.ids.iter().all(|id| id.starts_with("RHEL-09-"))));
        assert!(cis.rules.iter().all(|rule| rule.ids.iter().all(|id| id.starts_with("CIS-"))));
    }

    #[test]
    fn the_whole_catalogue_has_every_published_rule_and_says_why_one_is_not_checked() {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ansible/roles/os_hardening/vars/main");
        let count = |profile| {
            let catalogue = Catalogue::whole(&dir, profile).expect("the role of this repository");
            let unchecked = catalogue.rules.iter().filter(|rule| match &rule.check {
                Check::Unchecked { why } => !why.is_empty(),
                _ => false,
            });
            (catalogue.len(), unchecked.count())
        };

        assert_eq!(count(HardeningProfile::Stig), (445, 102));
        assert_eq!(count(HardeningProfile::Cis), (235, 95));
    }

    #[test]
    fn no_profile_has_no_rules_and_asks_nothing() {
        let catalogue = Catalogue::read(Path::new("/nonexistent"), HardeningProfile::None).expect("no file is read");

        assert!(catalogue.is_empty());
        assert_eq!(catalogue.question().script, "exit 0");
    }
}
