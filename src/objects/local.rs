//! Objects as files below a directory, durable as everything that `workspace/` writes.

#![expect(clippy::disallowed_methods, reason = "a lock is on an open file, which is never replaced")]

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::{FlockOperation, flock};
use walkdir::WalkDir;

use super::{Object, Objects, Tag, blocking};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{Published, RealDisk, make_dir, publish, remove, write_atomic};

/// Whoever replaces a file holds a lock on this one meanwhile.
const TURN: &str = ".turn";

/// What is written here, for people.
const WHAT: &str = "the state";

#[derive(Clone, Debug)]
pub struct LocalObjects {
    dir: PathBuf,
}

impl LocalObjects {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key)
    }

    fn create_now(&self, key: &str, bytes: &[u8]) -> Result<Option<Tag>, Failure> {
        let path = self.path(key);
        make_dir(&RealDisk, path.parent().unwrap_or(&self.dir), 0o700)?;
        Ok(match publish(&RealDisk, &path, bytes, 0o600)? {
            Published::Created => Some(tag(bytes)),
            Published::Existed => None,
        })
    }

    fn replace_now(&self, key: &str, bytes: &[u8], seen: &Tag) -> Result<Option<Tag>, Failure> {
        make_dir(&RealDisk, &self.dir, 0o700)?;
        let turn = self.path(TURN);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&turn);
        let file = file.map_err(|error| unreadable(&turn, &error))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| unreadable(&turn, &error.into()))?;
        if read(&self.path(key))?.is_none_or(|there| there.tag != *seen) {
            return Ok(None);
        }
        write_atomic(&self.path(key), bytes, 0o600)?;
        Ok(Some(tag(bytes)))
    }

    fn list_now(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let top = self.path(prefix);
        if !top.exists() {
            return Ok(vec![]);
        }
        let mut keys = Vec::new();
        for entry in WalkDir::new(&top).sort_by_file_name() {
            let entry = entry.map_err(|error| {
                Failure::new(Exit::NotDone, format!("cannot list `{}`", top.display())).because(error)
            })?;
            let is_object = entry.file_type().is_file() && !entry.file_name().to_string_lossy().starts_with('.');
            let key = entry.path().strip_prefix(&self.dir).ok().and_then(Path::to_str);
            keys.extend(key.filter(|_| is_object).map(str::to_owned));
        }
        keys.sort();
        Ok(keys)
    }
}

#[async_trait]
impl Objects for LocalObjects {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Option<Tag>, Failure> {
        let (key, bytes) = (key.to_owned(), bytes.to_vec());
        blocking(self, WHAT, move |objects| objects.create_now(&key, &bytes)).await
    }

    async fn replace(&self, key: &str, bytes: &[u8], seen: &Tag) -> Result<Option<Tag>, Failure> {
        let (key, bytes, seen) = (key.to_owned(), bytes.to_vec(), seen.clone());
        blocking(self, WHAT, move |objects| objects.replace_now(&key, &bytes, &seen)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let key = key.to_owned();
        blocking(self, WHAT, move |objects| read(&objects.path(&key))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let prefix = prefix.to_owned();
        blocking(self, WHAT, move |objects| objects.list_now(&prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let key = key.to_owned();
        blocking(self, WHAT, move |objects| {
            let path = objects.path(&key);
            // Removing makes its directory durable, which need not be there.
            if path.exists() { remove(&RealDisk, &path) } else { Ok(()) }
        })
        .await
    }

    fn place(&self, key: &str) -> String {
        self.path(key).display().to_string()
    }
}

fn read(path: &Path) -> Result<Option<Object>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Object { tag: tag(&bytes), bytes })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn tag(bytes: &[u8]) -> Tag {
    Tag(Digest::of(bytes).to_string())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)
}
