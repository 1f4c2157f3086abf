//! A journal that an earlier program wrote is read by this one, and this one writes the same bytes.
//!
//! The files in `tests/golden/journal/<format>/` are what the first program of that format wrote. They are never
//! changed once that program was released: a format that has to change gets a new number, a migration and a directory
//! of its own.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "the golden files of a new format are written here"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sre_provision::artifact::{Artifact, Bundle, BundleFile, Kind, Node, Nodes};
use sre_provision::environment::{EnvironmentClass, NodeName, Platform, Role};
use sre_provision::event::Outcome;
use sre_provision::fingerprint::{Digest, Reading};
use sre_provision::identity::Identity;
use sre_provision::journal::{
    Actor, Anchor, Claim, Deed, Entry, Intent, Journal, LocalStore, Record, Settled, history, line, verify,
};
use sre_provision::workspace::RealDisk;
use uuid::Uuid;

const FORMAT: &str = "1.0";
const ENVIRONMENT: Uuid = Uuid::from_u128(0x5b1e_0000_0000_4000_8000_0000_0000_0001);

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal").join(FORMAT)
}

fn store() -> LocalStore {
    LocalStore::on(golden(), Arc::new(RealDisk))
}

fn identity() -> Identity {
    Identity {
        version: 1,
        id: ENVIRONMENT,
        name: "dev".to_owned(),
        platform: Platform::Aws,
        class: EnvironmentClass::Ephemeral,
        account: "123456789012".to_owned(),
        region: "us-gov-west-1".to_owned(),
        created: "2026-11-20T14:02:11Z".parse().expect("a time"),
        created_by: "a.operator".to_owned(),
        expires: None,
    }
}

async fn journal() -> Journal {
    Journal::open(Box::new(store()), &identity()).await.expect("intact")
}

#[tokio::test]
async fn the_golden_journal_is_in_order_up_to_its_last_entry() {
    let number = u64::try_from(records().len()).expect("a number");
    let digest = Digest::parse("05659f2775be2cef222eb75f77cf226b54844142906cea602cca566756d8d633").expect("a digest");

    let verdict = verify(&store(), ENVIRONMENT, &[Anchor { number, digest }]).await.expect("read");

    assert_eq!((verdict.damage, verdict.anchored), (None, Some(number)));
}

#[tokio::test]
async fn this_program_writes_the_entries_of_its_format_byte_for_byte() {
    for entry in journal().await.entries() {
        let bytes = entry.clone().seal().expect("sealed");

        let there = std::fs::read(golden().join(format!("{:010}.json", entry.number))).expect("read");
        assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&there));
    }
}

#[tokio::test]
async fn the_golden_journal_adds_up_to_what_its_program_remembered() {
    let journal = journal().await;
    let memory = journal.memory();

    let made = memory.stages[&Kind::Nodes].current().expect("made");
    assert_eq!(made.artifact, nodes());
    assert_eq!(made.fingerprint, reading().fingerprint("nodes"));
    assert_eq!(memory.stages[&Kind::Bundle].last, Outcome::Indeterminate);
    assert_eq!(memory.steps[&(Kind::Nodes, "server-1".to_owned())].output, Some(json!({"machine": "i-0abc"})));
    assert_eq!(memory.facts["servers.first"], "server-1");
    assert_eq!(memory.open_children.keys().collect::<Vec<_>>(), ["0001-bundle"]);
    assert_eq!(memory.approvals[0].by, "b.second");
    assert_eq!(memory.next_run(), 3);
}

#[tokio::test]
async fn the_golden_journal_is_told_as_two_runs() {
    let runs = history(journal().await.entries());

    let told: Vec<_> = runs.iter().map(|run| (run.number, run.command.as_str(), run.outcome)).collect();
    assert_eq!(told, [(1, "up dev", Outcome::Partial), (2, "up dev", Outcome::Indeterminate)]);
}

#[tokio::test]
async fn each_entry_is_told_in_a_line() {
    let journal = journal().await;

    let lines: Vec<_> = journal.entries().iter().map(line).collect();

    insta::assert_snapshot!(lines.join("\n"));
}

/// Writes the golden files of a format that is not released yet: `cargo test --test journal_format -- --ignored`.
#[test]
#[ignore = "writes the golden files"]
fn write_the_golden_files() {
    std::fs::create_dir_all(golden()).expect("created");
    let mut previous = None;
    for (number, (run, record)) in (1..).zip(records()) {
        let mut entry = Entry {
            version: FORMAT.parse().expect("a format"),
            environment: ENVIRONMENT,
            number,
            run,
            epoch: run.into(),
            previous,
            time: format!("2026-11-20T14:02:{number:02}.250Z").parse().expect("a time"),
            actor: actor(),
            record,
            digest: Digest::of(b""),
        };
        let bytes = entry.seal().expect("sealed");
        std::fs::write(golden().join(format!("{number:010}.json")), bytes).expect("written");
        previous = Some(entry.digest);
    }
    println!("head: {}", previous.expect("a head"));
}

