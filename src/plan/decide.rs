//! The rules by which a stage runs or is reused, in their order and without any I/O.

use std::collections::BTreeMap;

use crate::artifact::Kind;
use crate::decision::{Decision, Verdict};
use crate::event::Outcome;
use crate::plan::{Graph, Observed, Survey};
use crate::stages::Presence;

/// Decides every stage, in the order of the needs.
pub fn decide(graph: &Graph, order: &[Kind], survey: &Survey) -> Vec<Decision> {
    let mut decided: BTreeMap<Kind, Decision> = BTreeMap::new();
    let never =
        Observed { last: None, changed: vec![], presence: None, summary: String::new(), settled: None, left: None };
    for kind in order {
        let observed = survey.of(*kind).unwrap_or(&never);
        decided.insert(*kind, decide_one(*kind, graph.needs(*kind), observed, &decided));
    }
    order.iter().filter_map(|kind| decided.remove(kind)).collect()
}

fn decide_one(kind: Kind, needs: &[Kind], observed: &Observed, decided: &BTreeMap<Kind, Decision>) -> Decision {
    if let Some(why) = &observed.settled {
        return Decision::new(kind, Verdict::Stop, why.clone());
    }
    let verdict_of = |need: &Kind| decided.get(need).map(|decision| decision.verdict);
    let blocked = needs.iter().find(|need| matches!(verdict_of(need), Some(Verdict::Stop | Verdict::Blocked)));
    if let Some(need) = blocked {
        return Decision::new(kind, Verdict::Blocked, format!("needs {need}"));
    }
    if let Some(reason) = unfinished(observed) {
        let left = observed.left.as_ref().map(|left| format!("; {left}")).unwrap_or_default();
        return Decision::new(kind, Verdict::Run, format!("{reason}{left}"));
    }
    if !observed.changed.is_empty() {
        let reason = format!("changed: {}", observed.changed.join(", "));
        return Decision { changed: observed.changed.clone(), ..Decision::new(kind, Verdict::Run, reason) };
    }
    let moving: Vec<&str> = needs
        .iter()
        .filter(|need| matches!(verdict_of(need), Some(Verdict::Run | Verdict::Follow)))
        .map(|need| need.name())
        .collect();
    match &observed.presence {
        Some(Presence::Gone) => return Decision::new(kind, Verdict::Run, "gone"),
        Some(Presence::Altered(what)) => return Decision::new(kind, Verdict::Run, format!("altered: {what}")),
        Some(Presence::Outdated(why)) => return Decision::new(kind, Verdict::Run, why.clone()),
        Some(Presence::Foreign(what)) => return Decision::new(kind, Verdict::Stop, what.clone()),
        Some(Presence::Unknown(why)) if moving.is_empty() => return Decision::new(kind, Verdict::Stop, why.clone()),
        // Behind a need that is made anew, it is looked at again: a node that booted answers then.
        Some(Presence::Unknown(_) | Presence::Standing) => {}
        // Told as made, and nothing is recorded that could be looked at.
        None => return Decision::new(kind, Verdict::Run, "never made"),
    }
    if moving.is_empty() {
        Decision::new(kind, Verdict::Reuse, observed.summary.clone())
    } else {
        Decision::new(kind, Verdict::Follow, format!("after {}", moving.join(", ")))
    }
}

/// Why a stage cannot be reused whatever its inputs are.
fn unfinished(observed: &Observed) -> Option<String> {
    match observed.last {
        None => Some("never made".to_owned()),
        Some(Outcome::Succeeded) => None,
        Some(Outcome::Failed) => Some("failed last time".to_owned()),
        Some(Outcome::Partial) => Some("made in part last time".to_owned()),
        Some(Outcome::Interrupted) => Some("interrupted last time".to_owned()),
        Some(Outcome::Indeterminate) => Some("stopped in the middle last time".to_owned()),
        Some(Outcome::Skipped | Outcome::Fenced) => Some("not made last time".to_owned()),
    }
}

