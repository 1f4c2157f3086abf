//! A plan as people read it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::artifact::Kind;
use crate::decision::{Decision, NodeChange, Plan, Verdict};
use crate::report::time::about;

/// What to do about nodes that are outdated.
const LATER: &str = "`up` leaves outdated nodes as they are; `upgrade` brings them to another RKE2 release, `rotate` (size, \
                     disk, image) in a later version";

/// Where the time that a stage takes stands.
const TIME: usize = 50;

/// The lines of a plan that still hold where nothing is to be done.
pub fn kept_text(plan: &Plan) -> String {
    node_lines(&plan.nodes).iter().map(|line| format!("  {line}\n")).collect()
}

/// One line a stage with its reason and, where it runs and was made before, how long that `usual`ly takes; then what it
/// means for single nodes.
pub fn plan_text(plan: &Plan, usual: &BTreeMap<Kind, Duration>) -> String {
    let mut text = String::new();
    for decision in &plan.decisions {
        let line = match usual.get(&decision.stage).filter(|_| runs(decision)) {
            Some(time) => format!("{:<TIME$}  ~{}", decision.reason, about(*time)),
            None => decision.reason.clone(),
        };
        // Writing to a string cannot fail.
        _ = writeln!(text, "  {:<6} {:<14} {line}", word(decision), decision.stage);
    }
    for line in node_lines(&plan.nodes) {
        _ = writeln!(text, "  {line}");
    }
    text.truncate(text.trim_end().len());
    text
}

fn runs(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Run | Verdict::Follow)
}

fn word(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Run | Verdict::Follow => "run",
        Verdict::Reuse => "reuse",
        Verdict::Blocked => "wait",
        Verdict::Stop => "STOP",
    }
}

fn node_lines(changes: &[NodeChange]) -> Vec<String> {
    let mut added = Vec::new();
    let mut lines = Vec::new();
    for change in changes {
        match change {
            NodeChange::Add { node } => added.push(node.to_string()),
            NodeChange::Outdated { node, what } => {
                lines.push(format!("keeps  {node:<14} outdated: {}", what.join("; ")));
            }
            NodeChange::Restart { node, what } => {
                lines.push(format!("restart {node:<13} {}; its pods run on, nothing is drained", what.join(", ")));
            }
            NodeChange::Unwanted { node } => {
                lines.push(format!("keeps  {node:<14} no longer in the file: `up` removes no running node"));
            }
        }
    }
    if changes.iter().any(|change| matches!(change, NodeChange::Outdated { .. })) {
        lines.push(format!("hint   {LATER}"));
    }
    if !added.is_empty() {
        lines.insert(0, format!("new    {:<14} {}", "nodes", added.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::NodeName;

    #[test]
    fn a_plan_shows_a_reason_for_every_stage_and_names_new_and_outdated_nodes() {
        let decision =
            |stage, verdict, reason: &str| Decision { stage, verdict, reason: reason.to_owned(), changed: vec![] };
        let plan = Plan {
            decisions: vec![
                decision(Kind::Network, Verdict::Reuse, "vpc-1, 3 zones"),
                decision(Kind::Nodes, Verdict::Run, "changed: nodes.agents"),
            ],
            nodes: vec![
                NodeChange::Outdated {
                    node: NodeName("server-1".to_owned()),
                    what: vec!["size a, wanted b".to_owned()],
                },
                NodeChange::Add { node: NodeName("general-3".to_owned()) },
                NodeChange::Restart {
                    node: NodeName("server-2".to_owned()),
                    what: vec!["40-sre-snapshots.yaml".to_owned()],
                },
            ],
        };

        let usual = BTreeMap::from([Kind::Network, Kind::Nodes].map(|stage| (stage, Duration::from_secs(100))));
        insta::assert_snapshot!(plan_text(&plan, &usual), @r"
          reuse  network        vpc-1, 3 zones
          run    nodes          changed: nodes.agents                               ~2 min
          new    nodes          general-3
          keeps  server-1       outdated: size a, wanted b
          restart server-2      40-sre-snapshots.yaml; its pods run on, nothing is drained
          hint   `up` leaves outdated nodes as they are; `upgrade` brings them to another RKE2 release, `rotate` (size, disk, image) in a later version
        ");
    }
}
