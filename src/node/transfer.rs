//! Files to and from a node: verified where they arrive; what is there already is not sent again.

use std::path::Path;

use tokio::io::AsyncReadExt as _;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::connection::Connection;
use crate::node::receiver::{Heard, Receiver};
use crate::node::shipment::Shipment;
use crate::workspace::Incoming;

/// What a transfer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The file was there with this digest.
    Already,
    Bytes(u64),
}

impl Connection {
    /// Brings a local file to an absolute path on the machine, owned by root.
    ///
    /// The remote file appears under its name only when it is whole and has the digest. It is not sent when a file of
    /// the same size and digest is there; only its mode is set then. What an earlier try left is looked at block by
    /// block, and only the blocks that are lacking or damaged are sent.
    ///
    /// # Errors
    /// Exit 5 when there is not enough room or the local file has another digest than promised, with nothing left
    /// behind; exit 6, transient, when the connection was lost: the next call goes on from there.
    pub async fn put(&self, local: &Path, remote: &Path, mode: u32, digest: &Digest) -> Result<Sent, Failure> {
        let shipment = Shipment::of(local, digest).await?;
        let (mut receiver, found) = Receiver::start(self, &shipment, remote, mode).await?;
        match found {
            None => Ok(Sent::Already),
            Some(found) => direct(&mut receiver, &shipment, found, &|_| Ok(())).await.map(Sent::Bytes),
        }
    }

    /// Brings a file of the machine, read as root, to a local path; it has the name only when it is whole and has the
    /// digest. Gives its size.
    ///
    /// # Errors
    /// Exit 1 when what arrived has another digest; exit 6, transient, when the connection was lost.
    pub async fn get(&self, remote: &str, local: &Path, digest: &Digest) -> Result<u64, Failure> {
        let words = [self.root_words(true), ["cat", "--", remote].map(str::to_owned).to_vec()].concat();
        let _turn = self.peer.sessions.acquire().await.map_err(|_| Failure::bug("a connection's turns were closed"))?;
        let session = self.session().await?;
        let mut child = self.spawn(&*session, &words).await?;
        drop(child.stdin().take());
        let mut arriving = child.stdout().take().ok_or_else(|| Failure::bug("a command without an output"))?;
        let mut incoming = Incoming::start(local)?;
        loop {
            let mut piece = Vec::with_capacity(1 << 18);
            // One that breaks ends here; the exit code and the digest tell what came of it.
            match arriving.read_buf(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(_) => incoming.write(piece).await?,
            }
        }
        match self.ended(child, &session).await? {
            0 => incoming.accept(digest).await,
            code => {
                let what = format!("reading `{remote}` on `{}` ended with code {code}", self.name());
                Err(Failure::new(Exit::Tool, what))
            }
        }
    }
}

/// Sends what the node lacks from here; gives how much that was.
pub(super) async fn direct(
    receiver: &mut Receiver<'_>,
    shipment: &Shipment,
    found: u64,
    heard: Heard<'_>,
) -> Result<u64, Failure> {
    let ranges = match found {
        0 => vec![(0, shipment.size)],
        _ => receiver.keep(heard).await?,
    };
    receiver.take(&ranges, heard).await
}
