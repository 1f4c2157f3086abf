//! Children outlive the program that started them: the next run follows them, takes over what they did, or sweeps it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sre_provision::process::{Cancel, Invocation};
use sre_provision::stop::Stop;

use crate::notes::until;
use crate::{World, children, invocation, notices, run};

/// Not a test: the caller that the next ones kill.
#[tokio::test]
#[ignore = "started by other tests"]
async fn caller() {
    let dir = PathBuf::from(std::env::var_os("WORLD").expect("WORLD"));
    let spool = PathBuf::from(std::env::var_os("SPOOL").expect("SPOOL"));
    let (children, _events) = children(&dir, &spool, Stop::default(), Arc::default());
    let script = std::env::var("SCRIPT").expect("SCRIPT");
    let cancel = if std::env::var_os("CANCEL").is_some() { Cancel::Group } else { Cancel::Finish };
    let (ended, _) = run(&children, Invocation { cancel, ..invocation(&dir, &script) }).await;
    ended.expect("an end");
}

impl World {
    /// Starts a caller in a process of its own, waits for the file `begun` and kills it with SIGKILL.
    fn killed_caller(&self, script: &str) {
        self.killed(script, &[]);
    }

    /// The same with a child that cancels cleanly.
    fn killed_caller_of_a_build(&self, script: &str) {
        self.killed(script, &[("CANCEL", "group")]);
    }

    fn killed(&self, script: &str, variables: &[(&str, &str)]) {
        let mut caller = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "outliving::caller", "--ignored"])
            .env("WORLD", self.dir.path())
            .env("SPOOL", self.spool())
            .env("SCRIPT", script)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .expect("a caller");
        until("the child has begun", || self.path("begun").exists());
        caller.kill().expect("killed");
        caller.wait().expect("reaped");
    }
}

const SLOW: &str = "echo one; echo $$ >begun; while [ ! -e go ]; do sleep 0.05; done; echo two; echo x >>effects";

#[tokio::test]
async fn the_next_run_follows_a_child_whose_caller_was_killed() {
    let world = World::new();
    world.killed_caller(SLOW);
    let (children, mut events) = world.children();
    assert_eq!(children.running().expect("slots"), ["network-apply"]);

    std::fs::write(world.path("go"), "").expect("go");
    let (ended, lines) = run(&children, world.invocation(SLOW)).await;

    let ended = ended.expect("an end");
    assert_eq!((ended.code, ended.adopted), (Some(0), true));
    assert_eq!(lines, ["Stdout one", "Stdout two"]);
    assert_eq!(std::fs::read_to_string(world.path("effects")).expect("effects"), "x\n");
    assert!(notices(&mut events)[0].starts_with("network-apply: still running since "));
    children.discard(&ended).expect("discarded");
    assert_eq!(world.leftovers(), 0);
}

#[tokio::test]
async fn a_child_that_ended_after_its_callers_death_is_not_started_again() {
    let world = World::new();
    world.killed_caller(SLOW);
    std::fs::write(world.path("go"), "").expect("go");
    let (children, _events) = world.children();
    until("the child has ended", || children.running().expect("slots").is_empty());

    let (ended, lines) = run(&children, world.invocation(SLOW)).await;

    assert!(ended.expect("an end").adopted);
    assert_eq!(lines, ["Stdout one", "Stdout two"]);
    assert_eq!(std::fs::read_to_string(world.path("effects")).expect("effects"), "x\n");
}

#[tokio::test]
async fn whoever_takes_all_away_cancels_a_build_that_was_left_and_waits_until_it_has_cleaned_up() {
    let world = World::new();
    world.killed_caller_of_a_build("trap 'echo x >>cleaned; exit 1' INT; echo >begun; while :; do sleep 0.05; done");
    let (children, _events) = world.children();

    children.wind_down(&[]).await.expect("wound down");

    assert_eq!(std::fs::read_to_string(world.path("cleaned")).expect("cleaned up"), "x\n");
    assert_eq!((children.running().expect("slots"), world.leftovers()), (vec![], 0));
}

