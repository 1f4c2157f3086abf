//! What `down` is about to remove, as people and programs are shown it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::desk::Desk;
use crate::artifact::Kind;
use crate::cloud::{Thing, ThingKind, Whose};
use crate::execute::{Sorted, describe};
use crate::failure::Failure;
use crate::identity::{Identity, TAG_ENVIRONMENT};
use crate::journal::Memory;
use crate::report::Screen;

/// The stages that keep an OpenTofu state.
const WITH_STATE: [Kind; 3] = [Kind::Network, Kind::LoadBalancer, Kind::Nodes];

/// What is found of an environment, in four classes.
pub struct Removal<'a> {
    identity: &'a Identity,
    sorted: Sorted,
    /// What journal and OpenTofu states know, by id; `None` where there is no state.
    known: Option<BTreeSet<String>>,
}

/// One thing for programs.
#[derive(Serialize)]
struct Line<'a> {
    class: &'static str,
    kind: &'static str,
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip)]
    thing: &'a Thing,
}

impl<'a> Removal<'a> {
    pub fn of(desk: &Desk, identity: &'a Identity, memory: &Memory, sorted: Sorted) -> Result<Self, Failure> {
        // Without a journal there is nothing that could know.
        let known = memory.last_run.is_some().then(|| known(desk, memory)).transpose()?;
        Ok(Self { identity, sorted, known })
    }

    /// The two or three lines before a question.
    pub fn tell(&self, screen: Screen) {
        for line in self.summary() {
            screen.remark(&line);
        }
    }

    /// Every thing, for a dry run.
    pub fn tell_all(&self, screen: Screen) {
        let lines = self.lines();
        let listed = lines.iter().map(|line| {
            let why = line.why.map(|why| format!(": {why}")).unwrap_or_default();
            format!("  {:<9} {}{why}", line.class, describe(line.thing))
        });
        let text: Vec<String> =
            self.summary().into_iter().chain(listed).chain(["nothing was removed: a dry run".to_owned()]).collect();
        let identity = self.identity;
        screen.result(
            &text.join("\n"),
            &json!({ "event": "down-plan", "environment": identity.name, "id": identity.id, "things": lines }),
        );
    }

    fn summary(&self) -> Vec<String> {
        let Sorted { going, shared, foreign } = &self.sorted;
        let identity = self.identity;
        let place = format!("{} ({} {})", identity.name, identity.platform, identity.region);
        let mut lines = vec![match going.len() {
            0 => format!("removes nothing in {place}: nothing is tagged {TAG_ENVIRONMENT}={}", identity.id),
            count => {
                let (tag, counted) = (format!("{TAG_ENVIRONMENT}={}", identity.id), counted(going));
                format!("removes {count} things in {place}, all tagged {tag}: {counted}")
            }
        }];
        let orphaned: Vec<String> = going.iter().filter(|thing| self.is_orphaned(thing)).map(describe).collect();
        if !orphaned.is_empty() {
            lines.push(format!("        {} of them are in no state: {}", orphaned.len(), orphaned.join(", ")));
        }
        if !shared.is_empty() {
            lines.push(format!("keeps   {}", counted(shared)));
        }
        if !foreign.is_empty() {
            let foreign: Vec<String> = foreign.iter().map(describe).collect();
            lines.push(format!("leaves  {}, which is somebody else's", foreign.join(", ")));
        }
        lines
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let class = |thing| if self.is_orphaned(thing) { "orphaned" } else { "ours" };
        let going = self.sorted.going.iter().map(|thing| Line::of(class(thing), thing));
        let shared = self.sorted.shared.iter().map(|thing| Line::of("shared", thing));
        going.chain(shared).chain(self.sorted.foreign.iter().map(|thing| Line::of("foreign", thing))).collect()
    }

    /// Whether a thing of ours is known to nobody but the platform. Parts of others are known with them.
    fn is_orphaned(&self, thing: &Thing) -> bool {
        self.known.as_ref().is_some_and(|known| !is_known(thing, known))
    }
}

fn is_known(thing: &Thing, known: &BTreeSet<String>) -> bool {
    known.contains(&thing.id) || thing.part_of.as_ref().is_some_and(|whole| known.contains(whole))
}

impl<'a> Line<'a> {
    fn of(class: &'static str, thing: &'a Thing) -> Self {
        let why = match &thing.whose {
            Whose::Foreign(why) => Some(why.as_str()),
            Whose::Cluster => Some("the cluster made it"),
            Whose::Unmarked => Some("untagged, in its network or with its short id"),
            Whose::Ours => None,
        };
        Self { class, kind: thing.kind.name(), id: &thing.id, name: &thing.name, why, thing }
    }
}

/// Every word in the journal's artifacts and in the OpenTofu states: ids are among them.
fn known(desk: &Desk, memory: &Memory) -> Result<BTreeSet<String>, Failure> {
    let mut known = BTreeSet::new();
    for made in memory.stages.values().filter_map(|stage| stage.made.as_ref()) {
        let artifact = serde_json::to_value(&made.artifact).map_err(|error| Failure::bug("no JSON").because(error))?;
        words(&artifact, &mut known);
    }
    for kind in WITH_STATE {
        // A state that cannot be read knows nothing; what it made is told as in no state.
        for file in ["terraform.tfstate", "pulled.tfstate"] {
            if let Ok(text) = std::fs::read(desk.state.tofu(kind).join(file))
                && let Ok(state) = serde_json::from_slice(&text)
            {
                words(&state, &mut known);
            }
        }
    }
    Ok(known)
}

pub fn words(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            into.insert(text.clone());
            // The interfaces of a load balancer know it by the end of its ARN.
            into.extend(text.split_once(":loadbalancer/").map(|(_, end)| end.to_owned()));
        }
        Value::Array(values) => values.iter().for_each(|value| words(value, into)),
        Value::Object(values) => values.values().for_each(|value| words(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `5 instances, 1 VPC, 6 subnets`.
pub fn counted(things: &[Thing]) -> String {
    let mut counts: BTreeMap<ThingKind, usize> = BTreeMap::new();
    things.iter().for_each(|thing| *counts.entry(thing.kind).or_default() += 1);
    let counted: Vec<String> = counts
        .iter()
        .map(|(kind, count)| match (*count, kind.name()) {
            (1, name) => format!("1 {name}"),
            (count, name) => format!("{count} {name}{}", if name.ends_with('s') { "es" } else { "s" }),
        })
        .collect();
    counted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(kind: ThingKind, id: &str, part_of: Option<&str>) -> Thing {
        let (id, part_of) = (id.to_owned(), part_of.map(str::to_owned));
        Thing { kind, id, name: String::new(), part_of, whose: Whose::Ours }
    }

    #[test]
    fn what_a_state_does_not_name_is_known_as_part_of_what_it_names() {
        let state = json!({ "resources": [
            { "arn": "arn:aws:elasticloadbalancing:eu-central-1:1:loadbalancer/net/dev-5b1e77aa/50dc6c49" },
            { "id": "i-1" },
        ]});
        let mut known = BTreeSet::new();
        words(&state, &mut known);

        let interface = |of| thing(ThingKind::NetworkInterface, "eni-1", of);
        assert!(is_known(&interface(Some("net/dev-5b1e77aa/50dc6c49")), &known));
        assert!(is_known(&thing(ThingKind::Volume, "vol-1", Some("i-1")), &known));
        assert!(is_known(&thing(ThingKind::Machine, "i-1", None), &known));
        assert!(!is_known(&interface(Some("net/other/50dc6c49")), &known));
        assert!(!is_known(&thing(ThingKind::Machine, "i-2", None), &known));
    }
}
