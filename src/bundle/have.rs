//! What one side has, as a list of digests that the other side reads: only the rest travels.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bundle::create::{Order, intact};
use crate::bundle::manifest::{MANIFEST, SIGNATURE};
use crate::bundle::open::{Opened, Wrong, refused, stopped};
use crate::bundle::ordered::ordered;
use crate::bundle::prune::prune;
use crate::bundle::record::pack;
use crate::bundle::volume::Writer;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{Disk, make_dir, write_atomic, write_atomic_on};

const FORMAT: u32 = 1;
/// As large as the manifests that it is made from.
const LONGEST: u64 = 32 << 20;

/// The chunks of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Have {
    pub format: u32,
    pub chunks: BTreeSet<Digest>,
}

impl Have {
    pub fn new(chunks: BTreeSet<Digest>) -> Self {
        Self { format: FORMAT, chunks }
    }

    /// # Errors
    /// Exit 1: it is no such list.
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let refused = |cause: String| {
            Failure::new(Exit::NotDone, "what the other side has cannot be read")
                .because(cause)
                .hint("sre-provision bundle have ENVIRONMENT --to have.json   writes it, on the other side")
        };
        let have: Self = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        match have.format {
            FORMAT => Ok(have),
            other => Err(refused(format!("it has format {other}; this program knows {FORMAT}"))),
        }
    }

    pub fn read(path: &Path) -> Result<Self, Failure> {
        let refused = |cause: &dyn std::fmt::Display| {
            Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(cause)
        };
        let meta = path.metadata().map_err(|error| refused(&error))?;
        if meta.len() > LONGEST {
            return Err(refused(&"it is too large for a list of chunks"));
        }
        Self::parse(&std::fs::read(path).map_err(|error| refused(&error))?)
    }

    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(self).map_err(|error| Failure::bug("a list is no JSON").because(error))?;
        write_atomic(path, &bytes, 0o644)
    }
}

/// The chunks of a bundle that the other side lacks, and how many bytes they are.
pub fn missing(opened: &Opened, have: &Have) -> (BTreeSet<Digest>, u64) {
    let chunks = opened.manifest.chunks();
    let missing = chunks.into_iter().filter(|(digest, _)| !have.chunks.contains(digest));
    missing.fold((BTreeSet::new(), 0), |(mut digests, bytes), (digest, (length, _))| {
        digests.insert(digest.clone());
        (digests, bytes + length as u64)
    })
}

/// What came of a supplement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supplement {
    /// Chunks that were written, and those that a stopped try had written already.
    pub written: usize,
    pub kept: usize,
}

/// Writes a bundle with the same manifest and signature that carries only these chunks. A directory without a signature is
/// none yet: what a stopped try has written there is read again and kept chunk by chunk. Blocks the thread.
///
/// # Errors
/// The directory holds a bundle; a chunk is not there in the bundle it comes from.
pub fn supplement(
    disk: &dyn Disk,
    opened: &Opened,
    chunks: &BTreeSet<Digest>,
    order: &Order<'_>,
) -> Result<Supplement, Failure> {
    make_dir(disk, order.to, 0o755)?;
    if order.to.join(SIGNATURE).exists() {
        return Err(Failure::new(Exit::NotDone, format!("`{}` holds a bundle already", order.to.display()))
            .hint("name another directory, or remove that one first"));
    }
    let there = intact(order)?;
    let (kept, unused): (BTreeSet<Digest>, BTreeSet<Digest>) =
        there.into_iter().partition(|digest| chunks.contains(digest));
    let wanted = opened.manifest.chunks();
    let wanted = wanted.into_iter().filter(|(digest, _)| chunks.contains(digest) && !kept.contains(digest));
    let mut writer = Writer::open(disk, order.to, order.split)?;
    let mut written = 0;
    let feed = wanted.map(|wanted| if order.stop.is_asked() { Err(stopped("it was written")) } else { Ok(wanted) });
    ordered(
        feed,
        |(digest, (length, file))| match opened.chunks.read(digest, length) {
            Ok(chunk) => pack(digest, &chunk),
            Err(fault) => {
                Err(refused(&[Wrong { digest: digest.clone(), fault, file: file.name.to_string() }], chunks.len()))
            }
        },
        |record| {
            written += 1;
            writer.append(&record)
        },
    )?;
    writer.finish()?;
    if !unused.is_empty() {
        prune(disk, order.to, &unused, order.stop)?;
    }
    write_atomic_on(disk, &order.to.join(MANIFEST), &opened.bytes, 0o644)?;
    write_atomic_on(disk, &order.to.join(SIGNATURE), &opened.signature, 0o644)?;
    Ok(Supplement { written, kept: kept.len() })
}
