//! Nodes as the platform has them: what is there, what is amiss, and the image they are made of.

use std::collections::BTreeMap;

use crate::artifact::{Artifact, Image, Kind};
use crate::cloud::{FoundMachine, MachineState};
use crate::failure::{Exit, Failure};
use crate::identity::TAG_NODE;
use crate::stages::{Context, Given, infrastructure};

pub fn node_image(given: &Given) -> Result<Image, Failure> {
    match given.artifact(Kind::NodeImage) {
        Some(Artifact::NodeImage(image)) => Ok(image.clone()),
        Some(_) | None => Err(Failure::bug("nodes was not given an image")),
    }
}

/// What is not as it should be with one machine; `None` when it runs.
pub fn amiss(name: &str, id: &str, machines: &[FoundMachine]) -> Option<String> {
    match machines.iter().find(|machine| machine.id == id).map(|machine| machine.state) {
        Some(MachineState::Running | MachineState::Starting) => None,
        Some(MachineState::Stopping | MachineState::Stopped) => Some(format!("{name} is stopped")),
        Some(MachineState::Gone) | None => Some(format!("{name} is gone")),
    }
}

/// The machines that are there, by the node they are.
pub async fn existing(cx: &Context<'_>) -> Result<BTreeMap<String, FoundMachine>, Failure> {
    let machines = cx.cloud.machines(&infrastructure::own(cx)).await?;
    let mut existing: BTreeMap<String, FoundMachine> = BTreeMap::new();
    for machine in machines {
        let Some(name) = machine.tags.get(TAG_NODE).cloned() else { continue };
        if let Some(other) = existing.insert(name.clone(), machine.clone()) {
            return Err(Failure::new(
                Exit::Platform,
                format!("nodes: two machines are `{name}`: {}, {}", other.id, machine.id),
            )
            .class(crate::failure::Class::NeedsPerson)
            .hint("find out which one is the member of the cluster and terminate the other"));
        }
    }
    Ok(existing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Tags;

    #[test]
    fn a_machine_that_is_stopped_or_gone_is_told_by_its_name() {
        let running = FoundMachine {
            id: "i-2".to_owned(),
            state: MachineState::Running,
            private_address: None,
            public_address: None,
            image: "ami-old".to_owned(),
            size: "m6i.xlarge".to_owned(),
            zone: "eu-1c".to_owned(),
            tags: Tags::new(),
        };
        let stopped = FoundMachine { state: MachineState::Stopped, ..running.clone() };

        assert_eq!(amiss("server-2", "i-2", &[running]), None);
        assert_eq!(amiss("server-2", "i-2", &[stopped]).as_deref(), Some("server-2 is stopped"));
        assert_eq!(amiss("server-2", "i-2", &[]).as_deref(), Some("server-2 is gone"));
    }
}
