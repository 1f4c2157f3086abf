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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::environment::{EnvironmentClass, Platform};
    use crate::identity::Identity;
    use crate::journal::{Actor, Home, Shared, Writer};
    use crate::objects::{MemoryObjects, Objects};
    use crate::process::Witness;
    use crate::workspace::Workspace;

    const SLOT: &str = "network-apply";
    const CHILD: &str = "network-apply-1";

    struct World {
        _dir: tempfile::TempDir,
        objects: Arc<MemoryObjects>,
        key: String,
        book: Book,
    }

    impl World {
        /// A run of an environment in which a child works.
        async fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let objects = Arc::new(MemoryObjects::default());
            let shared = Shared::new(Arc::<MemoryObjects>::clone(&objects));
            let home = Home::new(Workspace::open(dir.path()).expect("a workspace").state("dev"), Some(shared));
            let identity = Identity {
                version: 1,
                id: uuid::Uuid::from_u128(7),
                name: "dev".to_owned(),
                platform: Platform::Aws,
                class: EnvironmentClass::Standard,
                account: "123456789012".to_owned(),
                region: "eu-central-1".to_owned(),
                created: jiff::Timestamp::UNIX_EPOCH,
                created_by: "ann".to_owned(),
                expires: None,
            };
            home.keep_identity(&identity).await.expect("kept");
            let lease = home.lease(Actor::here()).await.expect("free");
            let journal = home.journal(&identity).await.expect("empty");
            let writer = Writer::begin(journal, lease, "up dev", None).await.expect("begun");
            let book = Book::new(writer, &identity, BTreeMap::new());
            book.started(CHILD, SLOT, Path::new("/lock")).await.expect("told");
            let key = format!("{}/tofu/network.tfstate.tflock", identity.id);
            Self { _dir: dir, objects, key, book }
        }

        async fn lock(&self, id: &str) {
            self.objects.delete(&self.key).await.expect("removed");
            let text = json!({ "ID": id, "Who": "root@vm" }).to_string();
            self.objects.create(&self.key, text.as_bytes()).await.expect("made");
        }

        async fn left(&self) -> Option<String> {
            self.book.lock_left(Kind::Network).await.expect("looked")
        }

        fn known(&self) -> usize {
            self.book.locks().len()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_is_released_only_when_it_was_seen_with_a_child_whose_end_is_proven() {
        let world = World::new().await;
        world.lock("ours").await;

        let unseen = world.left().await;
        let seen = world.book.state_locked(Kind::Network, SLOT).await.expect("seen");
        let working = world.left().await;
        world.book.ended(CHILD, None, None).await.expect("told");
        let dead = world.left().await;
        let elsewhere = world.book.lock_left(Kind::Nodes).await.expect("looked");

        assert!(seen);
        assert_eq!([unseen, working, dead, elsewhere], [None, None, Some("ours".to_owned()), None]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_with_another_id_stays_and_the_dead_child_is_forgotten() {
        let world = World::new().await;
        world.lock("ours").await;
        world.book.state_locked(Kind::Network, SLOT).await.expect("seen");
        world.book.ended(CHILD, None, None).await.expect("told");
        world.lock("another's").await;

        let left = world.left().await;
        let there = world.objects.get(&world.key).await.expect("read").expect("a lock");

        assert_eq!((left, world.known()), (None, 0));
        assert!(String::from_utf8_lossy(&there.bytes).contains("another's"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_nobody_here_knows_the_child_or_tofu_ended_well_nothing_is_proven() {
        let (vanished, well) = (World::new().await, World::new().await);
        for world in [&vanished, &well] {
            world.lock("ours").await;
            world.book.state_locked(Kind::Network, SLOT).await.expect("seen");
        }

        vanished.book.vanished(CHILD).await.expect("told");
        well.book.ended(CHILD, Some(0), None).await.expect("told");

        assert_eq!((vanished.left().await, well.left().await), (None, None));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_locked_when_no_child_of_ours_works_is_nobodys_that_we_know() {
        let world = World::new().await;
        world.book.ended(CHILD, None, None).await.expect("told");
        world.lock("another's").await;

        let seen = world.book.state_locked(Kind::Network, SLOT).await.expect("looked");

        assert_eq!((seen, world.known()), (false, 0));
    }
}
