//! A clock that is set back or ahead changes shown times, and nothing else.

use jiff::SignedDuration;

use super::*;

/// What a run wrote, as if the clock had been set by `step` before each entry.
async fn stamped(step: SignedDuration) -> World {
    let world = World::with(vec![
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
        settled(Some("images"), Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Succeeded),
        fact("servers.first", "server-1"),
        Record::RunEnded { outcome: Outcome::Succeeded, why: None },
    ])
    .await;
    let (store, mut previous, mut time) =
        (MemoryStore::default(), None, Timestamp::from_second(1_700_000_000).expect("a time"));
    for entry in world.open().await.entries() {
        time = time.checked_add(step).expect("a time");
        let mut entry = Entry { previous, time, environment: world.identity.id, ..entry.clone() };
        let bytes = entry.seal().expect("sealed");
        store.create(entry.number, &bytes).await.expect("written");
        previous = Some(entry.digest);
    }
    World { store, ..world }
}

#[tokio::test]
async fn entries_are_read_in_the_order_of_their_numbers_whatever_the_clock_was_set_to() {
    for hours in [-24, 24] {
        let world = stamped(SignedDuration::from_hours(hours)).await;
        let journal = world.open().await;

        let memory = journal.memory();
        assert!(memory.stages[&Kind::Bundle].current().is_some(), "{hours}");
        assert_eq!(memory.facts["servers.first"], "server-1");
        let [run] = &history(journal.entries())[..] else { panic!("one run") };
        assert_eq!((run.outcome, run.stages[0].took), (Outcome::Succeeded, Some(Duration::from_secs(2))));
        let verdict = verify(&world.store, world.identity.id, &[]).await.expect("read");
        assert_eq!(verdict.damage, None, "{hours}");
    }
}

#[tokio::test]
async fn a_run_goes_on_after_entries_that_are_from_the_future() {
    let world = stamped(SignedDuration::from_hours(10 * 365 * 24)).await;

    let writer = Writer::begin(world.open().await, world.lease(), "up dev", None).await.expect("begun");
    writer.append(settled(None, Deed::Make, Outcome::Failed)).await.expect("written");

    let journal = world.open().await;
    assert_eq!(journal.memory().last_run.as_ref().map(|run| run.number), Some(2));
    assert_eq!(journal.memory().stages[&Kind::Bundle].last, Outcome::Failed);
}
