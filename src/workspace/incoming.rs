//! A file that arrives piece by piece and gets its name only when its digest is right.
//!
//! Digest and disk work on a thread of their own: who brings the pieces shares its thread with other stages.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::crash_point;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{Disk, RealDisk, make_dir};

/// How many pieces may wait for the disk.
const WAITING: usize = 16;
/// What a file is called until it has its name.
const UNFINISHED: &str = ".incoming-";

/// A file on its way in. Dropped before [`Incoming::accept`], it leaves nothing; what a killed program left goes with the
/// next file that arrives in the directory. The lock on the file tells the two apart.
pub struct Incoming {
    pieces: mpsc::Sender<Vec<u8>>,
    arrival: JoinHandle<Result<Arrived, Failure>>,
    target: PathBuf,
}

/// All pieces of a file, still without its name.
struct Arrived {
    file: NamedTempFile,
    digest: Context,
    size: u64,
}

impl Incoming {
    /// Starts a file that will be called `target`.
    pub fn start(target: &Path) -> Result<Self, Failure> {
        let dir = target.parent().unwrap_or(Path::new("."));
        make_dir(&RealDisk, dir, 0o755)?;
        let file = begin(dir).map_err(|error| refused(target, &error))?;
        let (pieces, received) = mpsc::channel(WAITING);
        let arrived = Arrived { file, digest: Context::new(&SHA256), size: 0 };
        let name = target.to_owned();
        let arrival = spawn_blocking(move || arrived.take(received, &name));
        Ok(Self { pieces, arrival, target: target.to_owned() })
    }

    /// Passes a piece on; waits while the disk is behind.
    ///
    /// # Errors
    /// An earlier piece could not be written.
    pub async fn write(&mut self, piece: Vec<u8>) -> Result<(), Failure> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        joined((&mut self.arrival).await).and(Err(Failure::bug("a file stopped arriving without a reason")))
    }

    /// Gives the file its name, durably, if it is what it should be.
    ///
    /// # Errors
    /// Another digest: exit 1, and the bytes are gone.
    pub async fn accept(self, expected: &Digest) -> Result<u64, Failure> {
        let Self { pieces, arrival, target } = self;
        drop(pieces);
        let arrived = joined(arrival.await)?;
        let expected = expected.clone();
        joined(spawn_blocking(move || arrived.accept(&expected, &target)).await)
    }
}

/// What work on its own thread gave; it panics only by a defect.
fn joined<T>(ended: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.map_err(|error| Failure::bug("a file could not be taken in").because(error))?
}

impl Arrived {
    fn take(mut self, mut pieces: mpsc::Receiver<Vec<u8>>, target: &Path) -> Result<Self, Failure> {
        while let Some(piece) = pieces.blocking_recv() {
            self.digest.update(&piece);
            self.size += piece.len() as u64;
            self.file.write_all(&piece).map_err(|error| refused(target, &error))?;
        }
        Ok(self)
    }

    fn accept(self, expected: &Digest, target: &Path) -> Result<u64, Failure> {
        let found = Digest::parse(&hex::encode(self.digest.finish()));
        if found.as_ref() != Some(expected) {
            let found = found.map(|digest| digest.to_string()).unwrap_or_default();
            let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Failure::new(Exit::NotDone, format!("`{name}` has a wrong checksum"))
                .because(format!("its SHA-256 is {found}, expected {expected}"))
                .hint("fetch the release again; if it stays wrong, do not use this source"));
        }
        let name = || -> io::Result<()> {
            crash_point!("incoming.before-sync", at target, b"");
            self.file.as_file().sync_all()?;
            crash_point!("incoming.before-rename", at target, b"");
            self.file.persist(target)?;
            crash_point!("incoming.before-directory-sync", at target, b"");
            RealDisk.sync_dir(target.parent().unwrap_or(Path::new(".")))
        };
        name().map_err(|error| refused(target, &error))?;
        Ok(self.size)
    }
}

/// Removes what nobody is writing any more and makes a file that we are.
fn begin(dir: &Path) -> io::Result<NamedTempFile> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_unfinished =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()));
        // Locked until its name is gone: whoever made it a moment ago waits for the lock and then looks again.
        if is_unfinished
            && let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            remove_quietly(&path)?;
        }
    }
    loop {
        let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
        file.as_file().lock()?;
        // Somebody may have taken it for left behind before it was locked.
        if file.path().exists() {
            return Ok(file);
        }
    }
}

/// Another program may have removed it at the same moment.
fn remove_quietly(path: &Path) -> io::Result<()> {
    match RealDisk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn refused(target: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot write `{}`", target.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_with_a_wrong_checksum_never_gets_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("rke2.linux-amd64.tar.gz");

        let mut incoming = Incoming::start(&target).expect("started");
        incoming.write(b"not it".to_vec()).await.expect("written");
        let failure = incoming.accept(&Digest::of(b"it")).await.expect_err("refused");

        assert_eq!(failure.what(), "`rke2.linux-amd64.tar.gz` has a wrong checksum");
        assert!(std::fs::read_dir(dir.path()).expect("readable").next().is_none());
    }

    #[tokio::test]
    async fn what_a_killed_program_left_goes_and_what_another_is_writing_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let left = dir.path().join(".incoming-left");
        std::fs::write(&left, "half").expect("written");
        let mut first = Incoming::start(&dir.path().join("first")).expect("started");
        first.write(b"it".to_vec()).await.expect("written");

        let second = Incoming::start(&dir.path().join("second")).expect("started");

        assert!(!left.exists());
        assert_eq!(first.accept(&Digest::of(b"it")).await.expect("accepted"), 2);
        drop(second);
    }

    #[tokio::test]
    async fn a_file_that_is_what_it_should_be_is_there_under_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("sha256sum-amd64.txt");

        let mut incoming = Incoming::start(&target).expect("started");
        incoming.write(b"i".to_vec()).await.expect("written");
        incoming.write(b"t".to_vec()).await.expect("written");

        assert_eq!(incoming.accept(&Digest::of(b"it")).await.expect("accepted"), 2);
        assert_eq!(std::fs::read(&target).expect("there"), b"it");
    }
}
