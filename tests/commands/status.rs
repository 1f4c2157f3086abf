//! `status`.

use serde_json::json;

use crate::World;

#[test]
fn a_file_of_which_nothing_was_made_has_a_line_that_says_so() {
    let world = World::new();

    let ended = world.run(&["status"]);
    let (code, data) = world.json(&["status", "dev"]);

    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let head: Vec<&str> = ended.out.lines().next().expect("a head").split_whitespace().collect();
    assert_eq!(head, ["ENVIRONMENT", "PLATFORM", "NODES", "RKE2", "STATE", "EXPIRES"]);
    assert_eq!(ended.rows(), [["dev", "–", "–", "–", "not", "made", "–"]]);
    let line = json!({
        "environment": "dev", "platform": "", "nodes": "", "rke2": "", "state": "not made", "expires": "",
    });
    assert_eq!((code, data), (0, json!([line])));
}

#[test]
fn an_environment_that_was_left_in_the_middle_says_where_and_how_many_joined() {
    let world = World::made();
    world.identity(json!({ "expires": "2026-11-20T15:02:11Z" }));

    let (code, data) = world.json(&["status", "dev"]);

    let line = &data[0];
    assert_eq!((code, &line["platform"], &line["nodes"]), (0, &json!("aws eu-central-1"), &json!("0/1")));
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    assert!(text("state").starts_with("indeterminate at bundle, "), "{line}");
    assert!(text("expires").ends_with(" ago"), "{line}");
}

#[test]
fn one_that_cannot_be_read_hides_none_of_the_others_and_fails_alone() {
    let world = World::made();
    let entry = world.path(".sre-provision/dev/journal/0000000010.json");
    let text = std::fs::read_to_string(&entry).expect("an entry");
    std::fs::write(&entry, text.replace("i-0abc", "i-0abd")).expect("written");
    std::fs::copy(world.path("environments/dev.yaml"), world.path("environments/two.yaml")).expect("copied");

    let (all, lines) = world.json(&["status"]);
    let alone = world.run(&["status", "dev"]);

    assert_eq!((all, &lines[1]["environment"], &lines[1]["state"]), (0, &json!("two"), &json!("not made")));
    let state = lines[0]["state"].as_str().unwrap_or_default();
    assert!(state.contains("0000000010"), "{lines}");
    assert_eq!((alone.code, alone.out.as_str()), (20, ""), "{}", alone.err);
}

#[test]
fn what_is_remembered_without_a_file_has_its_line() {
    let world = World::made();
    std::fs::remove_file(world.path("environments/dev.yaml")).expect("removed");

    let ended = world.run(&["status"]);

    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.rows()[0][..4], ["dev", "aws", "eu-central-1", "0/1"], "{}", ended.out);
}
