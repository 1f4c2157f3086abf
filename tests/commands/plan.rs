//! `plan`.

use serde_json::{Value, json};
use sre_provision::artifact::Kind;

use crate::World;

#[test]
fn of_an_environment_that_was_never_made_every_stage_runs_and_nothing_is_written() {
    let world = World::new().on_a_platform();

    let ended = world.run(&["plan", "dev"]);
    let (code, data) = world.json(&["plan", "dev"]);

    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[0], "dev · aws eu-central-1 · account 1234-5678-9012 · RKE2 v1.35.4+rke2r1");
    assert_eq!(lines[2], "  run    bundle         never made");
    assert!(lines.contains(&"  new    nodes          server-1, server-2, server-3, general-1, general-2"), "{lines:?}");
    assert_eq!(lines.last(), Some(&"next: `sre-provision up dev` does this and asks first"));
    let decisions = data["plan"]["decisions"].as_array().expect("decisions");
    let stages: Vec<&Value> = decisions.iter().map(|decision| &decision["stage"]).collect();
    assert_eq!(stages, Kind::ALL.map(|kind| json!(kind)).iter().collect::<Vec<_>>());
    assert!(decisions.iter().all(|one| one["verdict"] == "run" && one["reason"] == "never made"), "{data}");
    assert_eq!((code, &data["environment"], &data["id"]), (0, &json!("dev"), &Value::Null));
    assert!(!world.path(".sre-provision/dev").exists(), "a look makes nothing");
}

#[test]
fn that_there_is_something_to_do_is_told_by_the_exit_code_where_it_is_asked_for() {
    let world = World::new().on_a_platform();

    let ended = world.run(&["plan", "dev", "--detailed-exitcode"]);

    assert_eq!(ended.code, 10);
    assert_eq!(ended.err, "error: `dev` is not as described\n");
    assert!(ended.out.contains("never made"), "{}", ended.out);
}

#[test]
fn stages_that_were_left_in_the_middle_say_how_they_ended() {
    let world = World::made().on_a_platform();

    let (code, data) = world.json(&["plan", "dev"]);

    let decisions = data["plan"]["decisions"].as_array().expect("decisions");
    let reason = |stage: &str| {
        let found = decisions.iter().find(|decision| decision["stage"] == stage);
        found.map_or(Value::Null, |decision| decision["reason"].clone())
    };
    let told = ["bundle", "network", "health"].map(reason);
    let wanted = ["stopped in the middle last time", "failed last time", "never made"];
    assert_eq!((code, told), (0, wanted.map(Value::from)));
}

#[test]
fn without_credentials_nobody_is_asked_and_it_is_said_how_to_get_some() {
    let world = World::new();

    let ended = world.run(&["plan", "dev"]);
    let (code, failure) = world.json(&["plan", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (4, ""));
    assert!(ended.err.starts_with("error: connecting to AWS: no usable AWS credentials\n"), "{}", ended.err);
    let hint = "log in (`aws sso login`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    assert_eq!((code, &failure["class"], &failure["hints"]), (4, &json!("needs-person"), &json!([hint])));
}

#[test]
fn another_account_or_region_than_the_environment_was_made_in_is_refused() {
    let world = World::made().on_a_platform();

    for (what, there, here) in
        [("account", "210987654321", "123456789012"), ("region", "us-gov-west-1", "eu-central-1")]
    {
        world.identity(json!({ what: there }));
        let ended = world.run(&["plan", "dev"]);

        ended.fails(
            4,
            &format!(
                "error: `dev` belongs to another {what}\n\
                 cause: it was made in `{there}`, the credentials and the file lead to `{here}`\n\
                 hint:  use credentials and settings of `{there}`; nothing was asked or changed there"
            ),
        );
    }
}

#[test]
fn a_file_with_problems_is_refused_before_anybody_is_asked() {
    let world = World::new().on_a_platform();
    world.describe("count: 3", "count: 2");

    let ended = world.run(&["plan", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    assert!(ended.err.contains("nodes.servers.count"), "{}", ended.err);
    assert_eq!(world.platform.as_ref().expect("one").asked(), Vec::<String>::new());
}
