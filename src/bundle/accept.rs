//! Which version of each line was accepted last: an older one is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bundle::manifest::Manifest;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// The last accepted bundle of each line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Accepted(pub BTreeMap<String, Version>);

/// One bundle of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    pub version: u64,
    /// Of the manifest.
    pub manifest: Digest,
}

impl Accepted {
    /// The fact of the journal in which this stands.
    pub const FACT: &str = "bundles-accepted";

    /// Takes a bundle as the last one of its line.
    pub fn with(mut self, manifest: &Manifest, bytes: &[u8]) -> Self {
        let version = Version { version: manifest.version, manifest: Digest::of(bytes) };
        self.0.insert(manifest.line.clone(), version);
        self
    }

    /// The later of both for each line.
    pub fn joined(mut self, other: Self) -> Self {
        for (line, version) in other.0 {
            let known = self.0.get(&line).map_or(0, |known| known.version);
            if version.version > known {
                self.0.insert(line, version);
            }
        }
        self
    }
}

/// # Errors
/// Exit 1: a later bundle of the line was accepted before, or another one of the same version.
pub fn refuse_older(accepted: &Accepted, manifest: &Manifest, bytes: &[u8]) -> Result<(), Failure> {
    let Some(last) = accepted.0.get(&manifest.line) else { return Ok(()) };
    let refused = |cause: String| {
        Failure::new(Exit::NotDone, format!("version {} of bundle `{}` is refused", manifest.version, manifest.line))
            .because(cause)
            .hint("take the newest bundle of this line; to go back on purpose, make it anew under a higher version")
    };
    if manifest.version < last.version {
        return Err(refused(format!("version {} was accepted before", last.version)));
    }
    if manifest.version == last.version && Digest::of(bytes) != last.manifest {
        return Err(refused("another bundle of this version was accepted before".to_owned()));
    }
    Ok(())
}
