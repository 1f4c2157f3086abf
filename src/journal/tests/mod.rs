//! The journal in memory and on a disk that ends: what every test of it starts from.

mod clocks;
mod damage;
mod disk;
mod formats;
mod identity;
mod invariants;
mod remembering;
mod sharing;
mod sim;
mod sim_sky;
mod sim_wire;
mod writing;

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::artifact::{Artifact, Bundle, Kind};
use crate::environment::{EnvironmentClass, Platform};
use crate::event::Outcome;
use crate::fingerprint::Reading;
use crate::workspace::{StateDir, Workspace};

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

pub(super) fn identity() -> Identity {
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
    Record::Outcome(Box::new(Settled {
        stage: Kind::Bundle,
        step: step.map(str::to_owned),
        deed,
        attempt: 1,
        outcome,
        artifact: step.is_none().then(bundle),
        output: step.map(|_| "output".into()),
        why: None,
        class: None,
        took: Duration::from_secs(2),
    }))
}

fn bundle() -> Artifact {
    Artifact::Bundle(Bundle { version: "v1.35.4+rke2r1".to_owned(), files: BTreeMap::new(), images: BTreeMap::new() })
}
