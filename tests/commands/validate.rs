//! `validate`.

use serde_json::json;

use crate::World;

#[test]
fn validate_tells_what_a_good_file_describes() {
    let world = World::new();

    let ended = world.run(&["validate", "dev"]);

    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let said = "environments/dev.yaml is valid: 3 servers, 2 agents on aws, RKE2 v1.35.4+rke2r1\n";
    assert_eq!(ended.out, said);
    assert_eq!(world.json(&["validate", "dev"]), (0, json!({ "environment": "dev", "valid": true })));
}

#[test]
fn validate_without_a_name_tells_the_problems_of_every_file() {
    let world = World::new();
    let good = std::fs::read_to_string(world.path("environments/dev.yaml")).expect("a file");
    for (name, old, new) in [("one", "zones: 3", "zones: 4"), ("two", "count: 3", "count: 2")] {
        std::fs::write(world.path(&format!("environments/{name}.yaml")), good.replace(old, new)).expect("written");
    }

    let ended = world.run(&["validate"]);
    let (code, last) = world.json(&["validate", "two"]);

    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(ended.out.starts_with("environments/dev.yaml is valid"), "{}", ended.out);
    for told in ["environments/one.yaml has 1 problem", "network.zones", "environments/two.yaml has 1 problem"] {
        assert!(ended.err.contains(told), "{told}: {}", ended.err);
    }
    assert_eq!((code, &last["event"], &last["exit"]), (3, &json!("failed"), &json!(3)));
    assert!(last["error"].as_str().is_some_and(|error| error.contains("nodes.servers.count")), "{last}");
}

#[test]
fn every_problem_of_a_file_is_told_with_its_place_at_once() {
    let world = World::new();
    world.describe("region:", "regoin:");
    world.describe("count: 3", "count: 2");

    let ended = world.run(&["validate", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    let lines: Vec<&str> = ended.err.lines().collect();
    assert_eq!(lines[0], "error: environments/dev.yaml has 3 problems");
    for told in ["aws.regoin", "is not a known key; did you mean `region`?", "aws.region", "nodes.servers.count"] {
        assert!(ended.err.contains(told), "{told}: {}", ended.err);
    }
}

#[test]
fn a_workspace_without_environments_is_valid_and_says_nothing() {
    let world = World::new();
    std::fs::remove_file(world.path("environments/dev.yaml")).expect("removed");

    let ended = world.run(&["validate"]);

    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""));
}
