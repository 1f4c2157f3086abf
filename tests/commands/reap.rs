//! `reap`.

use serde_json::{Value, json};

use crate::World;

#[test]
fn a_platform_that_has_nothing_has_nothing_that_expired() {
    let world = World::new().on_a_platform();

    let ended = world.run(&["reap", "--yes"]);
    let (code, data) = world.json(&["reap", "--dry-run"]);

    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "nothing has expired\n", ""));
    assert_eq!((code, data), (0, json!({ "event": "reap", "environments": [], "not_looked_at": [] })));
}

#[test]
fn a_file_that_cannot_be_read_keeps_back_no_other_and_is_what_it_ends_with() {
    let world = World::new().on_a_platform();
    std::fs::write(world.path("environments/two.yaml"), "platform: aws\n").expect("written");

    let ended = world.run(&["reap", "--yes"]);

    assert_eq!((ended.code, ended.out.as_str()), (3, "nothing has expired\n"));
    assert!(ended.err.starts_with("not looked at: environments/two.yaml has "), "{}", ended.err);
    assert!(ended.err.contains("\nerror: environments/two.yaml has "), "{}", ended.err);
    let asked = world.platform.as_ref().expect("one").asked();
    assert!(asked.contains(&"DescribeVpcs".to_owned()), "the place of the other file was looked at: {asked:?}");
}

#[test]
fn a_workspace_without_environments_leads_to_no_platform() {
    let world = World::new().on_a_platform();
    std::fs::remove_file(world.path("environments/dev.yaml")).expect("removed");

    let ended = world.run(&["reap", "--yes"]);

    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "nothing has expired\n", ""));
    assert_eq!(world.platform.as_ref().expect("one").asked(), Vec::<String>::new());
}

#[test]
fn without_credentials_nothing_is_known_to_have_expired() {
    let world = World::new();

    let ended = world.run(&["reap", "--yes", "--output", "json"]);

    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [told, failure] = &lines[..] else { panic!("not two lines: {}", ended.out) };
    let trouble = "eu-central-1: connecting to AWS: no usable AWS credentials";
    assert_eq!((ended.code, &failure["error"], &told["environments"]), (4, &json!(trouble), &json!([])));
    let left_out = told["not_looked_at"][0].as_str().unwrap_or_default();
    assert!(left_out.starts_with(trouble), "{told}");
}

#[test]
fn it_takes_no_environment_by_name() {
    let world = World::new();

    let ended = world.run(&["reap", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    assert!(ended.err.contains("unexpected argument 'dev' found"), "{}", ended.err);
}
