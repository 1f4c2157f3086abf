//! `down`.

use serde_json::json;

use crate::{ID, World};

#[test]
fn what_left_nothing_cannot_be_taken_down() {
    let world = World::new().on_a_platform();

    let ended = world.run(&["down", "dev", "--yes"]);

    ended.fails(
        1,
        "error: `dev` has left nothing in 123456789012 eu-central-1\n\
         cause: there is no state here and nothing carries its name",
    );
    assert!(!world.path(".sre-provision/dev").exists(), "a look makes nothing");
}

#[test]
fn a_dry_run_tells_what_would_go_and_removes_nothing() {
    let world = World::made().on_a_platform();

    let ended = world.run(&["down", "dev", "--dry-run"]);
    let (code, data) = world.json(&["down", "dev", "--dry-run"]);

    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let first = format!("removes nothing in dev (aws eu-central-1): nothing is tagged sre:environment={ID}");
    assert_eq!(ended.out, format!("{first}\nnothing was removed: a dry run\n"));
    let told = json!({ "event": "down-plan", "environment": "dev", "id": ID, "things": [] });
    assert_eq!((code, data), (0, told));
    assert!(world.path(".sre-provision/dev/identity.json").exists(), "it is still there");
}

#[test]
fn where_nobody_can_type_the_name_nothing_is_removed() {
    let world = World::made().on_a_platform();

    let ended = world.run(&["down", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (9, ""));
    let last = "error: down: nobody can answer whether to go on\n\
                cause: standard input is no terminal\n\
                hint:  sre-provision down dev --yes\n";
    assert!(ended.err.ends_with(last), "{}", ended.err);
    let runs = world.json(&["history", "dev"]).1;
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2), "no run was begun");
}

#[test]
fn an_operation_that_is_open_is_told_before_anything_is_asked() {
    let world = World::made().on_a_platform().with_open("restore dev pre-1");

    let ended = world.run(&["down", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (9, ""));
    let told = "`restore dev pre-1` was begun and has not come to its end: it ends with the cluster\n";
    assert!(ended.err.contains(told), "{}", ended.err);
}

#[test]
fn a_protected_environment_is_not_taken_down_whatever_else_is_said() {
    let world = World::made().on_a_platform();
    world.identity(json!({ "class": "protected" }));

    let ended = world.run(&["down", "dev", "--yes"]);

    ended.fails(
        9,
        "error: `dev` is protected: it is not taken down\n\
         hint:  set `class: standard` in its file, `up` it once so that everybody sees the change, then take it down",
    );
}

#[test]
fn the_id_of_another_environment_is_a_mistake_in_the_command_line_and_nobody_is_asked() {
    let world = World::made().on_a_platform();
    let other = "5b1e0000-0000-4000-8000-000000000002";

    let ended = world.run(&["down", "dev", "--yes", "--environment-id", other]);
    let unreadable = world.run(&["down", "dev", "--environment-id", "prod"]);

    ended.fails(
        2,
        &format!(
            "error: `dev` is not {other} here\n\
             cause: its state is not lost and names another id\n\
             hint:  sre-provision down dev   takes away the one that is here"
        ),
    );
    assert_eq!((unreadable.code, unreadable.out.as_str()), (2, ""));
    assert_eq!(world.platform.as_ref().expect("one").asked(), Vec::<String>::new());
}

#[test]
fn without_credentials_it_is_left_as_it_is() {
    let world = World::made();

    let ended = world.run(&["down", "dev", "--yes"]);

    assert_eq!((ended.code, ended.out.as_str()), (4, ""));
    assert!(ended.err.starts_with("error: connecting to AWS: no usable AWS credentials\n"), "{}", ended.err);
    assert!(world.path(".sre-provision/dev/identity.json").exists(), "it is still there");
}

#[test]
fn the_state_of_another_environment_is_not_taken_for_ones_own() {
    let world = World::made().on_a_platform();
    std::fs::rename(world.path(".sre-provision/dev"), world.path(".sre-provision/two")).expect("moved");
    std::fs::copy(world.path("environments/dev.yaml"), world.path("environments/two.yaml")).expect("copied");

    for args in [&["down", "two", "--yes"][..], &["up", "two", "--yes"], &["plan", "two"]] {
        let ended = world.run(args);

        let told: Vec<&str> = ended.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((ended.code, told), (1, vec!["error: `two` has the state of `dev`"]), "{args:?}: {}", ended.err);
    }
}
