//! Entries as objects: `<environment id>/journal/0000000042.json`, where every machine that may write sees them. They stay
//! there when the environment is gone: another of its name has another id.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::Store;
use crate::failure::Failure;
use crate::objects::Objects;
use crate::workspace::Published;

/// How many entries are asked for at the same time.
const AT_ONCE: usize = 32;

#[derive(Clone, Debug)]
pub struct SharedStore {
    objects: Arc<dyn Objects>,
    dir: String,
}

impl SharedStore {
    pub fn new(objects: Arc<dyn Objects>, environment: Uuid) -> Self {
        Self { objects, dir: format!("{environment}/journal/") }
    }

    fn key(&self, number: u64) -> String {
        format!("{}{number:010}.json", self.dir)
    }
}

#[async_trait]
impl Store for SharedStore {
    async fn create(&self, number: u64, bytes: &[u8]) -> Result<Published, Failure> {
        Ok(match self.objects.create(&self.key(number), bytes).await? {
            Some(_) => Published::Created,
            None => Published::Existed,
        })
    }

    async fn read(&self, numbers: RangeInclusive<u64>) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let asked = stream::iter(numbers).map(async |number| self.objects.get(&self.key(number)).await);
        let objects: Vec<_> = asked.buffered(AT_ONCE).try_collect().await?;
        Ok(objects.into_iter().map(|object| object.map(|object| object.bytes)).collect())
    }

    async fn last(&self) -> Result<u64, Failure> {
        let keys = self.objects.list(&self.dir).await?;
        let numbers = keys.iter().filter_map(|key| key.strip_prefix(&self.dir)?.strip_suffix(".json")?.parse().ok());
        Ok(numbers.max().unwrap_or_default())
    }

    async fn sweep(&self) -> Result<(), Failure> {
        // An object is there as a whole or not at all.
        Ok(())
    }

    fn place(&self, number: u64) -> String {
        self.objects.place(&self.key(number))
    }
}
