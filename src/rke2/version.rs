//! An RKE2 release such as `v1.35.4+rke2r1`: read, compared, and written as URLs want it.
//!
//! The part behind `+` counts: semantic versioning would call `+rke2r1` and `+rke2r2` equal.

use std::fmt;
use std::str::FromStr;

/// A release. Ordered by Kubernetes version, then candidates before the release, then RKE2's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
    /// The number of a release candidate; [`u32::MAX`] for the release itself, so that it sorts after them.
    candidate: u32,
    pub revision: u32,
}

impl Version {
    /// As it stands in a URL.
    pub fn in_url(self) -> String {
        self.to_string().replace('+', "%2B")
    }

    /// The Kubernetes version alone: `v1.35.4`.
    pub fn kubernetes(self) -> String {
        format!("v{}.{}.{}", self.major, self.minor, self.patch)
    }

    pub fn is_candidate(self) -> bool {
        self.candidate != u32::MAX
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.is_candidate() {
            write!(f, "-rc{}", self.candidate)?;
        }
        write!(f, "+rke2r{}", self.revision)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| format!("`{text}` is no RKE2 release; write it like `v1.35.4+rke2r1`"))
    }
}

fn parse(text: &str) -> Option<Version> {
    let (kubernetes, revision) = text.strip_prefix('v')?.split_once("+rke2r")?;
    let (numbers, candidate) = match kubernetes.split_once("-rc") {
        Some((numbers, candidate)) => (numbers, number(candidate).filter(|candidate| *candidate != u32::MAX)?),
        None => (kubernetes, u32::MAX),
    };
    let mut parts = numbers.split('.').map(number);
    let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
    let whole = parts.next().is_none();
    whole.then_some(Version { major, minor, patch, candidate, revision: number(revision)? })
}

/// Digits alone; what `u32::from_str` takes beyond them, a sign, is refused.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    #[test]
    fn releases_are_ordered_by_number_and_candidates_come_before_their_release() {
        let mut all = ["v1.35.4+rke2r2", "v1.35.10+rke2r1", "v1.35.4+rke2r1", "v1.35.4-rc2+rke2r1"].map(version);

        all.sort_unstable();

        assert_eq!(
            all.map(|version| version.to_string()),
            ["v1.35.4-rc2+rke2r1", "v1.35.4+rke2r1", "v1.35.4+rke2r2", "v1.35.10+rke2r1"]
        );
    }

    #[test]
    fn a_release_is_written_as_each_place_wants_it() {
        let version = version("v1.35.4+rke2r1");

        assert_eq!(version.in_url(), "v1.35.4%2Brke2r1");
        assert_eq!(version.kubernetes(), "v1.35.4");
    }

    #[test]
    fn what_is_no_release_is_refused_with_an_example() {
        for text in ["1.35.4+rke2r1", "v1.35+rke2r1", "v1.35.4", "v1.35.4+rke2r", "v1.35.+4+rke2r1", "v1.35.4.1+rke2r1"]
        {
            assert_eq!(
                text.parse::<Version>(),
                Err(format!("`{text}` is no RKE2 release; write it like `v1.35.4+rke2r1`"))
            );
        }
    }
}