#[cfg(test)]
#[path = "tests/invariants.rs"]
mod invariants;

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Observed {
        Observed {
            last: Some(Outcome::Succeeded),
            changed: vec![],
            presence: Some(Presence::Standing),
            summary: "as made".to_owned(),
            settled: None,
            left: None,
        }
    }

    #[test]
    fn what_a_run_left_half_done_is_named_with_how_it_ended() {
        let left = Some("server-3 is half joined: an etcd learner that never started without its machine".to_owned());
        let observed = Observed { last: Some(Outcome::Failed), presence: None, left, ..standing() };

        let reason =
            "failed last time; server-3 is half joined: an etcd learner that never started without its machine";
        assert_eq!(verdict(&observed, Verdict::Reuse), (Verdict::Run, reason.to_owned()));
    }

    fn verdict(observed: &Observed, upstream: Verdict) -> (Verdict, String) {
        let above = Decision::new(Kind::Network, upstream, "");
        let decided = BTreeMap::from([(Kind::Network, above)]);
        let decision = decide_one(Kind::Nodes, &[Kind::Network], observed, &decided);
        (decision.verdict, decision.reason)
    }

    #[test]
    fn what_is_recorded_unchanged_and_standing_is_reused() {
        assert_eq!(verdict(&standing(), Verdict::Reuse), (Verdict::Reuse, "as made".to_owned()));
    }

    #[test]
    fn a_changed_input_is_named() {
        let observed = Observed { changed: vec!["nodes.agents".to_owned()], ..standing() };

        assert_eq!(verdict(&observed, Verdict::Reuse), (Verdict::Run, "changed: nodes.agents".to_owned()));
    }

    #[test]
    fn a_failed_stage_runs_again_even_if_its_artifact_stands() {
        let observed = Observed { last: Some(Outcome::Failed), ..standing() };

        assert_eq!(verdict(&observed, Verdict::Reuse), (Verdict::Run, "failed last time".to_owned()));
    }

    #[test]
    fn what_somebody_else_made_is_not_touched_and_blocks_what_needs_it() {
        let observed = Observed { presence: Some(Presence::Foreign("vpc-1 is not ours".to_owned())), ..standing() };

        assert_eq!(verdict(&observed, Verdict::Reuse), (Verdict::Stop, "vpc-1 is not ours".to_owned()));
        assert_eq!(verdict(&standing(), Verdict::Stop), (Verdict::Blocked, "needs network".to_owned()));
    }

    #[test]
    fn what_was_never_made_waits_for_a_need_that_must_not_be_touched() {
        let foreign = Observed { presence: Some(Presence::Foreign("vpc-1 is not ours".to_owned())), ..standing() };
        let mut survey = Survey::default();
        survey.observed.insert(Kind::Network, foreign);
        let graph = Graph([(Kind::Network, vec![]), (Kind::Nodes, vec![Kind::Network])].into());

        let decisions = decide(&graph, &[Kind::Network, Kind::Nodes], &survey);

        assert_eq!((decisions[1].verdict, decisions[1].reason.as_str()), (Verdict::Blocked, "needs network"));
    }

    #[test]
    fn what_is_settled_for_life_is_not_touched_whatever_else_speaks_for_it() {
        let settled = "`network.zones` is 3 for the life of the environment".to_owned();
        let changed = vec!["network".to_owned()];
        let observed = Observed { settled: Some(settled.clone()), changed, last: Some(Outcome::Failed), ..standing() };

        assert_eq!(verdict(&observed, Verdict::Run), (Verdict::Stop, settled));
    }

    #[test]
    fn what_stands_and_is_too_old_is_made_anew_and_says_why() {
        let why = "older than 30d: built 2026-10-21 14:02Z";
        let observed = Observed { presence: Some(Presence::Outdated(why.to_owned())), ..standing() };

        assert_eq!(verdict(&observed, Verdict::Reuse), (Verdict::Run, why.to_owned()));
    }

    #[test]
    fn a_stage_whose_need_is_made_again_is_decided_later() {
        assert_eq!(verdict(&standing(), Verdict::Run), (Verdict::Follow, "after network".to_owned()));
    }

    #[test]
    fn silence_is_not_taken_for_absence() {
        let observed = Observed { presence: Some(Presence::Unknown("aws did not answer".to_owned())), ..standing() };

        assert_eq!(verdict(&observed, Verdict::Reuse).0, Verdict::Stop);
    }

    #[test]
    fn what_did_not_answer_is_asked_again_after_the_need_that_is_made_first() {
        let observed = Observed { presence: Some(Presence::Unknown("a node boots".to_owned())), ..standing() };

        assert_eq!(verdict(&observed, Verdict::Run), (Verdict::Follow, "after network".to_owned()));
    }
}
