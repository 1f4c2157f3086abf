//! The published rules of a profile: every one of them, whether something here checks it or not.

use serde::{Deserialize, Serialize};

use crate::compliance::class::{Class, classes};
use crate::environment::HardeningProfile;
use crate::failure::Failure;

const STIG: &str = include_str!("data/rhel9-stig.json");
const CIS: &str = include_str!("data/rhel9-cis-l1.json");

/// Rules that are looked at in part, and what is left: they may fail here, and do not pass.
const PARTLY: [(&[&str], &str); 13] = [
    (&["RHEL-09-211020", "CIS-1.7.2"], "whether the text is the one that is prescribed"),
    (&["CIS-1.7.3"], "/etc/issue.net"),
    (&["RHEL-09-672020"], "the back ends of the crypto policy"),
    (&["RHEL-09-255064", "RHEL-09-255070"], "what the client of SSH offers"),
    (&["RHEL-09-255065", "RHEL-09-255075"], "whether the list is exactly the one that is prescribed"),
    (&["CIS-5.1.5"], "the key exchange"),
    (&["RHEL-09-255105", "RHEL-09-255110", "RHEL-09-255115", "CIS-5.1.1"], "the drop-in files of sshd"),
    (&["CIS-5.4.1.1", "CIS-5.4.1.3"], "the passwords that there are"),
    (&["CIS-5.4.1.4", "CIS-5.4.3.3"], "the other files that set it"),
    (&["CIS-2.1.2", "CIS-2.1.11", "CIS-2.1.12", "CIS-6.2.2.1.4"], "the other unit of the service"),
    (&["CIS-5.3.1.3"], "whether the package is the newest"),
    (&["CIS-6.2.4.1"], "the other files in /var/log"),
    (&["CIS-7.1.11"], "files that all may write"),
];

/// How much a failing rule weighs, in DISA's words: CAT I, II and III.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    High,
    Medium,
    Low,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// How a rule bears on a node of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Applies {
    Apply,
    /// Only where there is a graphical login.
    GuiOnly,
    /// What is wanted is known to the site alone.
    SiteData,
    /// Only where what it is about is there.
    NaIfAbsent,
    /// RKE2 needs another value.
    Rke2Tune,
    /// RKE2 cannot run with it.
    Rke2Exception,
    /// By partitioning at the installation.
    InstallTime,
    /// A cloud has no such thing.
    CloudException,
    Decision,
    /// A person looks.
    Manual,
    /// Needs a password that whoever builds the image chooses.
    Secret,
    StigWins,
    ConflictsStig,
    StricterThanStig,
}

/// One published rule.
#[derive(Clone, Debug, Deserialize)]
pub struct Published {
    /// `RHEL-09-211010` or `CIS-1.1.1.1`.
    pub id: String,
    /// CIS has none.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// `V-257777`
    #[serde(default)]
    pub group: String,
    /// `SV-257777r1155676_rule`
    #[serde(default)]
    pub rule: String,
    #[serde(default)]
    pub srg: String,
    #[serde(default)]
    pub cci: Vec<String>,
    /// Controls of NIST SP 800-53 rev. 5 as OSCAL writes them: `ac-17.2`.
    #[serde(default)]
    pub controls: Vec<String>,
    pub area: String,
    /// In the small language of `data/README.md`; may be empty.
    pub wanted: String,
    #[serde(default)]
    pub title: String,
    pub(super) applies: Applies,
    #[serde(default)]
    pub(super) note: String,
    #[serde(skip)]
    pub class: Class,
}

impl Published {
    /// Every rule of a profile, in the order of the publication.
    ///
    /// # Errors
    /// The data in this program cannot be read, which is a bug.
    pub fn of(profile: HardeningProfile) -> Result<Vec<Self>, Failure> {
        let text = match profile {
            HardeningProfile::Stig => STIG,
            HardeningProfile::Cis => CIS,
            HardeningProfile::None => "[]",
        };
        let mut rules: Vec<Self> = serde_json::from_str(text)
            .map_err(|error| Failure::bug(format!("the rules of {}: {error}", profile.name())))?;
        let classes = classes()?;
        for rule in &mut rules {
            rule.class = classes.get(&rule.id).copied().unwrap_or_default();
        }
        Ok(rules)
    }

    /// What the rule is about, in a line.
    pub fn about(&self) -> &str {
        if self.title.is_empty() { &self.wanted } else { &self.title }
    }

    /// Why nothing here checks it.
    pub(super) fn unchecked(&self) -> String {
        let what = match self.applies {
            Applies::SiteData => "what is wanted is known to the site alone",
            Applies::Manual => "the rule wants a person to look",
            Applies::Secret => "it is about a password that whoever builds the image chooses",
            Applies::InstallTime => "it is settled when the system is installed",
            _ => "no check is written for it",
        };
        if self.note.is_empty() { what.to_owned() } else { format!("{what}; {}", self.note) }
    }

    /// What of the rule no check here looks at, though one looks at the rest of it.
    pub(super) fn rest(&self) -> Option<&'static str> {
        PARTLY.iter().find(|(ids, _)| ids.contains(&self.id.as_str())).map(|(_, rest)| *rest)
    }

    /// Why a node of a cluster does not keep to it, where that is known.
    pub(super) fn exception(&self) -> Option<&str> {
        (self.applies == Applies::Rke2Exception && !self.note.is_empty()).then_some(&self.note)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_published_rule_is_left_out() {
        let stig = Published::of(HardeningProfile::Stig).expect("read");
        let cis = Published::of(HardeningProfile::Cis).expect("read");

        let of = |severity: Severity| stig.iter().filter(|rule| rule.severity == Some(severity)).count();
        assert_eq!((Severity::ALL.map(of), stig.len(), cis.len()), ([28, 402, 15], 445, 235));
        let ids: BTreeSet<&str> = stig.iter().chain(&cis).map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids.len(), 680);
    }

    #[test]
    fn a_rule_of_the_stig_is_known_by_all_its_names() {
        let stig = Published::of(HardeningProfile::Stig).expect("read");

        for rule in &stig {
            assert!(rule.group.starts_with("V-") && rule.rule.starts_with("SV-"), "{rule:?}");
            assert!(!rule.controls.is_empty() && !rule.cci.is_empty() && !rule.about().is_empty(), "{rule:?}");
        }
    }
}
