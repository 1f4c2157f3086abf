use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::artifact::{Artifact, Bundle, Kind};
use crate::environment::{EnvironmentClass, Platform};
use crate::event::Outcome;
use crate::fingerprint::Reading;
use crate::workspace::{Disk, RealDisk, StateDir, Workspace};

type Objects = BTreeMap<u64, Vec<u8>>;

struct World {
    dir: tempfile::TempDir,
    state: StateDir,
    identity: Identity,
    store: MemoryStore,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let state = Workspace::open(dir.path()).expect("a workspace").state("dev");
        Self { dir, state, identity: identity(), store: MemoryStore::default() }
    }

    async fn try_open(&self) -> Result<Journal, Failure> {
        Journal::open(Box::new(self.store.clone()), &self.identity).await
    }

    async fn open(&self) -> Journal {
        self.try_open().await.expect("intact")
    }

    fn lease(&self) -> Lease {
        Lease::take(&self.state, Actor::here()).expect("free")
    }

    /// A world with a run that wrote these records after its beginning.
    async fn with(records: Vec<Record>) -> Self {
        let world = Self::new();
        let writer = Writer::begin(world.open().await, world.lease(), "up dev", None).await.expect("begun");
        for record in records {
            writer.append(record).await.expect("written");
        }
        world
    }
}

fn identity() -> Identity {
    Identity {
        version: 1,
        id: Uuid::new_v4(),
        name: "dev".to_owned(),
        platform: Platform::Aws,
        class: EnvironmentClass::Standard,
        account: "123456789012".to_owned(),
        region: "us-gov-west-1".to_owned(),
        created: Timestamp::UNIX_EPOCH,
        created_by: "a.operator".to_owned(),
        expires: None,
    }
}

fn fact(name: &str, value: impl Into<serde_json::Value>) -> Record {
    Record::Fact { name: name.to_owned(), value: value.into() }
}

fn reading(value: &str) -> Reading {
    Reading(BTreeMap::from([("rke2.version".to_owned(), Digest::of(value.as_bytes()))]))
}

fn intent(step: Option<&str>, deed: Deed) -> Record {
    Record::Intent(Intent {
        stage: Kind::Bundle,
        step: step.map(str::to_owned),
        deed,
        attempt: 1,
        fingerprint: reading("1").fingerprint("bundle"),
        reading: reading("1"),
        effect: "store/v1.35.4+rke2r1".to_owned(),
        tools: BTreeMap::new(),
    })
}

fn settled(step: Option<&str>, deed: Deed, outcome: Outcome) -> Record {
    Record::Outcome(Settled {
        stage: Kind::Bundle,
        step: step.map(str::to_owned),
        deed,
        attempt: 1,
        outcome,
        artifact: step.is_none().then(bundle),
        output: step.map(|_| "output".into()),
        why: None,
        took: Duration::from_secs(2),
    })
}

fn bundle() -> Artifact {
    Artifact::Bundle(Bundle { version: "v1.35.4+rke2r1".to_owned(), files: BTreeMap::new() })
}

#[tokio::test]
async fn what_was_written_is_there_after_the_journal_was_opened_again() {
    let world = World::with(vec![fact("servers.first", "server-2")]).await;

    let journal = world.open().await;

    let kinds: Vec<_> = journal.entries().iter().map(|entry| (entry.number, entry.record.kind())).collect();
    assert_eq!(kinds, [(1, "lease"), (2, "run-started"), (3, "fact")]);
    assert_eq!(journal.memory().facts["servers.first"], "server-2");
    assert_eq!(journal.memory().next_run(), 2);
}

