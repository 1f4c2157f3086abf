//! A platform with a crash point before and after each call that changes something.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    Account, BuildNetwork, Candidate, Cloud, FoundBalancer, FoundImage, FoundMachine, Need, NewMachine, Tags,
    TargetHealth, Thing,
};
use crate::crash_point;
use crate::failure::Failure;

/// A platform that is watched.
pub struct Watched(Box<dyn Cloud>);

impl Watched {
    #[expect(clippy::new_ret_no_self, reason = "who has a platform need not know that it is watched")]
    pub fn new(cloud: Box<dyn Cloud>) -> Box<dyn Cloud> {
        Box::new(Self(cloud))
    }
}

/// Passes a point on each side of a call.
macro_rules! watched {
    ($name:literal, $about:expr, $call:expr) => {{
        crash_point!(concat!("cloud.before-", $name), $about);
        let answer = $call.await;
        crash_point!(concat!("cloud.after-", $name), $about);
        answer
    }};
}

#[async_trait]
impl Cloud for Watched {
    async fn account(&self) -> Result<Account, Failure> {
        self.0.account().await
    }

    async fn room(&self, need: &Need) -> Result<(), Failure> {
        self.0.room(need).await
    }

    async fn source_image(&self, owner: &str, name: &str) -> Result<Option<FoundImage>, Failure> {
        self.0.source_image(owner, name).await
    }

    async fn image(&self, id: &str) -> Result<Option<FoundImage>, Failure> {
        self.0.image(id).await
    }

    async fn own_images(&self, tags: &Tags) -> Result<Vec<FoundImage>, Failure> {
        self.0.own_images(tags).await
    }

    async fn tag(&self, ids: &[String], tags: &Tags) -> Result<(), Failure> {
        let about = tags.keys().cloned().collect::<Vec<_>>().join(" ");
        watched!("tag", about, self.0.tag(ids, tags))
    }

    async fn copy_of(&self, image: &FoundImage, region: &str, tags: &Tags) -> Result<FoundImage, Failure> {
        watched!("copy-image", image.name.clone(), self.0.copy_of(image, region, tags))
    }

    async fn build_network(&self, tags: &Tags, admit: &[String]) -> Result<BuildNetwork, Failure> {
        watched!("build-network", build(tags), self.0.build_network(tags, admit))
    }

    async fn build_group(&self, vpc: &str, tags: &Tags, admit: &[String]) -> Result<String, Failure> {
        watched!("build-group", build(tags), self.0.build_group(vpc, tags, admit))
    }

    async fn start_machine(&self, machine: &NewMachine) -> Result<FoundMachine, Failure> {
        watched!("start-machine", build(&machine.tags), self.0.start_machine(machine))
    }

    async fn machines(&self, tags: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        self.0.machines(tags).await
    }

    async fn machine(&self, id: &str) -> Result<Option<FoundMachine>, Failure> {
        self.0.machine(id).await
    }

    async fn console(&self, id: &str) -> Result<String, Failure> {
        self.0.console(id).await
    }

    async fn zones(&self) -> Result<Vec<String>, Failure> {
        self.0.zones().await
    }

    async fn existing_networks(&self, vpc: &str, parts: &[String]) -> Result<BTreeSet<String>, Failure> {
        self.0.existing_networks(vpc, parts).await
    }

    async fn load_balancer(&self, id: &str) -> Result<Option<FoundBalancer>, Failure> {
        self.0.load_balancer(id).await
    }

    async fn register(&self, target_group: &str, machine: &str) -> Result<(), Failure> {
        watched!("register", "", self.0.register(target_group, machine))
    }

    async fn deregister(&self, target_group: &str, machine: &str) -> Result<(), Failure> {
        watched!("deregister", "", self.0.deregister(target_group, machine))
    }

    async fn targets(&self, target_group: &str) -> Result<Vec<TargetHealth>, Failure> {
        self.0.targets(target_group).await
    }

    async fn things(&self, tags: &Tags) -> Result<Vec<Thing>, Failure> {
        self.0.things(tags).await
    }

    async fn remove(&self, thing: &Thing) -> Result<(), Failure> {
        watched!("remove", thing.kind.name(), self.0.remove(thing))
    }

    async fn untie(&self, tags: &Tags) -> Result<(), Failure> {
        watched!("untie", "", self.0.untie(tags))
    }

    async fn candidates(&self, name: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        self.0.candidates(name).await
    }

    async fn find_resource(&self, resource_type: &str, values: &serde_json::Value) -> Result<Option<String>, Failure> {
        self.0.find_resource(resource_type, values).await
    }

    async fn is_healthy(&self, resource_type: &str, id: &str) -> Result<bool, Failure> {
        self.0.is_healthy(resource_type, id).await
    }
}

/// Which image a call is for.
fn build(tags: &Tags) -> String {
    tags.get("sre:build").cloned().unwrap_or_default()
}
