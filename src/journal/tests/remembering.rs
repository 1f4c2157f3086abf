//! What a journal that was opened again remembers of stages, steps, facts, children and runs.

use super::*;

#[tokio::test]
async fn what_was_written_is_there_after_the_journal_was_opened_again() {
    let world = World::with(vec![fact("servers.first", "server-2")]).await;

    let journal = world.open().await;

    let kinds: Vec<_> = journal.entries().iter().map(|entry| (entry.number, entry.record.kind())).collect();
    assert_eq!(kinds, [(1, "lease"), (2, "run-started"), (3, "fact")]);
    assert_eq!(journal.memory().facts["servers.first"], "server-2");
    assert_eq!(journal.memory().next_run(), 2);
}

#[tokio::test]
async fn an_intent_without_an_outcome_is_indeterminate_and_the_artifact_made_before_is_kept() {
    let world = World::with(vec![
        intent(None, Deed::Make),
        settled(None, Deed::Make, Outcome::Succeeded),
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
    ])
    .await;

    let memory = world.open().await.memory().clone();

    let stage = &memory.stages[&Kind::Bundle];
    assert_eq!((stage.last, stage.current()), (Outcome::Indeterminate, None));
    assert_eq!(stage.made.as_ref().map(|made| made.artifact.clone()), Some(bundle()));
    assert_eq!(memory.step(Kind::Bundle, "images").map(|step| step.outcome), Some(Outcome::Indeterminate));
}

#[tokio::test]
async fn a_stage_that_succeeded_may_be_reused_with_what_it_was_made_from() {
    let world = World::with(vec![
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
        settled(Some("images"), Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Skipped),
    ])
    .await;

    let memory = world.open().await.memory().clone();

    let made = memory.stages[&Kind::Bundle].current().expect("made");
    assert_eq!(made.fingerprint, reading("1").fingerprint("bundle"));
    assert_eq!(made.reading.changed_since(&reading("2")), ["rke2.version"]);
    assert_eq!(memory.steps[&(Kind::Bundle, "images".to_owned())].output, Some("output".into()));
}

#[tokio::test]
async fn a_failed_removal_is_remembered_and_a_done_one_forgets_the_stage_and_its_steps() {
    let mut records = vec![
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
        settled(Some("images"), Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Succeeded),
        intent(None, Deed::Remove),
        settled(None, Deed::Remove, Outcome::Failed),
    ];
    let failed = World::with(records.clone()).await.open().await.memory().clone();
    records.extend([intent(None, Deed::Remove), settled(None, Deed::Remove, Outcome::Succeeded)]);

    let removed = World::with(records).await.open().await.memory().clone();

    assert_eq!(failed.stages[&Kind::Bundle].current(), None);
    assert!(failed.stages[&Kind::Bundle].made.is_some());
    assert!(removed.stages.is_empty() && removed.steps.is_empty());
}

#[tokio::test]
async fn children_are_open_until_their_result_was_taken_over_and_facts_until_they_are_forgotten() {
    let start = |id: &str| Record::ChildStarted {
        id: id.to_owned(),
        slot: "network-apply".to_owned(),
        lock: format!("children/{id}.lock"),
    };
    let world = World::with(vec![
        start("one"),
        start("two"),
        Record::ChildEnded { id: "one".to_owned(), code: Some(0), took: Some(Duration::from_millis(1_500)) },
        fact("x", 1),
        fact("x", serde_json::Value::Null),
    ])
    .await;

    let memory = world.open().await.memory().clone();

    assert_eq!(memory.open_children.keys().collect::<Vec<_>>(), ["two"]);
    assert!(memory.facts.is_empty());
}

#[tokio::test]
async fn the_history_tells_each_run_with_its_stages() {
    let world = World::with(vec![
        Record::Approval { plan: Digest::of(b"plan"), by: "b.second".to_owned(), what: "replaces agent-3".to_owned() },
        intent(None, Deed::Make),
        intent(Some("images"), Deed::Make),
        settled(Some("images"), Deed::Make, Outcome::Succeeded),
        settled(None, Deed::Make, Outcome::Succeeded),
        Record::RunEnded { outcome: Outcome::Succeeded, why: None },
    ])
    .await;

    let runs = history(world.open().await.entries());

    let [run] = runs.as_slice() else { panic!("one run: {runs:?}") };
    assert_eq!((run.command.as_str(), run.outcome, run.entries), ("up dev", Outcome::Succeeded, (2, 8)));
    assert_eq!(run.approvals, ["b.second: replaces agent-3"]);
    let [stage] = run.stages.as_slice() else { panic!("one stage: {runs:?}") };
    assert_eq!((stage.attempts, stage.steps, stage.took), (1, 1, Some(Duration::from_secs(2))));
    assert_eq!(stage.made.as_deref(), Some("v1.35.4+rke2r1 · 0 files, verified"));
}

fn past_run() -> PastRun {
    PastRun {
        number: 1,
        command: "up dev".to_owned(),
        program: "0.1.0".to_owned(),
        plan: None,
        actor: Actor::here(),
        started: jiff::Timestamp::UNIX_EPOCH,
        ended: None,
        outcome: Outcome::Succeeded,
        why: None,
        approvals: vec![],
        stages: vec![],
        entries: (1, 1),
    }
}

#[test]
fn a_stage_usually_takes_the_longest_of_its_latest_successes() {
    let run = |seconds, outcome| PastRun {
        stages: vec![PastStage {
            stage: Kind::Bundle,
            deed: Deed::Make,
            attempts: 1,
            steps: 0,
            outcome,
            why: None,
            took: Some(Duration::from_secs(seconds)),
            made: None,
        }],
        ..past_run()
    };
    let runs = [(900, Outcome::Succeeded), (10, Outcome::Succeeded), (60, Outcome::Failed)]
        .map(|(seconds, outcome)| run(seconds, outcome));
    let later = [(40, Outcome::Succeeded), (20, Outcome::Succeeded)].map(|(seconds, outcome)| run(seconds, outcome));

    let usual = usual(&[runs.to_vec(), later.to_vec()].concat());

    assert_eq!(usual, BTreeMap::from([(Kind::Bundle, Duration::from_secs(40))]));
}
