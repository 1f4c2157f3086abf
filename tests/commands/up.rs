//! `up`.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{World, ended};

#[test]
fn the_second_up_is_told_who_holds_the_environment_and_ends_with_8() {
    let world = World::new();
    // A platform that hears and never answers: the first one holds the environment while it waits.
    let platform = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", platform.local_addr().expect("an address"));
    let up = || {
        let mut command = world.command(&["up", "dev", "--yes"]);
        let own = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        command.envs(own).env("AWS_EC2_METADATA_DISABLED", "true");
        command
    };
    let mut first = up().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let _asked = platform.accept().expect("it asks the platform");

    let begun = Instant::now();
    let second = up().output().expect("the program starts");
    let took = begun.elapsed();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", first.id())).expect("the first one runs");

    first.kill().expect("killed");
    first.wait().expect("reaped");
    let said = String::from_utf8(second.stderr).expect("UTF-8");
    assert_eq!(second.status.code(), Some(8), "{said}");
    assert!(said.starts_with("error: `dev` is held by "), "{said}");
    assert!(said.contains(&format!("process {}\n", first.id())), "{said}");
    assert!(said.contains("hint:  sre-provision status dev"), "{said}");
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(cores.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"]);
}

#[test]
fn where_nobody_can_answer_the_plan_is_shown_and_nothing_is_made() {
    let world = World::new().on_a_platform();

    let told = world.run(&["up", "dev"]);
    let (code, failure) = world.json(&["up", "dev"]);

    assert_eq!((told.code, told.out.as_str()), (9, ""));
    let first =
        "dev · aws eu-central-1 · account 1234-5678-9012 · RKE2 v1.35.4+rke2r1\n\n  run    bundle         never made\n";
    assert!(told.err.starts_with(first), "{}", told.err);
    let last = "error: up: nobody can answer whether to go on\n\
                cause: standard input is no terminal\n\
                hint:  sre-provision up dev --yes\n";
    assert!(told.err.ends_with(last), "{}", told.err);
    let told = [&failure["error"], &failure["exit"], &failure["hints"]];
    let wanted = [&json!("up: nobody can answer whether to go on"), &json!(9), &json!(["sre-provision up dev --yes"])];
    assert_eq!((code, told), (9, wanted));
    let asked = world.platform.as_ref().expect("one").asked();
    let looks = |call: &String| call.starts_with("Describe") || call == "GetCallerIdentity";
    assert!(asked.iter().all(looks), "it only looks who we are and what bears this name: {asked:?}");
}

#[test]
fn what_up_asked_about_is_the_same_environment_the_next_time() {
    let world = World::new().on_a_platform();

    world.run(&["up", "dev"]);
    let (_, first) = world.state();
    world.run(&["up", "dev"]);

    assert_eq!(world.state().1.id, first.id);
    let (code, plan) = world.json(&["plan", "dev"]);
    assert_eq!((code, &plan["id"]), (0, &json!(first.id)));
    let status = world.run(&["status", "dev"]);
    assert!(status.out.contains("not whole"), "{}", status.out);
}

#[test]
fn a_tool_that_is_missing_is_told_before_anything_is_made() {
    let world = World::new().on_a_platform();

    let told = ended(world.command(&["up", "dev", "--yes"]).env("PATH", world.path("empty")));

    assert_eq!((told.code, told.out.as_str()), (4, ""));
    assert!(told.err.contains("error: `packer` is not installed\n"), "{}", told.err);
    assert!(told.err.contains("cause: no program of that name in "), "{}", told.err);
    assert!(told.err.lines().last().is_some_and(|line| line.starts_with("hint:  ")), "{}", told.err);
    assert_eq!(world.json(&["history", "dev"]).1["runs"], json!([]), "no run was begun");
}

#[test]
fn without_credentials_nothing_is_recorded() {
    let world = World::new();

    let told = world.run(&["up", "dev", "--yes"]);

    assert_eq!((told.code, told.out.as_str()), (4, ""));
    assert!(told.err.starts_with("error: connecting to AWS: no usable AWS credentials\n"), "{}", told.err);
    assert!(!world.path(".sre-provision/dev/identity.json").exists(), "it was never made");
}