fn actor() -> Actor {
    Actor {
        user: "root".to_owned(),
        login: Some("a.operator".to_owned()),
        host: "build-1".to_owned(),
        pid: 4711,
        start: 90_210,
        boot: "0b9f3c1e-8f0e-4a57-9f43-3d1f2c6a7b88".to_owned(),
        job: Some("https://ci.example/jobs/17".to_owned()),
    }
}

fn reading() -> Reading {
    Reading(BTreeMap::from([("nodes.servers".to_owned(), Digest::of(b"3"))]))
}

fn nodes() -> Artifact {
    let node = Node {
        machine: "i-0abc".to_owned(),
        role: Role::Server,
        address: "10.20.0.11".to_owned(),
        image: "ami-0f3".to_owned(),
        size: "m6i.xlarge".to_owned(),
        disk_gib: 100,
        zone: "us-gov-west-1a".to_owned(),
        user: "ec2-user".to_owned(),
        port: 22,
    };
    Artifact::Nodes(Nodes { nodes: BTreeMap::from([(NodeName("server-1".to_owned()), node)]), jump: None })
}

fn bundle() -> Artifact {
    let file = BundleFile { sha256: Digest::of(b"rke2"), size: 4 };
    let files = BTreeMap::from([("rke2.linux-amd64.tar.gz".to_owned(), file)]);
    Artifact::Bundle(Bundle { version: "v1.35.4+rke2r1".to_owned(), files, images: BTreeMap::new() })
}

fn intent(stage: Kind, step: Option<&str>, deed: Deed) -> Record {
    Record::Intent(Intent {
        stage,
        step: step.map(str::to_owned),
        deed,
        attempt: 1,
        fingerprint: reading().fingerprint(stage.name()),
        reading: reading(),
        effect: "sre:node=server-1".to_owned(),
        tools: BTreeMap::from([("tofu".to_owned(), Digest::of(b"tofu"))]),
    })
}

fn settled(stage: Kind, step: Option<&str>, outcome: Outcome, artifact: Option<Artifact>) -> Record {
    Record::Outcome(Box::new(Settled {
        stage,
        step: step.map(str::to_owned),
        deed: Deed::Make,
        attempt: 1,
        outcome,
        artifact,
        output: step.map(|_| json!({"machine": "i-0abc"})),
        why: (outcome == Outcome::Failed).then(|| "network: no answer".to_owned()),
        class: None,
        took: Duration::from_millis(1_500),
    }))
}

/// At least one record of each kind, each with its run.
fn records() -> Vec<(u32, Record)> {
    let lease = |nonce| Record::Lease(Claim { nonce: Uuid::from_u128(nonce), how: "free".to_owned() });
    let started = || Record::RunStarted {
        command: "up dev".to_owned(),
        program: "0.1.0".to_owned(),
        plan: Some(Digest::of(b"plan")),
    };
    let child = |id: &str| Record::ChildStarted {
        id: id.to_owned(),
        slot: "nodes-apply".to_owned(),
        lock: format!("children/{id}/lock"),
    };
    let first = [
        lease(1),
        started(),
        Record::Approval { plan: Digest::of(b"plan"), by: "b.second".to_owned(), what: "replaces agent-1".to_owned() },
        Record::Fact { name: "servers.first".to_owned(), value: "server-1".into() },
        intent(Kind::Nodes, None, Deed::Make),
        child("0001-nodes"),
        intent(Kind::Nodes, Some("server-1"), Deed::Make),
        settled(Kind::Nodes, Some("server-1"), Outcome::Succeeded, None),
        Record::ChildEnded { id: "0001-nodes".to_owned(), code: Some(0), took: None },
        settled(Kind::Nodes, None, Outcome::Succeeded, Some(nodes())),
        intent(Kind::Bundle, None, Deed::Make),
        settled(Kind::Bundle, None, Outcome::Succeeded, Some(bundle())),
        intent(Kind::Network, None, Deed::Make),
        settled(Kind::Network, None, Outcome::Failed, None),
        settled(Kind::Access, None, Outcome::Skipped, None),
        Record::RunEnded { outcome: Outcome::Partial, why: Some("network: no answer".to_owned()) },
    ];
    let second = [lease(2), started(), intent(Kind::Bundle, None, Deed::Remove), child("0001-bundle")];
    first.into_iter().map(|record| (1, record)).chain(second.into_iter().map(|record| (2, record))).collect()
}
