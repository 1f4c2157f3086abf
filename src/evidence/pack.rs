//! The manifest of a pack: each file by its digest. It is what is signed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::json;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

pub const MANIFEST: &str = "manifest.json";
pub const SIGNATURE: &str = "manifest.json.sig";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: u32,
    pub environment: String,
    pub id: Uuid,
    pub taken: Timestamp,
    /// Name to SHA-256.
    pub files: BTreeMap<String, Digest>,
}

/// What is wrong with a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    Changed(String),
    Missing(String),
    /// It is not in the manifest.
    Strange(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(name) => write!(f, "`{name}` is not as it was"),
            Self::Missing(name) => write!(f, "`{name}` is missing"),
            Self::Strange(name) => write!(f, "`{name}` does not belong to it"),
        }
    }
}

impl Manifest {
    pub fn of(environment: &str, id: Uuid, taken: Timestamp, files: &BTreeMap<String, Vec<u8>>) -> Self {
        let files = files.iter().map(|(name, bytes)| (name.clone(), Digest::of(bytes))).collect();
        Self { version: VERSION, environment: environment.to_owned(), id, taken, files }
    }

    pub fn bytes(&self) -> Result<Vec<u8>, Failure> {
        json(self)
    }

    /// Reads what was signed; to be called once the signature was found good.
    ///
    /// # Errors
    /// Exit 1: it is no manifest of a version that is known.
    pub fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let refused =
            |cause: &dyn fmt::Display| Failure::new(Exit::NotDone, "the evidence cannot be read").because(cause);
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| refused(&error))?;
        if manifest.version != VERSION {
            return Err(refused(&format!("its manifest has version {}; {VERSION} is known", manifest.version)));
        }
        let is_inside = |name: &String| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        match manifest.files.keys().find(|name| !is_inside(name)) {
            Some(name) => Err(refused(&format!("`{name}` would lie outside of it"))),
            None => Ok(manifest),
        }
    }

    /// Holds what lies in a directory against the manifest.
    pub fn wrong(&self, there: &BTreeMap<String, Digest>) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = self
            .files
            .iter()
            .filter_map(|(name, digest)| match there.get(name) {
                None => Some(Wrong::Missing(name.clone())),
                Some(found) if found != digest => Some(Wrong::Changed(name.clone())),
                Some(_) => None,
            })
            .collect();
        let strange = there.keys().filter(|name| !self.files.contains_key(*name));
        wrong.extend(strange.map(|name| Wrong::Strange(name.clone())));
        wrong
    }
}

/// The digest of every file below a directory but those of the manifest itself. A link is taken for strange: it has no
/// digest of a file.
///
/// # Errors
/// Exit 4: a directory or file cannot be read.
pub fn files_of(dir: &Path) -> Result<BTreeMap<String, Digest>, Failure> {
    let mut found = BTreeMap::new();
    gather(dir, "", &mut found).map_err(|error| {
        Failure::new(Exit::Missing, format!("the evidence in `{}` cannot be read", dir.display())).because(error)
    })?;
    found.remove(MANIFEST);
    found.remove(SIGNATURE);
    Ok(found)
}

fn gather(dir: &Path, below: &str, found: &mut BTreeMap<String, Digest>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            gather(&entry.path(), &format!("{name}/"), found)?;
        } else if kind.is_file() {
            found.insert(name, Digest::of(&std::fs::read(entry.path())?));
        } else {
            found.insert(name, Digest::of(b"no file"));
        }
    }
    Ok(())
}