#[tokio::test]
async fn an_intent_without_an_outcome_is_indeterminate_and_the_artifact_made_before_is_kept() {
    let world = World::with(vec![
        intent(None, Deed::Make),
        settled(None, Deed::Make, Outcome::Succeeded),
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
    ])
    .await;

    let memory = world.open().await.memory().clone();

    let stage = &memory.stages[&Kind::Bundle];
    assert_eq!((stage.last, stage.current()), (Outcome::Indeterminate, None));
    assert_eq!(stage.made.as_ref().map(|made| made.artifact.clone()), Some(bundle()));
    assert_eq!(memory.step(Kind::Bundle, "images").map(|step| step.outcome), Some(Outcome::Indeterminate));
    let effect = "store/v1.35.4+rke2r1";
    assert_eq!(memory.open_intents(), [("bundle".to_owned(), effect), ("bundle/images".to_owned(), effect)]);
}

#[tokio::test]
async fn a_stage_that_succeeded_may_be_reused_with_what_it_was_made_from() {
    let world = World::with(vec![
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
        settled(Some("images"), Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Skipped),
    ])
    .await;

    let memory = world.open().await.memory().clone();

    let made = memory.stages[&Kind::Bundle].current().expect("made");
    assert_eq!(made.fingerprint, reading("1").fingerprint("bundle"));
    assert_eq!(made.reading.changed_since(&reading("2")), ["rke2.version"]);
    assert_eq!(memory.steps[&(Kind::Bundle, "images".to_owned())].output, Some("output".into()));
}

#[tokio::test]
async fn a_failed_removal_is_remembered_and_a_done_one_forgets_the_stage_and_its_steps() {
    let mut records = vec![
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
        settled(Some("images"), Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Succeeded),
        intent(None, Deed::Remove),
        settled(None, Deed::Remove, Outcome::Failed),
    ];
    let failed = World::with(records.clone()).await.open().await.memory().clone();
    records.extend([intent(None, Deed::Remove), settled(None, Deed::Remove, Outcome::Succeeded)]);

    let removed = World::with(records).await.open().await.memory().clone();

    assert_eq!(failed.stages[&Kind::Bundle].current(), None);
    assert!(failed.stages[&Kind::Bundle].made.is_some());
    assert!(removed.stages.is_empty() && removed.steps.is_empty());
}

#[tokio::test]
async fn children_are_open_until_their_result_was_taken_over_and_facts_until_they_are_forgotten() {
    let start = |id: &str| Record::ChildStarted {
        id: id.to_owned(),
        slot: "network-apply".to_owned(),
        lock: format!("children/{id}.lock"),
    };
    let world = World::with(vec![
        start("one"),
        start("two"),
        Record::ChildEnded { id: "one".to_owned(), code: Some(0) },
        fact("x", 1),
        fact("x", serde_json::Value::Null),
    ])
    .await;

    let memory = world.open().await.memory().clone();

    assert_eq!(memory.open_children.keys().collect::<Vec<_>>(), ["two"]);
    assert!(memory.facts.is_empty());
}

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
async fn a_stray_file_with_a_huge_number_is_a_gap_and_costs_nothing() {
    let world = World::with(vec![]).await;
    world.store.tamper(|objects| objects.insert(9_999_999_999, b"{}".to_vec()));

    let failure = world.try_open().await.err().expect("refused");

    assert_eq!(failure.exit(), Exit::EntryMissing);
    assert_eq!(failure.causes()[0], "entry 3 is missing, and later ones exist");
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

#[tokio::test]
async fn every_changed_byte_of_every_entry_is_found() {
    let world = World::with(vec![intent(None, Deed::Make), settled(None, Deed::Make, Outcome::Succeeded)]).await;
    let intact = world.store.tamper(|objects| objects.clone());

    for (number, bytes) in &intact {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x01;
            world.store.tamper(|objects| objects.insert(*number, changed));
            let verdict = verify(&world.store, world.identity.id, None).await.expect("read");
            let (damaged, damage) = verdict.damage.clone().expect("found");
            assert_eq!(damaged, *number, "byte {at}: {damage:?}");
        }
        world.store.tamper(|objects| objects.insert(*number, bytes.clone()));
    }
}

