//! The variables of the role `os_hardening`, as its files in `vars/main/` hold them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::environment::HardeningProfile;
use crate::failure::{Exit, Failure};

/// A key, the value it is given, and the rules that this fulfils.
#[derive(Debug, Deserialize)]
pub(super) struct Setting {
    pub key: String,
    #[serde(default)]
    pub value: String,
    /// The value under the profile `cis`, where it is another one.
    #[serde(default)]
    pub cis_value: Option<String>,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub folder: String,
    pub name: String,
    pub mode: String,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AuditRule {
    pub lines: Vec<String>,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

/// What the role does beyond its lists, in words.
#[derive(Debug, Deserialize)]
pub(super) struct Other {
    pub what: String,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Role {
    #[serde(default, rename = "os_hardening_sshd")]
    pub sshd: Vec<Setting>,
    #[serde(default, rename = "os_hardening_sysctl")]
    pub sysctl: Vec<Setting>,
    #[serde(default, rename = "os_hardening_modules")]
    pub modules: Vec<Setting>,
    #[serde(default, rename = "os_hardening_pwquality")]
    pub pwquality: Vec<Setting>,
    #[serde(default, rename = "os_hardening_faillock")]
    pub faillock: Vec<Setting>,
    #[serde(default, rename = "os_hardening_login_defs")]
    pub login_defs: Vec<Setting>,
    #[serde(default, rename = "os_hardening_auditd_conf")]
    pub auditd_conf: Vec<Setting>,
    #[serde(default, rename = "os_hardening_audit_rules")]
    pub audit_rules: Vec<AuditRule>,
    #[serde(default, rename = "os_hardening_files")]
    pub files: Vec<File>,
    #[serde(default, rename = "os_hardening_other")]
    pub other: Vec<Other>,
    /// Rule to the reason why a Kubernetes node cannot keep to it.
    #[serde(default, rename = "os_hardening_exceptions")]
    pub exceptions: BTreeMap<String, String>,
    /// The same while a full audit disk does not stop the node.
    #[serde(default, rename = "os_hardening_audit_exceptions")]
    pub audit_exceptions: BTreeMap<String, String>,
}

impl Setting {
    pub fn value_for(&self, profile: HardeningProfile) -> &str {
        match profile {
            HardeningProfile::Cis => self.cis_value.as_deref().unwrap_or(&self.value),
            HardeningProfile::Stig | HardeningProfile::None => &self.value,
        }
    }
}

impl Role {
    /// Reads the lists in `dir`, which is the role's `vars/main/`.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        let sshd: Self = part(dir, "sshd.yml")?;
        let sysctl: Self = part(dir, "sysctl.yml")?;
        let modules: Self = part(dir, "modules.yml")?;
        let pam: Self = part(dir, "pam.yml")?;
        let files: Self = part(dir, "files.yml")?;
        let auditd: Self = part(dir, "auditd.yml")?;
        let other: Self = part(dir, "other.yml")?;
        Ok(Self {
            sshd: sshd.sshd,
            sysctl: sysctl.sysctl,
            modules: modules.modules,
            pwquality: pam.pwquality,
            faillock: pam.faillock,
            login_defs: pam.login_defs,
            auditd_conf: auditd.auditd_conf,
            audit_rules: auditd.audit_rules,
            files: files.files,
            ..other
        })
    }
}

/// What the role does to the system as a whole, as far as it does it on a node in use: packages are a matter of the image.
#[derive(Debug, Default, Deserialize)]
pub(super) struct System {
    #[serde(default, rename = "os_hardening_masked")]
    pub masked: Vec<Unit>,
    #[serde(default, rename = "os_hardening_running")]
    pub running: Vec<Unit>,
    #[serde(default, rename = "os_hardening_drop_ins")]
    pub drop_ins: Vec<DropIn>,
    #[serde(default, rename = "os_hardening_sudo")]
    pub sudo: Vec<Sudo>,
    #[serde(default, rename = "os_hardening_keys_in_files")]
    pub keys: Vec<Key>,
    #[serde(default, rename = "os_hardening_arguments")]
    pub arguments: Vec<Argument>,
    #[serde(default, rename = "os_hardening_arguments_absent")]
    pub arguments_absent: Vec<Argument>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Unit {
    pub unit: String,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

/// A file of ours in a folder of drop-ins. Each line has rules of its own, of both profiles.
#[derive(Debug, Deserialize)]
pub(super) struct DropIn {
    pub folder: String,
    pub lines: Vec<DropInLine>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DropInLine {
    pub text: String,
    pub rules: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Sudo {
    pub defaults: String,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Key {
    pub path: String,
    pub key: String,
    pub value: String,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Argument {
    pub argument: String,
    pub stig: Vec<String>,
    pub cis: Vec<String>,
}

impl System {
    /// Reads the lists in `dir`, which is the role's `vars/main/`.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        part(dir, "system.yml")
    }
}

fn part<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T, Failure> {
    let path = dir.join(name);
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Missing, format!("cannot read the hardening rules in `{}`", path.display())).because(error)
    };
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
    serde_saphyr::from_str(&text).map_err(|error| unreadable(&error))
}
