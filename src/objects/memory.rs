//! Objects in memory, for tests; clones share them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Object, Objects, Tag};
use crate::failure::Failure;

/// Content and the number of the write that made it.
type Kept = BTreeMap<String, (Vec<u8>, u64)>;

#[derive(Clone, Debug, Default)]
pub struct MemoryObjects(Arc<Mutex<(Kept, u64)>>);

impl MemoryObjects {
    /// Does something to the objects that no writer does, such as altering one.
    pub fn tamper<T>(&self, tamper: impl FnOnce(&mut BTreeMap<String, (Vec<u8>, u64)>) -> T) -> T {
        tamper(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Writes where `may` allows it for what is there.
    fn write(&self, key: &str, bytes: &[u8], may: impl FnOnce(Option<u64>) -> bool) -> Option<Tag> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !may(all.0.get(key).map(|(_, write)| *write)) {
            return None;
        }
        all.1 += 1;
        let write = all.1;
        all.0.insert(key.to_owned(), (bytes.to_vec(), write));
        Some(tag(write))
    }
}

fn tag(write: u64) -> Tag {
    Tag(write.to_string())
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Option<Tag>, Failure> {
        Ok(self.write(key, bytes, |there| there.is_none()))
    }

    async fn replace(&self, key: &str, bytes: &[u8], seen: &Tag) -> Result<Option<Tag>, Failure> {
        Ok(self.write(key, bytes, |there| there.is_some_and(|write| tag(write) == *seen)))
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let found = self.tamper(|all| all.get(key).cloned());
        Ok(found.map(|(bytes, write)| Object { bytes, tag: tag(write) }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        Ok(self.tamper(|all| all.keys().filter(|key| key.starts_with(prefix)).cloned().collect()))
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.tamper(|all| all.remove(key));
        Ok(())
    }

    fn place(&self, key: &str) -> String {
        format!("memory:{key}")
    }
}
