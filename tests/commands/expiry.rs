//! `expiry`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{ID, World};

fn ending(at: &str) -> World {
    let world = World::made();
    world.identity(json!({ "expires": at }));
    world
}

#[test]
fn an_end_is_told_with_how_far_away_it_is() {
    let past = ending("2026-11-20T14:02:11Z");
    let ahead = ending("2999-11-20T14:02:11Z");

    let told = past.run(&["expiry", "show", "dev"]);
    let (code, data) = past.json(&["expiry", "show", "dev"]);
    let (_, ahead) = ahead.json(&["expiry", "show", "dev"]);

    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert!(told.out.starts_with("dev expires 2026-11-20 14:02") && told.out.ends_with(" ago)\n"), "{}", told.out);
    let wanted = json!({
        "event": "expiry", "environment": "dev", "id": ID, "class": "ephemeral", "expires": "2026-11-20T14:02:11Z",
        "expired": true,
    });
    assert_eq!((code, data), (0, wanted));
    assert_eq!(ahead["expired"], false);
}

#[test]
fn an_environment_without_an_end_says_so_and_gets_no_more_time() {
    let world = World::made();
    world.identity(json!({ "class": "standard" }));

    let shown = world.run(&["expiry", "show", "dev"]);
    let extended = world.run(&["expiry", "extend", "dev", "24h"]);

    assert_eq!((shown.code, shown.out.as_str()), (0, "dev has no end: its class is standard\n"));
    extended.fails(1, "error: `dev` has no end that could be moved\ncause: its class is standard");
}

#[test]
fn more_time_counts_from_the_end_that_it_had_and_is_in_the_history() {
    let world = ending("2999-11-20T14:02:11Z").on_a_platform();

    let (code, data) = world.json(&["expiry", "extend", "dev", "2d"]);

    assert_eq!((code, &data["expires"]), (0, &json!("2999-11-22T14:02:11Z")));
    assert_eq!(world.json(&["expiry", "show", "dev"]).1["expires"], data["expires"]);
    let history = world.json(&["history", "dev", "--command", "expiry"]).1;
    let told = (&history["runs"][0]["command"], &history["runs"][0]["outcome"]);
    assert_eq!(told, (&json!("expiry extend dev 2d"), &json!("succeeded")));
}

#[test]
fn more_time_for_one_whose_time_is_over_counts_from_now() {
    let world = ending("2020-11-20T14:02:11Z").on_a_platform();
    let before = Timestamp::now();

    let (code, data) = world.json(&["expiry", "extend", "dev", "24h"]);

    let until: Timestamp = data["expires"].as_str().expect("an end").parse().expect("a time");
    let hours = until.duration_since(before).as_hours();
    assert_eq!((code, hours, &data["expired"]), (0, 24, &Value::Bool(false)));
}

#[test]
fn what_is_no_length_of_time_is_a_mistake_in_the_command_line() {
    let world = ending("2999-11-20T14:02:11Z");

    let ended = world.run(&["expiry", "extend", "dev", "tomorrow"]);

    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    let told = "`tomorrow` is no length of time; write it like `90s`, `15m`, `72h` or `30d`";
    assert!(ended.err.contains(told), "{}", ended.err);
}

#[test]
fn what_was_never_made_has_no_end() {
    let world = World::new();

    for args in [&["expiry", "show", "dev"][..], &["expiry", "extend", "dev", "24h"]] {
        world.run(args).fails(1, "error: `dev` was never made here\nhint:  sre-provision up dev");
    }
}
