//! The platform as the program has it: every question and every deed goes to the world.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};
use sre_provision::cloud::{
    Account, BuildNetwork, Candidate, Cloud, FoundBalancer, FoundImage, FoundMachine, MachineState, Need, NewMachine,
    Platforms, Tags, TargetHealth, Thing, ThingKind, Whose,
};
use sre_provision::environment;
use sre_provision::failure::{Exit, Failure};

use crate::wire::{ask, text};

/// Every platform is the world.
#[derive(Debug)]
pub struct Elsewhere;

#[async_trait]
impl Platforms for Elsewhere {
    async fn aws(&self, _: &environment::Aws) -> Result<Box<dyn Cloud>, Failure> {
        Ok(Box::new(World))
    }

    async fn vsphere(
        &self,
        _: &environment::Vsphere,
        _: Option<&std::path::Path>,
        _: sre_provision::cloud::vsphere::Credentials,
    ) -> Result<Box<dyn Cloud>, Failure> {
        Ok(Box::new(World))
    }
}

struct World;

fn told(request: Value) -> Result<Value, Failure> {
    ask(&request).map_err(|why| Failure::new(Exit::Platform, format!("`{}` was refused", request["do"])).because(why))
}

fn each<T>(answer: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    answer.as_array().into_iter().flatten().map(read).collect()
}

fn tags(thing: &Value) -> Tags {
    serde_json::from_value(thing["tags"].clone()).unwrap_or_default()
}

fn image(found: &Value) -> FoundImage {
    FoundImage {
        id: text(found, "id"),
        name: text(&found["thing"], "name"),
        owner: "123456789012".to_owned(),
        created: jiff::Timestamp::now().to_string(),
        usable: true,
        tags: tags(&found["thing"]),
        snapshots: vec![],
    }
}

fn machine(found: &Value) -> FoundMachine {
    let more = &found["thing"]["more"];
    FoundMachine {
        id: text(found, "id"),
        state: if more["state"] == "stopped" { MachineState::Stopped } else { MachineState::Running },
        private_address: Some(text(more, "address")),
        public_address: None,
        image: text(more, "image"),
        size: text(more, "size"),
        zone: text(more, "zone"),
        tags: tags(&found["thing"]),
    }
}

const KINDS: [ThingKind; 9] = [
    ThingKind::Listener,
    ThingKind::LoadBalancer,
    ThingKind::TargetGroup,
    ThingKind::Machine,
    ThingKind::SecurityGroup,
    ThingKind::Subnet,
    ThingKind::Vpc,
    ThingKind::Image,
    ThingKind::Snapshot,
];

fn thing(found: &Value) -> Thing {
    let kind = text(&found["thing"], "kind");
    let kind = KINDS.into_iter().find(|known| known.name() == kind).expect("a kind of the world");
    let part_of = found["thing"]["part_of"].as_str().map(str::to_owned);
    Thing { kind, id: text(found, "id"), name: text(&found["thing"], "name"), part_of, whose: Whose::Ours }
}

#[async_trait]
impl Cloud for World {
    async fn account(&self) -> Result<Account, Failure> {
        let [id, region, principal] = ["123456789012", "eu-central-1", "tester"].map(str::to_owned);
        Ok(Account { id, region, principal })
    }

    async fn room(&self, _: &Need) -> Result<(), Failure> {
        Ok(())
    }

