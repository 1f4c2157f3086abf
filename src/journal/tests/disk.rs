//! The local journal on a disk that ends at every operation.

use std::sync::Arc;

use super::*;
use crate::workspace::Dies;

#[tokio::test]
async fn a_local_journal_survives_the_end_of_its_disk_at_every_operation_and_goes_on() {
    for operations in 0.. {
        let world = World::new();
        let dying = LocalStore::on(world.state.journal(), Arc::new(Dies::after(operations)));
        let journal = Journal::open(Box::new(dying), &world.identity).await.expect("empty");
        let done = match Writer::begin(journal, world.lease(), "up dev", None).await {
            Ok(writer) => writer.append(fact("a", 1)).await.is_ok(),
            Err(_) => false,
        };

        let store = LocalStore::new(&world.state);
        let after = Journal::open(Box::new(store.clone()), &world.identity).await.expect("intact");
        let writer = Writer::begin(after, world.lease(), "up dev", None).await.expect("goes on");
        writer.append(fact("b", 2)).await.expect("written");

        let memory = writer.look(Clone::clone);
        assert_eq!(memory.facts["b"], 2);
        assert!(!done || memory.facts["a"] == 1, "after {operations} operations");
        let names = std::fs::read_dir(world.state.journal()).expect("listed");
        assert!(names.flatten().all(|entry| entry.file_name().to_string_lossy().ends_with(".json")));
        if done {
            return;
        }
    }
}
