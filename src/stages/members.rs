//! Who is a member of the cluster: what the stage that joins nodes has recorded, and what its steps have done since.
//!
//! A run that failed before its stage was made has no artifact to tell of the nodes that it joined, or brought to another
//! release; the journal's steps do.

use std::collections::BTreeMap;

use crate::artifact::{Access, Agents, Artifact, Joined, Kind, Servers};
use crate::environment::{NodeName, Role};
use crate::event::Outcome;
use crate::stages::{Context, StepMemory};

/// The members of this role, by the last that is known of each.
pub fn members(cx: &Context<'_>, role: Role, access: &Access) -> BTreeMap<NodeName, Joined> {
    let (stage, recorded) = match role {
        Role::Server => (Kind::Servers, cx.known.artifact(Kind::Servers)),
        Role::Agent => (Kind::Agents, cx.known.artifact(Kind::Agents)),
    };
    let mut members = match recorded {
        Some(Artifact::Servers(Servers { joined, .. }) | Artifact::Agents(Agents { joined })) => joined.clone(),
        Some(_) | None => BTreeMap::new(),
    };
    let there = access.nodes.iter().filter(|(_, reach)| reach.role == Some(role));
    members.extend(there.filter_map(|(node, reach)| {
        let joined = by_step(cx.ledger.step(stage, &node.0)?, &reach.machine)?;
        Some((node.clone(), joined))
    }));
    members
}

/// What a step has made of a node, if it came to its end on the machine that the node has now.
fn by_step(memory: StepMemory, machine: &str) -> Option<Joined> {
    let output = memory.output.filter(|_| memory.outcome == Outcome::Succeeded)?;
    let joined: Joined = serde_json::from_value(output).ok()?;
    (joined.machine == machine).then_some(joined)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fingerprint::Digest;

    #[test]
    fn a_step_tells_of_a_member_only_if_it_ended_well_on_the_machine_that_is_there() {
        let memory = |outcome| StepMemory {
            outcome,
            fingerprint: Digest::of(b"step"),
            output: Some(json!({ "machine": "i-1", "version": "v1.35.4+rke2r1" })),
        };

        let joined = by_step(memory(Outcome::Succeeded), "i-1").expect("a member");
        assert_eq!(joined.version, "v1.35.4+rke2r1");
        assert_eq!(by_step(memory(Outcome::Succeeded), "i-2"), None, "another machine has its name");
        assert_eq!(by_step(memory(Outcome::Indeterminate), "i-1"), None);
    }
}
