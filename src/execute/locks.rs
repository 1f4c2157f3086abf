//! Which lock of a shared state is whose: the fact `tofu-lock/<slot>` names the lock that a child was seen to hold.
//!
//! A child is seen to hold a lock when it says what it does only under it, and one is there. When the child's end is
//! proven and OpenTofu did not end it itself, the fact says so, before the child's record goes; only such a lock is
//! ever released, by its id. What is not proven so is left to a person.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::Kind;
use crate::execute::Book;
use crate::failure::Failure;
use crate::journal::Record;

const FACT: &str = "tofu-lock/";

/// The lock of a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    id: String,
    child: String,
    /// The child is dead and did not give it back.
    #[serde(default)]
    is_left: bool,
}

impl Book {
    /// Notes the lock that the open child of a slot holds; whether there was one.
    pub(super) async fn note_lock(&self, stage: Kind, slot: &str) -> Result<bool, Failure> {
        let child = || {
            self.writer().look(|memory| {
                let mut open = memory.open_children.iter();
                open.find(|(_, child)| child.slot == slot).map(|(id, _)| id.clone())
            })
        };
        let Some(before) = child() else { return Ok(false) };
        let Some(lock) = self.writer().tofu_lock(stage).await? else { return Ok(false) };
        // A child that has ended meanwhile has given it back, and what lies there may be another's.
        if child().as_ref() != Some(&before) {
            return Ok(false);
        }
        self.record_lock(slot, json!(Held { id: lock.id, child: before, is_left: false })).await?;
        Ok(true)
    }

    /// A child has ended for certain, with this code: the lock that it was seen to hold is nobody's, unless OpenTofu ended
    /// well.
    pub(super) async fn leave_lock(&self, child: &str, code: Option<i32>) -> Result<(), Failure> {
        let held = self.locks().into_iter().find(|(_, held)| held.child == child && !held.is_left);
        let Some((slot, held)) = held.filter(|_| code != Some(0)) else { return Ok(()) };
        self.record_lock(&slot, json!(Held { is_left: true, ..held })).await
    }

    /// The lock of a stage's state, where a dead child of ours has left it; such children are forgotten when it is not.
    pub(super) async fn left_lock(&self, stage: Kind) -> Result<Option<String>, Failure> {
        let prefix = format!("{stage}-");
        let left = self.locks().into_iter().filter(|(slot, held)| held.is_left && slot.starts_with(&prefix));
        let left: Vec<_> = left.collect();
        if left.is_empty() {
            return Ok(None);
        }
        let there = self.writer().tofu_lock(stage).await?;
        if let Some(lock) = there.filter(|lock| left.iter().any(|(_, held)| held.id == lock.id)) {
            return Ok(Some(lock.id));
        }
        for (slot, _) in left {
            self.record_lock(&slot, Value::Null).await?;
        }
        Ok(None)
    }

    /// What is known, by slot.
    fn locks(&self) -> Vec<(String, Held)> {
        self.writer().look(|memory| {
            let facts = memory.facts.range(FACT.to_owned()..).take_while(|(name, _)| name.starts_with(FACT));
            let read = |(name, value): (&String, &Value)| {
                Some((name.strip_prefix(FACT)?.to_owned(), Held::deserialize(value).ok()?))
            };
            facts.filter_map(read).collect()
        })
    }

    async fn record_lock(&self, slot: &str, value: Value) -> Result<(), Failure> {
        self.writer().append(Record::Fact { name: format!("{FACT}{slot}"), value }).await.map(drop)
    }
}
