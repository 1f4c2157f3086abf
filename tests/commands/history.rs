//! `history`.

use serde_json::{Value, json};

use crate::{ID, World, golden};

#[test]
fn history_tells_every_run_and_the_stages_of_one() {
    let world = World::made();

    let all = world.run(&["history", "dev"]);
    let one = world.run(&["history", "dev", "--run", "1"]);
    let (code, data) = world.json(&["history", "dev"]);
    let (unknown, failure) = world.json(&["history", "dev", "--run", "9"]);

    assert_eq!((all.code, one.code, code), (0, 0, 0), "{}{}", all.err, one.err);
    assert_eq!(all.rows().iter().map(|row| row[0]).collect::<Vec<_>>(), ["0001", "0002"]);
    assert!(all.out.contains("partial") && all.out.contains("network: no answer"), "{}", all.out);
    assert_eq!(
        one.rows().iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>(),
        [
            ["nodes", "make", "succeeded"],
            ["bundle", "make", "succeeded"],
            ["network", "make", "failed"],
            ["access", "make", "skipped"],
        ]
    );
    assert_eq!((&data["environment"], &data["id"]), (&json!("dev"), &json!(ID)));
    assert_eq!(data["runs"][0]["command"], "up dev");
    assert_eq!((unknown, &failure["error"]), (1, &json!("`dev` has no run 9")));
}

#[test]
fn a_journal_that_was_changed_is_not_told_as_history() {
    let world = World::made();
    let entry = world.path(".sre-provision/dev/journal/0000000010.json");
    let text = std::fs::read_to_string(&entry).expect("an entry");
    std::fs::write(&entry, text.replace("i-0abc", "i-0abd")).expect("written");

    let ended = world.run(&["history", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (20, ""), "{}", ended.err);
}

#[test]
fn runs_are_told_by_outcome_by_command_and_by_age() {
    let world = World::made();

    for (filter, runs) in [
        (["--outcome", "partial"], vec![1]),
        (["--outcome", "indeterminate"], vec![2]),
        (["--outcome", "succeeded"], vec![]),
        (["--command", "up"], vec![1, 2]),
        (["--command", "down"], vec![]),
        (["--since", "1s"], vec![]),
        (["--since", "36500d"], vec![1, 2]),
    ] {
        let (code, data) = world.json(&[&["history", "dev"][..], &filter].concat());

        let found: Vec<&Value> = data["runs"].as_array().expect("runs").iter().map(|run| &run["number"]).collect();
        assert_eq!(
            (code, found),
            (0, runs.iter().map(|run| json!(run)).collect::<Vec<_>>().iter().collect()),
            "{filter:?}"
        );
    }
    let unreadable = world.run(&["history", "dev", "--since", "soon"]);
    assert_eq!((unreadable.code, unreadable.out.as_str()), (2, ""));
    assert!(unreadable.err.contains("`soon` is no length of time"), "{}", unreadable.err);
}

#[test]
fn a_journal_is_proven_by_an_entry_that_is_known_from_elsewhere_and_by_nothing_less() {
    let world = World::made();
    let last: Value =
        serde_json::from_slice(&std::fs::read(golden().last().expect("entries")).expect("an entry")).expect("JSON");
    let known = format!("20:{}", last["digest"].as_str().expect("a digest"));

    let proven = world.run(&["history", "verify", "dev", "--anchor", &known]);
    let unproven = world.run(&["history", "verify", "dev"]);
    let (code, data) = world.json(&["history", "verify", "dev", "--anchor", &known]);
    let unreadable = world.run(&["history", "verify", "dev", "--anchor", "20"]);

    assert_eq!((proven.code, proven.err.as_str()), (0, ""));
    assert_eq!(proven.out, format!("dev: 20 entries in order, the last is {known}; anchored up to entry 20\n"));
    assert_eq!(unproven.code, 23);
    assert!(unproven.out.ends_with("; not anchored\n"), "{}", unproven.out);
    assert_eq!(
        unproven.err,
        "error: the journal of `dev` is not proven to be what was written\n\
         cause: each entry follows the one before, and no entry is known from elsewhere\n\
         hint:  set `audit: {anchor: {file: …}}` in its file, or give `--anchor NUMBER:DIGEST`\n"
    );
    let told = [&data["event"], &data["entries"], &data["anchored"], &data["damage"]];
    assert_eq!((code, told), (0, [&json!("history-verify"), &json!(20), &json!(20), &Value::Null]));
    assert_eq!(unreadable.code, 2);
    assert!(unreadable.err.contains("`20` is not the number of an entry"), "{}", unreadable.err);
}

#[test]
fn a_journal_of_which_the_end_was_cut_off_is_told_against_a_known_entry() {
    let world = World::made();
    let last: Value =
        serde_json::from_slice(&std::fs::read(golden().last().expect("entries")).expect("an entry")).expect("JSON");
    let known = format!("20:{}", last["digest"].as_str().expect("a digest"));
    std::fs::remove_file(world.path(".sre-provision/dev/journal/0000000020.json")).expect("removed");

    let ended = world.run(&["history", "verify", "dev", "--anchor", &known]);

    assert_eq!(ended.code, 22, "{}", ended.err);
    assert!(ended.out.starts_with("dev: 19 entries in order"), "{}", ended.out);
}

#[test]
fn what_is_gone_is_still_told_and_where_it_is_kept() {
    let world = World::made();
    let kept = format!(".sre-provision/gone/dev-{ID}");
    std::fs::create_dir(world.path(".sre-provision/gone")).expect("made");
    std::fs::rename(world.path(".sre-provision/dev"), world.path(&kept)).expect("put aside");

    let ended = world.run(&["history", "dev"]);

    assert_eq!((ended.code, ended.err.as_str()), (0, format!("dev is gone; this is kept in {kept}\n").as_str()));
    assert_eq!(ended.rows().len(), 2, "{}", ended.out);
}
