//! The sweep of `down` under a lease that is lost in the middle: what is left is another's to remove.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use sre_provision::cloud::{
    Account, BuildNetwork, Candidate, Cloud, FoundBalancer, FoundImage, FoundMachine, Need, NewMachine, Tags,
    TargetHealth, Thing, ThingKind, Whose,
};
use sre_provision::event::Events;
use sre_provision::execute::Broom;
use sre_provision::failure::{Exit, Failure};
use sre_provision::journal::Tenure;
use sre_provision::objects::{MemoryObjects, Objects};
use sre_provision::stop::Stop;

use crate::begun::Begun;

/// Disks, and the lease that another takes as soon as the first one is removed.
struct Platform {
    disks: Vec<Thing>,
    removed: Mutex<Vec<String>>,
    objects: Arc<MemoryObjects>,
    tenure: Arc<Tenure>,
}

fn nobody_asks<T>() -> Result<T, Failure> {
    Err(Failure::bug("the sweep asks for things and removes them"))
}

#[async_trait]
impl Cloud for Platform {
    async fn things(&self, _: &Tags) -> Result<Vec<Thing>, Failure> {
        Ok(self.disks.clone())
    }

    async fn remove(&self, thing: &Thing) -> Result<(), Failure> {
        self.removed.lock().expect("removed").push(thing.id.clone());
        self.objects.delete("lease.json").await?;
        self.tenure.beat().await
    }

    async fn account(&self) -> Result<Account, Failure> {
        nobody_asks()
    }

    async fn room(&self, _: &Need) -> Result<(), Failure> {
        Ok(())
    }

    async fn source_image(&self, _: &str, _: &str) -> Result<Option<FoundImage>, Failure> {
        nobody_asks()
    }

    async fn image(&self, _: &str) -> Result<Option<FoundImage>, Failure> {
        nobody_asks()
    }

    async fn own_images(&self, _: &Tags) -> Result<Vec<FoundImage>, Failure> {
        nobody_asks()
    }

    async fn tag(&self, _: &[String], _: &Tags) -> Result<(), Failure> {
        nobody_asks()
    }

    async fn build_network(&self, _: &Tags, _: &[String]) -> Result<BuildNetwork, Failure> {
        nobody_asks()
    }

    async fn build_group(&self, _: &str, _: &Tags, _: &[String]) -> Result<String, Failure> {
        nobody_asks()
    }

    async fn start_machine(&self, _: &NewMachine) -> Result<FoundMachine, Failure> {
        nobody_asks()
    }

    async fn machines(&self, _: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        nobody_asks()
    }

    async fn machine(&self, _: &str) -> Result<Option<FoundMachine>, Failure> {
        nobody_asks()
    }

    async fn console(&self, _: &str) -> Result<String, Failure> {
        nobody_asks()
    }

    async fn zones(&self) -> Result<Vec<String>, Failure> {
        nobody_asks()
    }

    async fn existing_networks(&self, _: &str, _: &[String]) -> Result<BTreeSet<String>, Failure> {
        nobody_asks()
    }

    async fn load_balancer(&self, _: &str) -> Result<Option<FoundBalancer>, Failure> {
        nobody_asks()
    }

    async fn register(&self, _: &str, _: &str) -> Result<(), Failure> {
        nobody_asks()
    }

    async fn deregister(&self, _: &str, _: &str) -> Result<(), Failure> {
        nobody_asks()
    }

    async fn targets(&self, _: &str) -> Result<Vec<TargetHealth>, Failure> {
        nobody_asks()
    }

    async fn untie(&self, _: &Tags) -> Result<(), Failure> {
        nobody_asks()
    }

    async fn candidates(&self, _: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        nobody_asks()
    }

    async fn find_resource(&self, _: &str, _: &Value) -> Result<Option<String>, Failure> {
        nobody_asks()
    }

    async fn is_healthy(&self, _: &str, _: &str) -> Result<bool, Failure> {
        nobody_asks()
    }
}

fn disk(id: &str) -> Thing {
    Thing { kind: ThingKind::Volume, id: id.to_owned(), name: String::new(), part_of: None, whose: Whose::Ours }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_nothing_more_once_its_lease_is_lost() {
    let Begun { _dir, objects, tenure, book } = Begun::new("down dev").await;
    let platform = Platform { disks: vec![disk("vol-1"), disk("vol-2")], removed: Mutex::default(), objects, tenure };
    let (events, _received) = Events::channel();

    let broom = Broom {
        cloud: &platform,
        tags: &Tags::new(),
        images: false,
        stop: &Stop::default(),
        events: &events,
        book: &book,
    };
    let failure = broom.sweep().await.expect_err("the lease is lost");

    assert_eq!(failure.exit(), Exit::Held, "{failure}");
    assert_eq!(failure.what(), "the lease of `dev` was lost");
    assert_eq!(*platform.removed.lock().expect("removed"), ["vol-1"]);
}