#[tokio::test]
async fn an_altered_journal_is_not_opened_and_the_failure_names_entry_place_and_how() {
    let world = World::with(vec![fact("servers.first", "server-2")]).await;
    world.store.tamper(|objects| {
        let text = String::from_utf8(objects[&3].clone()).expect("text").replace("server-2", "server-1");
        objects.insert(3, text.into_bytes())
    });

    let failure = world.try_open().await.err().expect("refused");

    assert_eq!(failure.exit(), Exit::Altered);
    assert_eq!(failure.what(), "the journal of `dev` is damaged");
    assert_eq!(failure.causes(), ["entry 3 was altered: its content does not match its digest", "entry 3"]);
}

#[tokio::test]
async fn a_missing_a_swapped_and_a_foreign_entry_are_told_apart() {
    let world = World::with(vec![fact("a", 1), fact("b", 2)]).await;
    let intact = world.store.tamper(|objects| objects.clone());
    let damage = async |tamper: &dyn Fn(&mut Objects)| {
        world.store.tamper(|objects| {
            *objects = intact.clone();
            tamper(objects);
        });
        let verdict = verify(&world.store, world.identity.id, None).await.expect("read");
        verdict.damage.map(|(number, damage)| damage.describe(number)).unwrap_or_default()
    };

    let missing = damage(&|objects| drop(objects.remove(&2))).await;
    let swapped = damage(&|objects| drop(objects.insert(3, intact[&4].clone()))).await;
    let torn = damage(&|objects| drop(objects.insert(3, intact[&3][..40].to_vec()))).await;
    let foreign = verify(&world.store, Uuid::nil(), None).await.expect("read").damage.expect("foreign");

    assert_eq!(missing, "entry 2 is missing, and later ones exist");
    assert_eq!(swapped, "entry 3 was altered: it says that it is entry 4");
    assert!(torn.starts_with("entry 3 was altered: no JSON: "), "{torn}");
    assert_eq!(foreign.1.describe(1), format!("entry 1 was altered: it belongs to environment {}", world.identity.id));
}

#[tokio::test]
async fn a_cut_tail_is_found_only_with_an_anchor() {
    let world = World::with(vec![fact("a", 1), fact("b", 2)]).await;
    let anchor = world.open().await.head().expect("a head");
    let whole = verify(&world.store, world.identity.id, Some(&anchor)).await.expect("read");
    world.store.tamper(|objects| objects.remove(&4));

    let without = verify(&world.store, world.identity.id, None).await.expect("read");
    let with = verify(&world.store, world.identity.id, Some(&anchor)).await.expect("read");

    assert_eq!(whole.exit(), None);
    assert_eq!((without.exit(), without.entries), (Some(Exit::Unanchored), 3));
    assert_eq!(with.exit(), Some(Exit::Truncated));
}

/// Rewrites an entry as another program would have written it.
fn rewritten(bytes: &[u8], rewrite: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).expect("json");
    rewrite(value.as_object_mut().expect("an object"));
    let digest = entry::digest_of(&mut value).expect("a digest");
    value.as_object_mut().expect("an object").insert("digest".to_owned(), digest.as_str().into());
    entry::canonical(&value).expect("bytes")
}

#[tokio::test]
async fn a_newer_minor_format_is_read_and_never_written_after() {
    let world = World::with(vec![fact("a", 1)]).await;
    world.store.tamper(|objects| {
        let newer = rewritten(&objects[&3], |fields| {
            fields.insert("version".to_owned(), "1.9".into());
            fields.insert("kind".to_owned(), "weather".into());
        });
        objects.insert(3, newer)
    });
    let mut journal = world.open().await;

    let failure = journal.append(&world.lease(), 2, fact("b", 2)).await.expect_err("read-only");

    assert_eq!(failure.what(), "the journal of `dev` is read-only");
    assert_eq!(failure.causes(), ["a newer program wrote to it, in format 1.9; this one knows 1.0"]);
    assert_eq!(journal.entries()[2].record, Record::Unrecognised);
}

