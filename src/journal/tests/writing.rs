//! Who may write, in which order, and what becomes of a writer that has lost its right.

use std::sync::Arc;

use super::*;

#[tokio::test]
async fn each_lease_raises_the_epoch() {
    let world = World::with(vec![]).await;
    let writer = Writer::begin(world.open().await, world.lease(), "down dev", None).await.expect("begun");
    writer.end(Outcome::Failed, Some("access: no answer".to_owned())).await.expect("ended");

    let journal = world.open().await;

    let epochs: Vec<_> = journal.entries().iter().map(|entry| (entry.run, entry.epoch)).collect();
    assert_eq!(epochs, [(1, 1), (1, 1), (2, 2), (2, 2), (2, 2)]);
    let run = journal.memory().last_run.as_ref().expect("a run");
    assert_eq!((run.number, run.command.as_str(), run.outcome), (2, "down dev", Some(Outcome::Failed)));
}

#[tokio::test]
async fn a_writer_that_lost_its_lease_is_stopped_by_the_number_that_is_taken() {
    let world = World::with(vec![]).await;
    let lease = world.lease();
    let mut stale = world.open().await;
    stale.append(&lease, 1, fact("x", 1)).await.expect("still ours");
    let mut other = world.open().await;
    other.append(&lease, 2, fact("x", 2)).await.expect("written");

    let failure = stale.append(&lease, 1, fact("x", 3)).await.expect_err("fenced");
    let again = stale.append(&lease, 1, fact("x", 3)).await.expect_err("still fenced");

    assert_eq!(failure.exit(), Exit::Held);
    assert_eq!(failure.what(), "the lease of `dev` was lost");
    assert_eq!(failure.causes(), [format!("entry 5 of its journal was written by {} in run 0002", Actor::here())]);
    assert_eq!(again.what(), failure.what());
    assert_eq!(world.open().await.memory().facts["x"], 2);
}

#[tokio::test]
async fn the_lease_of_another_environment_writes_nothing() {
    let world = World::with(vec![]).await;
    let other = Workspace::open(world.dir.path()).expect("a workspace").state("prod");
    let lease = Lease::take(&other, Actor::here()).expect("free");

    let failure = world.open().await.append(&lease, 2, fact("x", 1)).await.expect_err("refused");

    assert_eq!(failure.what(), "the lease of `prod` was used to write about `dev`");
    assert_eq!(world.open().await.entries().len(), 2);
}

#[tokio::test]
async fn stages_that_write_at_once_get_numbers_without_gaps() {
    let world = World::new();
    let writer = Arc::new(Writer::begin(world.open().await, world.lease(), "up dev", None).await.expect("begun"));

    let tasks: Vec<_> = (0..20)
        .map(|index| {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move { writer.append(fact(&format!("fact-{index}"), index)).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.expect("joined").expect("written");
    }

    assert_eq!(world.open().await.memory().facts.len(), 20);
    assert_eq!(writer.look(|memory| memory.facts.len()), 20);
}
