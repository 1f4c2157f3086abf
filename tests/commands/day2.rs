//! `snapshot`, `restore`, `certs`, `token` and `upgrade`, where no server answers.
//!
//! What they do to a cluster is shown in the lab; here, what they tell people and programs when there is nothing to ask.

use serde_json::{Value, json};

use crate::World;

/// What only asks.
const LOOKS: [&[&str]; 4] = [
    &["certs", "list", "dev"],
    &["token", "check", "dev"],
    &["snapshot", "list", "dev"],
    &["snapshot", "prune", "dev", "--keep", "1", "--dry-run"],
];
/// What works on the cluster.
const DEEDS: [&[&str]; 6] = [
    &["certs", "rotate", "dev", "--yes"],
    &["token", "rotate", "dev", "--yes"],
    &["snapshot", "save", "dev"],
    &["snapshot", "prune", "dev", "--keep", "1"],
    &["restore", "dev", "pre-1", "--yes"],
    &["upgrade", "dev", "--to", "v1.35.4+rke2r1", "--yes"],
];

/// The exit code, and the last object that was printed.
fn told(world: &World, args: &[&str]) -> (i32, Value) {
    let ended = world.run(&[args, &["--output", "json"]].concat());
    assert_eq!(ended.err, "", "a program reads standard output alone");
    let last = ended.out.lines().last().unwrap_or_else(|| panic!("{args:?} printed nothing"));
    (ended.code, serde_json::from_str(last).expect("JSON"))
}

fn starts(value: &Value, text: &str) -> bool {
    value.as_str().is_some_and(|value| value.starts_with(text))
}

#[test]
fn before_a_cluster_was_formed_each_command_says_so_and_what_makes_one() {
    let world = World::made().on_a_platform();

    for args in LOOKS.iter().chain(&DEEDS) {
        let (code, failure) = told(&world, args);

        let told = (code, &failure["error"], &failure["hints"][0]);
        assert_eq!(told, (1, &json!("`dev` has no cluster yet"), &json!("sre-provision up dev")), "{args:?}");
    }
}

#[test]
fn only_a_member_is_left_out_and_only_as_long_as_a_quorum_stays() {
    let world = World::clustered();

    for args in [&["certs", "rotate", "dev"], &["token", "rotate", "dev"]] {
        let without = |node| [&args[..], &["--yes", "--leave-out", node]].concat();
        let (stranger, last) = (told(&world, &without("general-9")), told(&world, &without("server-1")));

        assert_eq!((stranger.0, &stranger.1["error"]), (2, &json!("`general-9` is no member of `dev`")), "{args:?}");
        assert_eq!(
            (last.0, &last.1["error"]),
            (7, &json!("etcd would have no quorum without `server-1` while another server restarts")),
            "{args:?}"
        );
    }
    assert_eq!(told(&world, &["token", "rotate", "dev", "--yes"]).0, 7, "nothing was left open");
}

#[test]
fn a_look_writes_no_run_and_says_who_does_not_answer() {
    let world = World::clustered();
    let before = world.entries();

    let certificates = told(&world, LOOKS[0]);
    let tokens = told(&world, LOOKS[1]);
    let snapshots = told(&world, LOOKS[2]);
    let prune = told(&world, LOOKS[3]);
    let people = world.run(LOOKS[0]);

    world.forget_the_way();
    assert_eq!(world.entries(), before);
    let silent = "server-1: no SSH connection to `server-1` (127.0.0.1): ";
    for ((code, failure), what) in [(&certificates, "certificates"), (&snapshots, "snapshots"), (&prune, "snapshots")] {
        assert_eq!(*code, 6, "{failure}");
        assert!(starts(&failure["error"], "no ") && starts(&failure["causes"][0], silent), "{failure}");
        assert!(failure["error"].as_str().expect("text").ends_with(&format!("so nobody knows of {what}")), "{failure}");
    }
    assert_eq!(tokens.0, 7);
    assert_eq!(tokens.1["error"], "1 of 1 nodes do not hold what they should: server-1");
    assert!(starts(&tokens.1["causes"][0], silent), "{}", tokens.1);
    assert_eq!((people.code, people.out.as_str()), (6, ""));
    assert!(people.err.contains("error: no node answers, so nobody knows of certificates\n"), "{}", people.err);
}

#[test]
fn a_deed_without_a_server_that_answers_leaves_nothing_open_that_would_refuse_the_next() {
    let world = World::clustered();

    for args in DEEDS {
        let before = world.entries();
        let (code, failure) = told(&world, args);

        let wanted = match args[0] {
            "restore" => (1, "no server that answers has a snapshot `pre-1`"),
            "snapshot" if args[1] == "prune" => (6, "no server answers, so nobody knows of snapshots"),
            _ => (7, "no server of `dev` runs"),
        };
        assert_eq!((code, &failure["error"]), (wanted.0, &json!(wanted.1)), "{args:?}: {failure}");
        assert!(world.entries() > before, "{args:?} is a run");
    }
    world.forget_the_way();
}

#[test]
fn what_works_on_a_cluster_wants_its_name_typed() {
    let world = World::clustered();

    for (args, again) in [
        (&["certs", "rotate", "dev"][..], "certs rotate dev --yes"),
        (&["token", "rotate", "dev"], "token rotate dev --yes"),
        (&["restore", "dev", "pre-1"], "restore dev pre-1 --yes"),
    ] {
        let ended = world.run(args);

        assert_eq!((ended.code, ended.out.as_str()), (9, ""), "{}", ended.err);
        assert!(ended.err.contains("error: nobody can answer whether to go on\n"), "{}", ended.err);
        assert!(ended.err.ends_with(&format!("hint:  sre-provision {again}\n")), "{}", ended.err);
    }
    world.forget_the_way();
}

#[test]
fn while_an_operation_is_open_looks_go_on_and_nothing_else_begins() {
    let world = World::clustered().with_open("restore dev pre-1");

    for args in DEEDS.iter().filter(|args| args[0] != "restore").chain(&[&["up", "dev", "--yes"][..]]) {
        let (code, failure) = told(&world, args);

        assert_eq!(code, 8, "{args:?}: {failure}");
        assert_eq!(failure["error"], "`restore dev pre-1` was begun and has not come to its end", "{args:?}");
        assert_eq!(failure["hints"][0], "sre-provision restore dev pre-1   goes on with it");
    }
    for args in LOOKS {
        assert_ne!(told(&world, args).0, 8, "{args:?}");
    }
    world.forget_the_way();
}

#[test]
fn what_is_no_release_or_no_name_is_a_mistake_in_the_command_line() {
    let world = World::clustered();

    let (release, failure) = told(&world, &["upgrade", "dev", "--to", "1.35", "--yes"]);
    let (name, other) = told(&world, &["snapshot", "save", "dev", "--name", "../x"]);

    world.forget_the_way();
    assert_eq!((release, name), (2, 2));
    assert_eq!(failure["error"], "`1.35` is no RKE2 release; write it like `v1.35.4+rke2r1`");
    assert_eq!(other["error"], "`../x` is no name for a snapshot");
}
