//! What holds of every journal, whatever is written, by whom, and wherever it ends; the numbers are those of
//! docs/faults.md.

use std::sync::Arc;

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::json;

use super::*;
use crate::journal::chain::Chain;
use crate::workspace::Dies;

/// Runs what waits, from a test that does not.
fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work)
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        // RFC 8785 has the numbers of JavaScript.
        (-(1i64 << 53)..(1i64 << 53)).prop_map(|value| json!(value)),
        (-1e300..1e300f64).prop_map(|value| json!(value)),
        ".{0,12}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(".{0,8}", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn step() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("server-1")), Just(Some("server-2"))]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![Just(Deed::Make), Just(Deed::Remove)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    use Outcome::{Failed, Fenced, Indeterminate, Interrupted, Partial, Skipped, Succeeded};
    prop::sample::select(vec![Succeeded, Failed, Partial, Interrupted, Indeterminate, Skipped, Fenced])
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        ("[a-c]", value()).prop_map(|(name, value)| fact(&name, value)),
        (step(), deed()).prop_map(|(step, deed)| intent(step, deed)),
        (step(), deed(), outcome()).prop_map(|(step, deed, outcome)| settled(step, deed, outcome)),
        "[a-c]".prop_map(|id| Record::ChildStarted { id, slot: "network-apply".to_owned(), lock: "lock".to_owned() }),
        ("[a-c]", any::<Option<i32>>(), any::<Option<u32>>()).prop_map(|(id, code, millis)| {
            let took = millis.map(|millis| Duration::from_millis(millis.into()));
            Record::ChildEnded { id, code, took }
        }),
        (".{0,9}", ".{0,9}").prop_map(|(by, what)| Record::Approval { plan: Digest::of(b"plan"), by, what }),
        (outcome(), any::<Option<String>>()).prop_map(|(outcome, why)| Record::RunEnded { outcome, why }),
    ]
}

fn entry(record: Record) -> (Entry, Vec<u8>) {
    let mut entry = Entry {
        version: format::CURRENT,
        environment: Uuid::from_u128(7),
        number: 1,
        run: 1,
        epoch: 1,
        previous: None,
        time: now(),
        actor: Actor::here(),
        record,
        digest: Digest::of(b""),
    };
    let bytes = entry.seal().expect("sealed");
    (entry, bytes)
}

/// One program that believes it holds the lease: in a state directory of its own, as on another machine.
struct Believer {
    lease: Lease,
    journal: Journal,
}

impl Believer {
    async fn begin(state: &StateDir, store: &MemoryStore, identity: &Identity) -> Self {
        let lease = Lease::take(state, Actor::here()).expect("free");
        Self { lease, journal: Journal::open(Box::new(store.clone()), identity).await.expect("intact") }
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 48, ..Default::default() })]

    // Safety 1
    #[test]
    fn what_is_read_after_an_end_is_what_was_told_and_at_most_what_was_on_its_way(
        records in prop::collection::vec(record(), 1..8),
        operations in 0usize..90,
    ) {
        wait(async {
            let world = World::new();
            let dying = LocalStore::on(world.state.journal(), Arc::new(Dies::after(operations)));
            let journal = Journal::open(Box::new(dying), &world.identity).await.expect("empty");
            let mut told = 0;
            if let Ok(writer) = Writer::begin(journal, world.lease(), "up dev", None).await {
                for record in &records {
                    if writer.append(record.clone()).await.is_err() {
                        break;
                    }
                    told += 1;
                }
            }

            let read = Journal::open(Box::new(LocalStore::new(&world.state)), &world.identity).await.expect("intact");

            // Before the records of the run stand its lease and its beginning.
            let read: Vec<&Record> = read.entries().iter().skip(2).map(|entry| &entry.record).collect();
            prop_assert!(read.len() == told || read.len() == told + 1, "{} told, {} read", told, read.len());
            let written: Vec<&Record> = records.iter().take(read.len()).collect();
            prop_assert_eq!(read, written);
            Ok(())
        })?;
    }

    // Safety 2 and 3
    #[test]
    fn numbers_have_no_gap_run_and_epoch_never_fall_and_the_memory_is_what_the_entries_add_up_to(
        runs in prop::collection::vec(prop::collection::vec(record(), 0..5), 1..6),
    ) {
        wait(async {
            let world = World::new();
            for records in runs {
                let writer = Writer::begin(world.open().await, world.lease(), "up dev", None).await.expect("begun");
                for record in records {
                    writer.append(record).await.expect("written");
                }

                let journal = world.open().await;

                let entries = journal.entries();
                prop_assert!(entries.iter().zip(1..).all(|(entry, number)| entry.number == number));
                prop_assert!(entries.windows(2).all(|pair| pair[0].run <= pair[1].run && pair[0].epoch <= pair[1].epoch));
                prop_assert_eq!(&writer.look(Clone::clone), journal.memory());
                prop_assert_eq!(&Memory::of(entries), journal.memory());
            }
            Ok(())
        })?;
    }

    // Safety 6
    #[test]
    fn of_all_that_believe_to_hold_the_lease_none_commits_after_a_later_one_did(
        turns in prop::collection::vec((0usize..3, prop::bool::weighted(0.2)), 1..40),
    ) {
        wait(async {
            let world = World::new();
            let states: Vec<StateDir> = (0..3)
                .map(|machine| {
                    let dir = world.dir.path().join(format!("machine-{machine}"));
                    std::fs::create_dir(&dir).expect("made");
                    Workspace::open(&dir).expect("a workspace").state("dev")
                })
                .collect();
            let mut believers: Vec<Option<Believer>> = vec![None, None, None];
            let mut told = vec![];
            for (turn, (who, starts_anew)) in turns.into_iter().enumerate() {
                if starts_anew || believers[who].is_none() {
                    believers[who] = None;
                    believers[who] = Some(Believer::begin(&states[who], &world.store, &world.identity).await);
                }
                let Believer { lease, journal } = believers[who].as_mut().expect("begun");
                match journal.append(lease, 1, fact("turn", turn)).await {
                    Ok(entry) => told.push((turn, entry.epoch)),
                    Err(failure) => prop_assert_eq!(failure.exit(), Exit::Held),
                }
            }

            let journal = world.open().await;

            let facts: Vec<(usize, u64)> = journal.entries().iter().filter_map(|entry| match &entry.record {
                Record::Fact { value, .. } => Some((usize::try_from(value.as_u64()?).ok()?, entry.epoch)),
                _ => None,
            }).collect();
            prop_assert_eq!(&facts, &told, "what a writer was told is what is there");
            prop_assert!(told.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{:?}", told);
            Ok(())
        })?;
    }
}

proptest! {
    // Safety 19
    #[test]
    fn every_record_is_the_same_when_it_is_read_again(record in record()) {
        let (entry, bytes) = entry(record);

        let read = Chain::new(entry.environment).follow(Some(&bytes));

        prop_assert_eq!(read, Ok(entry));
    }

    // Safety 20
    #[test]
    fn a_change_of_any_byte_and_a_cut_anywhere_is_found(
        record in record(),
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let (entry, bytes) = entry(record);
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= change;

        let altered = Chain::new(entry.environment).follow(Some(&changed));
        let cut = Chain::new(entry.environment).follow(Some(&bytes[..at]));

        prop_assert!(matches!(altered, Err(Damage::Altered(_))), "{:?}", altered);
        prop_assert!(matches!(cut, Err(Damage::Altered(_))), "{:?}", cut);
    }
}
