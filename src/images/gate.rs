//! What was measured on a machine of an image, and whether that is enough.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hygiene::Trace;
use super::statement::{Statement, content, open};
use crate::bundle::TrustedKeys;
use crate::cloud::{Account, FoundImage};
use crate::failure::Failure;
use crate::fingerprint::Digest;

/// What a machine showed that was booted once from the finished image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    pub measured: Timestamp,
    pub expires: Timestamp,
    /// The machine that was looked at.
    pub machine: String,
    pub fips: Fips,
    /// None where the environment has no profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// What was looked for and should not be there.
    pub hygiene: Vec<Trace>,
    /// What `rke2 --version` says, on an image with RKE2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rke2: Option<String>,
    pub packages: usize,
    /// The digest of the bill of packages.
    pub bill: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fips {
    pub wanted: bool,
    /// What the kernel says.
    pub kernel: bool,
}

/// How many rules of a profile came to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    pub pass: usize,
    pub fail: usize,
    /// They fail for a reason that is known.
    pub excepted: usize,
    pub not_applicable: usize,
    pub not_reviewed: usize,
    pub unknown: usize,
    /// The rules that fail and have no reason to.
    pub open: Vec<String>,
}

impl Profile {
    /// How many percent passed of what was decided or should have been; exceptions do not count.
    pub fn percent(&self) -> u8 {
        let decided = self.pass + self.fail + self.unknown;
        (self.pass * 100).checked_div(decided).and_then(|percent| u8::try_from(percent).ok()).unwrap_or(0)
    }
}

impl Gate {
    /// What of it is not as it must be, line by line; nothing where all is.
    pub fn faults(&self, score: u8) -> Vec<String> {
        let mut faults = Vec::new();
        if self.fips.wanted && !self.fips.kernel {
            faults.push("the kernel is not in FIPS mode".to_owned());
        }
        let percent = self.profile.as_ref().map_or(0, Profile::percent);
        if percent < score {
            let name = self.profile.as_ref().map_or("none", |profile| profile.name.as_str());
            faults.push(format!("{percent} % of profile `{name}` passed, {score} % are required"));
        }
        if self.packages == 0 {
            faults.push("it tells of no package".to_owned());
        }
        faults.extend(self.hygiene.iter().filter(|trace| !trace.is_clean()).map(ToString::to_string));
        faults
    }
}

/// Whose statements count, and what they must say.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// None: a statement is read, and nobody vouches for it.
    pub keys: Option<TrustedKeys>,
    pub score: u8,
}

/// Where an image stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A trusted key vouches for it, and it shows what is required.
    Proven(Box<Gate>),
    /// As far as a statement says that nobody vouches for: no key is trusted here.
    Told(Box<Gate>),
    /// It names no statement.
    Absent,
    /// It names one that is not kept where it was looked for.
    Missing(String),
    Expired(Box<Gate>),
    /// The statement is about another image, wrongly signed, or says too little: why, line by line.
    Refused(Vec<String>),
}

impl Standing {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Proven(_) => "proven",
            Self::Told(_) => "told",
            Self::Absent => "absent",
            Self::Missing(_) => "missing",
            Self::Expired(_) => "expired",
            Self::Refused(_) => "refused",
        }
    }

    /// What was measured, as far as a statement could be read.
    pub fn gate(&self) -> Option<&Gate> {
        match self {
            Self::Proven(gate) | Self::Told(gate) | Self::Expired(gate) => Some(gate),
            Self::Absent | Self::Missing(_) | Self::Refused(_) => None,
        }
    }

    /// Why the image is not to be used, line by line.
    pub fn faults(&self) -> Vec<String> {
        match self {
            Self::Proven(_) => vec![],
            Self::Told(_) => vec!["no key is trusted that could vouch for its statement".to_owned()],
            Self::Absent => vec!["it has no statement".to_owned()],
            Self::Missing(digest) => vec![format!("its statement {digest} is not kept here")],
            Self::Expired(gate) => vec![format!("its statement expired {}", gate.expires.strftime("%Y-%m-%d %H:%MZ"))],
            Self::Refused(why) => why.clone(),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Policy {
    /// Judges an image by the statement that it names: the bytes as they are kept, `None` where it is not kept.
    pub fn judge(
        &self,
        account: &Account,
        image: &FoundImage,
        named: Option<&str>,
        kept: Option<&[u8]>,
        now: Timestamp,
    ) -> Standing {
        let Some(named) = named else { return Standing::Absent };
        let Some(bytes) = kept else { return Standing::Missing(named.to_owned()) };
        if Digest::of(bytes).as_str() != named {
            return Standing::Refused(vec![format!("what is kept as its statement has another digest than {named}")]);
        }
        let statement = match open(bytes, self.keys.as_ref()) {
            Ok(statement) => statement,
            Err(failure) => return Standing::Refused(told(&failure)),
        };
        let Statement { image: about, content: digest, gate } = statement;
        if about != image.id || digest != content(account, image) {
            return Standing::Refused(vec![format!("its statement is about another image, `{about}`")]);
        }
        let gate = Box::new(gate);
        if gate.expires <= now {
            return Standing::Expired(gate);
        }
        match gate.faults(self.score) {
            faults if !faults.is_empty() => Standing::Refused(faults),
            _ if self.keys.is_none() => Standing::Told(gate),
            _ => Standing::Proven(gate),
        }
    }
}

fn told(failure: &Failure) -> Vec<String> {
    std::iter::once(failure.what().to_owned()).chain(failure.causes().iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
