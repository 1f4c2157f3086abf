//! What programs said of themselves, kept as long as their files look the same.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::tools::Tool;
use crate::workspace::{RealDisk, make_dir, write_atomic};

/// How a program's files look: device, inode, size, and times of change of content and of inode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Looks(Vec<(u64, u64, u64, i64, i64, i64)>);

impl Looks {
    /// `None` for a script whose package we cannot look at: what it says of itself may change without it.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let look = |path: &Path| {
            let meta = path.metadata().ok()?;
            Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec()))
        };
        let mut looks = vec![look(path)?];
        if path.file_name().is_some_and(|name| name == "ansible-playbook") {
            looks.push(look(&release(path)?)?);
        }
        Some(Self(looks))
    }
}

/// `<prefix>/lib/python3.x/site-packages/ansible/release.py` for `<prefix>/bin/ansible-playbook`.
fn release(path: &Path) -> Option<PathBuf> {
    let prefix = path.parent()?.parent()?;
    let pythons = std::fs::read_dir(prefix.join("lib")).ok()?.flatten().map(|entry| entry.path());
    pythons.map(|python| python.join("site-packages/ansible/release.py")).find(|file| file.is_file())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    looks: Looks,
    version: String,
    digest: Digest,
}

/// By the program's path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory(BTreeMap<PathBuf, Known>);

impl Memory {
    /// A memory that is not there or cannot be read is empty: everything is asked again.
    pub(super) fn read(file: Option<&Path>) -> Self {
        let text = file.and_then(|file| std::fs::read(file).ok());
        text.map(|text| Self::parse(&text)).unwrap_or_default()
    }

    pub(super) fn parse(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    pub(super) fn recall(&self, path: &Path, looks: &Looks) -> Option<Tool> {
        let known = self.0.get(path).filter(|known| known.looks == *looks)?;
        Some(Tool { path: path.to_owned(), version: known.version.clone(), digest: known.digest.clone() })
    }

    pub(super) fn learn(&mut self, tool: &Tool, looks: Looks) -> &Self {
        let known = Known { looks, version: tool.version.clone(), digest: tool.digest.clone() };
        self.0.insert(tool.path.clone(), known);
        self
    }

    pub(super) fn write(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| Failure::bug("a path is no text").because(error))?;
        make_dir(&RealDisk, file.parent().unwrap_or(Path::new(".")), 0o700)?;
        write_atomic(file, &text, 0o600)
    }
}