#[tokio::test]
async fn a_newer_major_format_is_refused_and_an_unknown_kind_of_our_own_is_damage() {
    let world = World::with(vec![fact("a", 1)]).await;
    let entry = world.store.tamper(|objects| objects[&3].clone());
    let open_with = async |field: &str, value: &str| {
        let changed = rewritten(&entry, |fields| drop(fields.insert(field.to_owned(), value.into())));
        world.store.tamper(|objects| objects.insert(3, changed));
        world.try_open().await.err().expect("refused")
    };

    let major = open_with("version", "2.0").await;
    let kind = open_with("kind", "weather").await;

    assert_eq!(major.what(), "the journal of `dev` was written by a newer program");
    assert_eq!(kind.causes()[0], "entry 3 was altered: its kind is unknown");
}

/// A disk that ends after so many operations, as a machine does that loses its power.
#[derive(Debug)]
struct Dies(AtomicUsize);

impl Dies {
    fn spend(&self) -> io::Result<()> {
        let spent = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| io::Error::other("the power is gone"))
    }
}

impl Disk for Dies {
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.spend().and_then(|()| RealDisk.create(path, mode))
    }
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.write(file, bytes))
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.sync(file))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.link(from, to))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.sync_dir(dir))
    }
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.make_dir(path, mode))
    }
}

#[tokio::test]
async fn a_local_journal_survives_the_end_of_its_disk_at_every_operation_and_goes_on() {
    for operations in 0.. {
        let world = World::new();
        let dying = LocalStore::on(world.state.journal(), Arc::new(Dies(AtomicUsize::new(operations))));
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

#[tokio::test]
async fn the_history_tells_each_run_with_its_stages() {
    let world = World::with(vec![
        Record::Approval { plan: Digest::of(b"plan"), by: "b.second".to_owned(), what: "replaces agent-3".to_owned() },
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
        settled(Some("images"), Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Succeeded),
        Record::RunEnded { outcome: Outcome::Succeeded, why: None },
    ])
    .await;

    let runs = history(world.open().await.entries());

    let [run] = runs.as_slice() else { panic!("one run: {runs:?}") };
    assert_eq!((run.command.as_str(), run.outcome, run.entries), ("up dev", Outcome::Succeeded, (2, 8)));
    assert_eq!(run.approvals, ["b.second: replaces agent-3"]);
    let [stage] = run.stages.as_slice() else { panic!("one stage: {runs:?}") };
    assert_eq!((stage.attempts, stage.steps, stage.took), (1, 1, Some(Duration::from_secs(2))));
    assert_eq!(stage.made.as_deref(), Some("v1.35.4+rke2r1 · 0 files, verified"));
}

#[test]
fn an_identity_is_kept_and_never_overwritten_by_another() {
    let world = World::new();
    assert_eq!(load_identity(&world.state).expect("read"), None);
    save_identity(&world.state, &world.identity).expect("kept");
    save_identity(&world.state, &world.identity).expect("kept again");

    let failure = save_identity(&world.state, &identity()).expect_err("another");

    assert_eq!(failure.what(), "`dev` is another environment here");
    assert_eq!(load_identity(&world.state).expect("read"), Some(world.identity));
}

#[test]
fn a_damaged_or_newer_identity_is_not_taken_for_none() {
    let world = World::new();
    save_identity(&world.state, &world.identity).expect("kept");
    let text = std::fs::read_to_string(world.state.identity()).expect("read");
    std::fs::write(world.state.identity(), &text[..20]).expect("cut");
    let damaged = load_identity(&world.state).expect_err("damaged");
    std::fs::write(world.state.identity(), text.replace("\"version\": 1", "\"version\": 2")).expect("written");

    let newer = load_identity(&world.state).expect_err("newer");

    assert_eq!(damaged.what(), format!("cannot understand `{}`", world.state.identity().display()));
    assert_eq!(newer.what(), format!("a newer program wrote `{}`", world.state.identity().display()));
}
