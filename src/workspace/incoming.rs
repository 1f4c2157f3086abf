//! A file that arrives piece by piece and gets its name only when its digest is right.

use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{RealDisk, make_dir};

/// A file on its way in. Dropped before [`Incoming::accept`], it leaves nothing.
pub struct Incoming {
    file: NamedTempFile,
    digest: Context,
    size: u64,
    target: PathBuf,
}

impl Incoming {
    /// Starts a file that will be called `target`.
    pub fn start(target: &Path) -> Result<Self, Failure> {
        let dir = target.parent().unwrap_or(Path::new("."));
        make_dir(&RealDisk, dir, 0o755)?;
        let file = NamedTempFile::new_in(dir).map_err(|error| refused(target, &error))?;
        Ok(Self { file, digest: Context::new(&SHA256), size: 0, target: target.to_owned() })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| refused(&self.target, &error))
    }

    /// Gives the file its name, durably, if it is what it should be.
    ///
    /// # Errors
    /// Another digest: exit 1, and the bytes are gone.
    pub fn accept(self, expected: &Digest) -> Result<u64, Failure> {
        let found = Digest::parse(&hex::encode(self.digest.finish()));
        if found.as_ref() != Some(expected) {
            let found = found.map(|digest| digest.to_string()).unwrap_or_default();
            let name = self.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Failure::new(Exit::NotDone, format!("`{name}` has a wrong checksum"))
                .because(format!("its SHA-256 is {found}, expected {expected}"))
                .hint("fetch the release again; if it stays wrong, do not use this source"));
        }
        let done = self.file.as_file().sync_all().and_then(|()| self.file.persist(&self.target)?.sync_all());
        done.map_err(|error| refused(&self.target, &error))?;
        Ok(self.size)
    }
}

fn refused(target: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot write `{}`", target.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_wrong_checksum_never_gets_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("rke2.linux-amd64.tar.gz");

        let mut incoming = Incoming::start(&target).expect("started");
        incoming.write(b"not it").expect("written");
        let failure = incoming.accept(&Digest::of(b"it")).expect_err("refused");

        assert_eq!(failure.what(), "`rke2.linux-amd64.tar.gz` has a wrong checksum");
        assert!(std::fs::read_dir(dir.path()).expect("readable").next().is_none());
    }

    #[test]
    fn a_file_that_is_what_it_should_be_is_there_under_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("sha256sum-amd64.txt");

        let mut incoming = Incoming::start(&target).expect("started");
        incoming.write(b"i").expect("written");
        incoming.write(b"t").expect("written");

        assert_eq!(incoming.accept(&Digest::of(b"it")).expect("accepted"), 2);
        assert_eq!(std::fs::read(&target).expect("there"), b"it");
    }
}
