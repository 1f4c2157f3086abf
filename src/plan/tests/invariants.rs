//! What holds of every plan, whatever was recorded and seen; the numbers are those of docs/faults.md.

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn outcome() -> impl Strategy<Value = Option<Outcome>> {
    use Outcome::{Failed, Fenced, Indeterminate, Interrupted, Partial, Skipped, Succeeded};
    let ended = vec![Succeeded, Succeeded, Succeeded, Failed, Partial, Interrupted, Indeterminate, Skipped, Fenced];
    prop::option::weighted(0.9, prop::sample::select(ended))
}

fn presence() -> impl Strategy<Value = Option<Presence>> {
    let said = String::from("as seen");
    let seen = prop_oneof![
        4 => Just(Presence::Standing),
        1 => Just(Presence::Gone),
        1 => Just(Presence::Altered(said.clone())),
        1 => Just(Presence::Outdated(said.clone())),
        1 => Just(Presence::Foreign(said.clone())),
        1 => Just(Presence::Unknown(said)),
    ];
    prop::option::weighted(0.9, seen)
}

fn observed() -> impl Strategy<Value = Option<Observed>> {
    let changed = prop::collection::vec("[a-z]{1,4}", 0..2);
    let settled = prop::option::weighted(0.1, "[a-z]{1,4}");
    let one = (outcome(), changed, presence(), settled).prop_map(|(last, changed, presence, settled)| Observed {
        last,
        changed,
        presence,
        summary: "as made".to_owned(),
        settled,
        left: None,
    });
    prop::option::weighted(0.9, one)
}

/// A graph in which each kind needs some of those before it, and what was seen of every kind.
fn world() -> impl Strategy<Value = (Graph, Survey)> {
    let kinds = Kind::ALL.len();
    (prop::collection::vec(any::<u16>(), kinds), prop::collection::vec(observed(), kinds)).prop_map(|(needs, seen)| {
        let graph = Kind::ALL.into_iter().enumerate().map(|(at, kind)| {
            let before = Kind::ALL.into_iter().take(at).enumerate();
            (kind, before.filter(|(bit, _)| needs[at] >> bit & 1 == 1).map(|(_, need)| need).collect())
        });
        let mut survey = Survey::default();
        survey.observed = Kind::ALL.into_iter().zip(seen).filter_map(|(kind, seen)| Some((kind, seen?))).collect();
        (Graph(graph.collect()), survey)
    })
}

fn verdicts(decisions: &[Decision]) -> BTreeMap<Kind, Verdict> {
    decisions.iter().map(|decision| (decision.stage, decision.verdict)).collect()
}

proptest! {
    // Safety 10
    #[test]
    fn a_stage_is_reused_only_when_it_is_recorded_as_done_unchanged_and_standing((graph, survey) in world()) {
        let decisions = decide(&graph, &Kind::ALL, &survey);

        let verdicts = verdicts(&decisions);
        for (kind, _) in verdicts.iter().filter(|(_, verdict)| **verdict == Verdict::Reuse) {
            let observed = survey.of(*kind).expect("nothing is reused that was never made");
            prop_assert_eq!(observed.last, Some(Outcome::Succeeded));
            prop_assert!(observed.changed.is_empty() && observed.settled.is_none());
            prop_assert_eq!(&observed.presence, &Some(Presence::Standing));
            prop_assert!(graph.needs(*kind).iter().all(|need| verdicts[need] == Verdict::Reuse));
        }
    }

    // Safety 15
    #[test]
    fn what_is_somebody_elses_or_settled_for_life_is_not_made_and_holds_back_all_that_needs_it((graph, survey) in world()) {
        let verdicts = verdicts(&decide(&graph, &Kind::ALL, &survey));

        for (kind, verdict) in &verdicts {
            let moves = matches!(verdict, Verdict::Run | Verdict::Follow);
            let observed = survey.of(*kind);
            prop_assert!(!moves || observed.is_none_or(|observed| observed.settled.is_none()));
            let is_held = |need: &Kind| matches!(verdicts[need], Verdict::Stop | Verdict::Blocked);
            prop_assert!(!moves || !graph.needs(*kind).iter().any(is_held));
            let is_foreign = observed.is_some_and(|observed| matches!(observed.presence, Some(Presence::Foreign(_))));
            let is_as_made = observed
                .is_some_and(|observed| observed.last == Some(Outcome::Succeeded) && observed.changed.is_empty());
            prop_assert!(!(moves && is_foreign && is_as_made), "{} is foreign and {:?}", kind, verdict);
        }
    }

    // Liveness 23, and safety 9
    #[test]
    fn when_every_stage_that_moves_is_made_the_next_plan_has_nothing_to_do((graph, mut survey) in world()) {
        for decision in decide(&graph, &Kind::ALL, &survey) {
            if matches!(decision.verdict, Verdict::Run | Verdict::Follow) {
                let made = Observed {
                    last: Some(Outcome::Succeeded),
                    changed: vec![],
                    presence: Some(Presence::Standing),
                    summary: "as made".to_owned(),
                    settled: None,
                    left: None,
                };
                survey.observed.insert(decision.stage, made);
            }
        }

        let again = decide(&graph, &Kind::ALL, &survey);

        prop_assert!(again.iter().all(|decision| !matches!(decision.verdict, Verdict::Run | Verdict::Follow)));
    }

    // Metamorphic
    #[test]
    fn the_order_in_which_stages_are_looked_at_decides_nothing((graph, survey) in world(), seed in any::<u64>()) {
        let mut order: Vec<Kind> = vec![];
        let mut random = seed;
        while order.len() < Kind::ALL.len() {
            let ready: Vec<Kind> = Kind::ALL
                .into_iter()
                .filter(|kind| !order.contains(kind) && graph.needs(*kind).iter().all(|need| order.contains(need)))
                .collect();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.push(ready[usize::try_from(random >> 33).expect("small") % ready.len()]);
        }

        prop_assert_eq!(verdicts(&decide(&graph, &order, &survey)), verdicts(&decide(&graph, &Kind::ALL, &survey)));
    }
}
