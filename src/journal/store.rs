//! Where entries lie: numbered objects that can be created and never changed.
//!
//! The number is the fence: of two writers that both believe to hold the lease only one can create the next number, and
//! the other learns it from the refusal.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::failure::{Exit, Failure};
use crate::objects::blocking;
use crate::workspace::{Disk, Published, RealDisk, StateDir, make_dir, publish, sweep_unfinished};

/// What is written here, for people.
const WHAT: &str = "the journal";

/// A place for entries.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates an object, durably, if its number is free.
    ///
    /// # Errors
    /// Whether the object is there is then unknown.
    async fn create(&self, number: u64, bytes: &[u8]) -> Result<Published, Failure>;

    /// The objects of these numbers, `None` where there is none.
    async fn read(&self, numbers: RangeInclusive<u64>) -> Result<Vec<Option<Vec<u8>>>, Failure>;

    /// The highest number; 0 when there is none.
    async fn last(&self) -> Result<u64, Failure>;

    /// Removes what writers that died left unfinished; called by the holder of the lease.
    async fn sweep(&self) -> Result<(), Failure>;

    /// Where an object is, for people.
    fn place(&self, number: u64) -> String;
}

/// Entries as files: `journal/0000000042.json`.
#[derive(Clone, Debug)]
pub struct LocalStore {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl LocalStore {
    pub fn new(state: &StateDir) -> Self {
        Self::on(state.journal(), Arc::new(RealDisk))
    }

    /// A store on a given disk, so that a test can end it anywhere.
    pub fn on(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { dir, disk }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.json"))
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn create(&self, number: u64, bytes: &[u8]) -> Result<Published, Failure> {
        let bytes = bytes.to_vec();
        blocking(self, WHAT, move |store| {
            make_dir(&*store.disk, &store.dir, 0o700)?;
            publish(&*store.disk, &store.path(number), &bytes, 0o600)
        })
        .await
    }

    async fn read(&self, numbers: RangeInclusive<u64>) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        blocking(self, WHAT, move |store| numbers.map(|number| read_file(&store.path(number))).collect()).await
    }

    async fn last(&self) -> Result<u64, Failure> {
        blocking(self, WHAT, |store| last_number(&store.dir)).await
    }

    async fn sweep(&self) -> Result<(), Failure> {
        blocking(self, WHAT, |store| sweep_unfinished(&*store.disk, &store.dir)).await
    }

    fn place(&self, number: u64) -> String {
        self.path(number).display().to_string()
    }
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn last_number(dir: &Path) -> Result<u64, Failure> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(dir, &error)),
    };
    let mut last = 0;
    for entry in entries {
        let name = entry.map_err(|error| unreadable(dir, &error))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
        last = last.max(number.unwrap_or_default());
    }
    Ok(last)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)
}

/// Entries in memory, for tests; clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>);

impl MemoryStore {
    /// Does something to the objects that no writer does, such as altering one.
    pub fn tamper<T>(&self, tamper: impl FnOnce(&mut BTreeMap<u64, Vec<u8>>) -> T) -> T {
        tamper(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, number: u64, bytes: &[u8]) -> Result<Published, Failure> {
        Ok(self.tamper(|objects| {
            if objects.contains_key(&number) {
                return Published::Existed;
            }
            objects.insert(number, bytes.to_vec());
            Published::Created
        }))
    }

    async fn read(&self, numbers: RangeInclusive<u64>) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        Ok(self.tamper(|objects| numbers.map(|number| objects.get(&number).cloned()).collect()))
    }

    async fn last(&self) -> Result<u64, Failure> {
        Ok(self.tamper(|objects| objects.keys().next_back().copied().unwrap_or_default()))
    }

    async fn sweep(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn place(&self, number: u64) -> String {
        format!("entry {number}")
    }
}
