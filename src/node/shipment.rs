//! A local file that goes to nodes, and the digests of its blocks.

use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::block_digests;

/// The piece by which a node's part of a file is looked at, sent again, and passed on.
pub(super) const BLOCK: u64 = 1 << 20;

/// A local file with the digest that it is promised to have.
///
/// The blocks are read once, and only when a node holds a part of the file or is to pass it on: whether the whole has
/// the promised digest is what the node looks at, so a file that changed meanwhile is never taken for the right one.
#[derive(Debug)]
pub struct Shipment {
    pub(super) local: PathBuf,
    pub(super) size: u64,
    pub(super) digest: Digest,
    blocks: OnceCell<Vec<Digest>>,
}

impl Shipment {
    /// # Errors
    /// Exit 1 when the file cannot be read.
    pub async fn of(local: &Path, digest: &Digest) -> Result<Self, Failure> {
        let size = tokio::fs::metadata(local).await.map_err(|error| unreadable(local, &error))?.len();
        Ok(Self { local: local.to_owned(), size, digest: digest.clone(), blocks: OnceCell::new() })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digests of its blocks, in order.
    pub(super) async fn blocks(&self) -> Result<&[Digest], Failure> {
        let blocks = self.blocks.get_or_try_init(|| block_digests(&self.local, BLOCK)).await?;
        Ok(blocks)
    }
}

pub(super) fn unreadable(local: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot read `{}`", local.display())).because(error)
}