    async fn source_image(&self, owner: &str, name: &str) -> Result<Option<FoundImage>, Failure> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        let (id, created) = ("ami-source".to_owned(), jiff::Timestamp::now().to_string());
        Ok(Some(FoundImage { id, name, owner, created, usable: true, tags: Tags::new(), snapshots: vec![] }))
    }

    async fn image(&self, id: &str) -> Result<Option<FoundImage>, Failure> {
        let found = told(json!({ "do": "image", "id": id }))?;
        Ok((!found.is_null()).then(|| image(&found)))
    }

    async fn own_images(&self, tags: &Tags) -> Result<Vec<FoundImage>, Failure> {
        Ok(each(&told(json!({ "do": "own-images", "tags": tags }))?, image))
    }

    async fn tag(&self, ids: &[String], tags: &Tags) -> Result<(), Failure> {
        told(json!({ "do": "tag", "ids": ids, "tags": tags })).map(drop)
    }

    async fn build_network(&self, tags: &Tags, _: &[String]) -> Result<BuildNetwork, Failure> {
        serde_json::from_value(told(json!({ "do": "build-network", "tags": tags }))?)
            .map_err(|error| Failure::bug("no build network").because(error))
    }

    async fn build_group(&self, _: &str, _: &Tags, _: &[String]) -> Result<String, Failure> {
        Err(Failure::bug("the environments of the world name no build network"))
    }

    async fn start_machine(&self, new: &NewMachine) -> Result<FoundMachine, Failure> {
        let request = json!({
            "do": "start-machine", "purpose": "check", "image": new.image, "public_key": new.public_key, "tags": new.tags,
        });
        Ok(machine(&told(request)?))
    }

    async fn machines(&self, tags: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        Ok(each(&told(json!({ "do": "machines", "tags": tags }))?, machine))
    }

    async fn machine(&self, id: &str) -> Result<Option<FoundMachine>, Failure> {
        let found = told(json!({ "do": "machine", "id": id }))?;
        Ok((!found.is_null()).then(|| machine(&found)))
    }

    async fn console(&self, id: &str) -> Result<String, Failure> {
        Ok(told(json!({ "do": "console", "id": id }))?.as_str().unwrap_or_default().to_owned())
    }

    async fn zones(&self) -> Result<Vec<String>, Failure> {
        Ok(vec!["eu-central-1a".to_owned()])
    }

    async fn existing_networks(&self, vpc: &str, parts: &[String]) -> Result<BTreeSet<String>, Failure> {
        let ids: Vec<&str> = std::iter::once(vpc).chain(parts.iter().map(String::as_str)).collect();
        Ok(each(&told(json!({ "do": "networks", "ids": ids }))?, |id| id.as_str().unwrap_or_default().to_owned())
            .into_iter()
            .collect())
    }

    /// Each listener leads to the target group of its name.
    async fn load_balancer(&self, id: &str) -> Result<Option<FoundBalancer>, Failure> {
        let found = told(json!({ "do": "exists", "ids": [id] }))?;
        let things = each(&told(json!({ "do": "things", "tags": {} }))?, thing);
        let is_led_to = |group: &Thing| {
            let listener = group.name.replace("tg-", "listener-");
            group.kind == ThingKind::TargetGroup && things.iter().any(|thing| thing.name == listener)
        };
        let leads_to = things.iter().filter(|thing| is_led_to(thing)).map(|group| group.id.clone()).collect();
        let state = "active".to_owned();
        Ok(found.as_array().is_some_and(|found| !found.is_empty()).then_some(FoundBalancer { state, leads_to }))
    }

    async fn register(&self, target_group: &str, machine: &str) -> Result<(), Failure> {
        told(json!({ "do": "register", "group": target_group, "machine": machine })).map(drop)
    }

    async fn deregister(&self, target_group: &str, machine: &str) -> Result<(), Failure> {
        told(json!({ "do": "deregister", "group": target_group, "machine": machine })).map(drop)
    }

    async fn targets(&self, target_group: &str) -> Result<Vec<TargetHealth>, Failure> {
        let health = |machine: &Value| {
            let machine = machine.as_str().unwrap_or_default().to_owned();
            TargetHealth { machine, healthy: true, state: "healthy".to_owned() }
        };
        Ok(each(&told(json!({ "do": "targets", "group": target_group }))?, health))
    }

    async fn things(&self, tags: &Tags) -> Result<Vec<Thing>, Failure> {
        Ok(each(&told(json!({ "do": "things", "tags": tags }))?, thing))
    }

    async fn remove(&self, thing: &Thing) -> Result<(), Failure> {
        told(json!({ "do": "remove", "id": thing.id })).map(drop)
    }

    /// The rules of the world's groups name nobody.
    async fn untie(&self, _: &Tags) -> Result<(), Failure> {
        Ok(())
    }

    async fn candidates(&self, _: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        Ok(vec![])
    }

    async fn find_resource(&self, _: &str, values: &Value) -> Result<Option<String>, Failure> {
        let found = told(json!({ "do": "find", "values": values }))?;
        Ok(found.as_str().map(str::to_owned))
    }

    async fn is_healthy(&self, _: &str, id: &str) -> Result<bool, Failure> {
        let found = told(json!({ "do": "exists", "ids": [id] }))?;
        Ok(found.as_array().is_some_and(|found| !found.is_empty()))
    }
}