#[tokio::test]
async fn whoever_takes_all_away_leaves_alone_what_an_interrupt_would_damage() {
    let world = World::new();
    world.killed_caller(SLOW);
    let (children, _events) = world.children();

    children.wind_down(&[]).await.expect("nothing to wind down");

    assert_eq!(children.running().expect("slots"), ["network-apply"]);
    std::fs::write(world.path("go"), "").expect("go");
    let ended = children.follow("network-apply", &[], &mut |_, _| {}).await.expect("followed").expect("an end");
    assert_eq!(ended.code, Some(0));
}

#[tokio::test]
async fn another_invocation_waits_for_the_slot_and_is_then_started() {
    let world = World::new();
    world.killed_caller(SLOW);
    std::fs::write(world.path("go"), "").expect("go");
    let (children, _events) = world.children();

    let (ended, lines) = run(&children, world.invocation("cat effects; echo mine")).await;

    assert!(!ended.expect("an end").adopted);
    // The first two are of the child that was there before.
    assert_eq!(lines[lines.len() - 2..], ["Stdout x", "Stdout mine"]);
}

#[tokio::test]
async fn a_failure_of_an_earlier_run_is_not_taken_for_ones_own() {
    let world = World::new();
    let script = "echo x >>effects; echo 1 >begun; while [ ! -e go ]; do sleep 0.05; done; [ -e good ]";
    world.killed_caller(script);
    std::fs::write(world.path("go"), "").expect("go");
    let (children, _events) = world.children();
    until("the child has ended", || children.running().expect("slots").is_empty());

    std::fs::write(world.path("good"), "").expect("good");
    let (ended, _) = run(&children, world.invocation(script)).await;

    let ended = ended.expect("an end");
    assert_eq!((ended.code, ended.adopted), (Some(0), false));
    assert_eq!(std::fs::read_to_string(world.path("effects")).expect("effects"), "x\nx\n");
}

#[tokio::test]
async fn a_child_goes_on_without_its_supervisor_and_ends_without_a_witness() {
    let world = World::new();
    let (children, _events) = world.children();
    let script = "echo $PPID >begun; while [ ! -e go ]; do sleep 0.05; done; echo done";
    let killer = {
        let (begun, go, children) = (world.path("begun"), world.path("go"), world.path("children"));
        std::thread::spawn(move || {
            until("the child has begun", || std::fs::read_to_string(&begun).is_ok_and(|text| text.ends_with('\n')));
            // The child runs a moment before its supervisor has noted that it does.
            until("its start is noted", || {
                let records = std::fs::read_dir(&children).expect("children").flatten();
                records.map(|record| record.path().join("started.json")).any(|started| started.exists())
            });
            let supervisor = std::fs::read_to_string(&begun).expect("its id");
            assert!(Command::new("kill").args(["-9", supervisor.trim()]).status().expect("kill").success());
            std::fs::write(go, "").expect("go");
        })
    };

    let (ended, lines) = run(&children, world.invocation(script)).await;

    killer.join().expect("killed");
    let ended = ended.expect("an end");
    assert_eq!((ended.code, ended.signal), (None, None));
    assert_eq!(lines, ["Stdout done"]);
    assert_eq!(world.notes.all()[1], "ended None, not timed");
}

#[tokio::test]
async fn a_child_whose_result_nobody_takes_over_is_swept_once_it_has_ended() {
    let world = World::new();
    world.killed_caller(SLOW);
    let (children, _events) = world.children();

    std::fs::create_dir(world.path("children/half-made")).expect("made");
    children.sweep().await.expect("swept");
    let still = children.running().expect("slots");
    std::fs::write(world.path("go"), "").expect("go");
    until("the child has ended", || children.running().expect("slots").is_empty());
    children.sweep().await.expect("swept");

    assert_eq!(still, ["network-apply"]);
    assert_eq!(world.leftovers(), 0);
    assert_eq!(world.notes.all(), ["ended Some(0), timed"]);
}
