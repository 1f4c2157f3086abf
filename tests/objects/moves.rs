//! Moving an environment between a workspace and S3: there and back, and killed on its way.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sre_provision::artifact::Kind;
use sre_provision::journal::{Journal, LocalStore, SharedStore, Store};
use sre_provision::objects::Objects;
use sre_provision::secrets::{KeySource, Secrets};
use sre_provision::workspace::StateDir;

use crate::World;
use crate::commands::{ID, Machine, parsed};
use crate::proxy::Fault;

const THERE: [&str; 3] = ["state", "migrate", "dev"];
/// Of the journal that is moved while it is killed: entries are all moved alike.
const FEW: usize = 3;
const BACK: [&str; 5] = ["state", "migrate", "dev", "--from", "s3://state/team/dev"];

/// What is in the journal directory of a workspace.
fn entries(state: &StateDir) -> usize {
    std::fs::read_dir(state.journal()).expect("a journal").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_moved_to_s3_found_from_another_machine_and_moved_back() {
    let world = World::new().await;
    let (one, two) = (Machine::made(&world).await, Machine::new(&world));
    let made = entries(&one.state());
    let before = one.json(&["history", "dev"]).await.1;
    one.keep_in_s3(true);

    let (code, moved) = one.json(&THERE).await;
    let (again, _) = one.json(&THERE).await;
    let (_, seen) = two.json(&["history", "dev"]).await;
    one.keep_in_s3(false);
    let (refused, told) = one.json(&["status", "dev"]).await;
    two.keep_in_s3(false);
    let (back, returned) = two.json(&BACK).await;

    assert_eq!((code, again), (0, 0), "{moved}");
    assert_eq!((&moved["place"], moved["sha256"].as_str().map(str::len)), (&json!("s3://state/team/dev/"), Some(64)));
    let runs = |data: &Value| data["runs"].as_array().expect("runs").len();
    assert_eq!((runs(&seen), seen["runs"][0].clone()), (runs(&before) + 1, before["runs"][0].clone()));
    assert_eq!((refused, &told["error"]), (3, &json!("the state of `dev` is not where its file says")));
    assert_eq!(back, 0, "{returned}");
    let state = two.state();
    assert_eq!(entries(&state), made + 8, "of each move a claim and the three entries of a run");
    assert!(state.tofu(Kind::Network).join("terraform.tfstate").exists());
    let key = KeySource::usual(&one.path(".config"), &parsed());
    let secrets = Secrets::open(&state, &parsed(), key).expect("opened");
    assert_eq!(secrets.get("server-token").expect("read").expect("there").expose(), b"hunter2-hunter2");
    assert_eq!(two.json(&["history", "verify", "dev"]).await.0, 23, "in order, and not anchored");
    let left = world.objects("state").await.get("identity.json").await.expect("an answer");
    assert_eq!(left, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_stopped_at_any_write_is_done_again_and_loses_nothing() {
    let world = World::new().await;
    let mut stopped = 0;
    loop {
        let objects = world.objects("state").await;
        for key in objects.list("").await.expect("listed") {
            objects.delete(&key).await.expect("removed");
        }
        let machine = Machine::made(&world).await;
        machine.keep_in_s3(true);
        for _ in 0..stopped {
            world.proxy.next("PUT", Fault::Delay(Duration::ZERO));
        }
        world.proxy.next("PUT", Fault::Answer(403));
        let (code, _) = machine.json(&THERE).await;
        let was_reached = world.proxy.pending() == 0;
        world.proxy.calm();

        let (again, told) = machine.json(&THERE).await;
        let (verified, _) = machine.json(&["history", "verify", "dev"]).await;

        assert_eq!((again, verified), (0, 23), "stopped at write {stopped}: {told}");
        assert!(!machine.state().identity().exists() && !machine.state().journal().exists());
        let secrets = objects.get(&format!("{ID}/secrets/server-token.0001.json")).await.expect("an answer");
        assert!(secrets.is_some(), "stopped at write {stopped}");
        if !was_reached {
            assert!(stopped > 10, "only {stopped} writes");
            assert_eq!(code, 0);
            return;
        }
        // Each of the first, then some: entries are all written alike.
        stopped += if stopped < 4 { 1 } else { 7 };
    }
}

/// Runs the program and kills it when S3 has done what it was asked for the `nth` time, before it is answered; whether it
/// came so far. One that did not has ended by itself, and well.
async fn killed_at(
    world: &World,
    machine: &Machine,
    args: &[&str],
    methods: &'static [&'static str],
    nth: usize,
) -> bool {
    let held = world.proxy.hold(methods, nth);
    let mut command = tokio::process::Command::from(machine.command(args));
    let mut program = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let was_reached = tokio::select! {
        () = held.notified() => {
            program.kill().await.expect("killed");
            true
        }
        ended = program.wait() => {
            assert!(ended.expect("ended").success(), "{args:?}, not killed at request {nth}");
            false
        }
    };
    world.proxy.calm();
    was_reached
}

/// What a whole journal tells, with what it is made of.
async fn entries_of(store: impl Store + 'static) -> usize {
    Journal::open(Box::new(store), &parsed()).await.expect("intact").entries().len()
}

/// Everything in the bucket.
async fn kept(objects: &dyn Objects) -> Vec<(String, Vec<u8>)> {
    let mut kept = Vec::new();
    for key in objects.list("").await.expect("listed") {
        let object = objects.get(&key).await.expect("read").expect("there");
        kept.push((key, object.bytes));
    }
    kept
}

/// Makes the bucket hold this and nothing else.
async fn refill(objects: &dyn Objects, kept: &[(String, Vec<u8>)]) {
    for key in objects.list("").await.expect("listed") {
        objects.delete(&key).await.expect("removed");
    }
    for (key, bytes) in kept {
        objects.create(key, bytes).await.expect("an answer").expect("made");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes: run it by its name with --ignored"]
async fn a_move_to_s3_that_is_killed_at_any_write_is_done_again_and_loses_nothing() {
    let world = World::new().await;
    let objects = world.objects("state").await;
    for nth in 0.. {
        refill(&*objects, &[]).await;
        let machine = Machine::made_of(&world, FEW).await;
        let before = entries(&machine.state());
        machine.keep_in_s3(true);
        let was_killed = killed_at(&world, &machine, &THERE, &["PUT", "DELETE"], nth).await;

        let (again, told) = machine.json(&THERE).await;

        assert_eq!(again, 0, "killed at write {nth}: {told}");
        assert!(!machine.state().identity().exists() && !machine.state().journal().exists());
        let there = entries_of(SharedStore::new(Arc::clone(&objects), parsed().id)).await;
        assert!(there >= before + 4, "killed at write {nth}: {there} entries after {before}");
        for part in ["secrets/server-token.0001.json", "tofu/network.tfstate"] {
            let part = objects.get(&format!("{ID}/{part}")).await.expect("an answer");
            assert!(part.is_some(), "killed at write {nth}");
        }
        if !was_killed {
            assert!(nth > 12, "only {nth} writes");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes: run it by its name with --ignored"]
async fn a_move_from_s3_that_is_killed_anywhere_is_done_again_and_loses_nothing() {
    let world = World::new().await;
    let objects = world.objects("state").await;
    let one = Machine::made_of(&world, FEW).await;
    one.keep_in_s3(true);
    assert_eq!(one.json(&THERE).await.0, 0);
    let there = kept(&*objects).await;
    let before = entries_of(SharedStore::new(Arc::clone(&objects), parsed().id)).await;
    // Here each file is written between two reads; the first and each seventh of these are tried, and every write to S3.
    let kinds: [(&[&str], usize, usize); 2] = [(&["PUT", "DELETE"], 1, 5), (&["GET"], 7, 5)];
    for (methods, step, at_least) in kinds {
        let mut killed = 0;
        for nth in (0..).step_by(step) {
            refill(&*objects, &there).await;
            let machine = Machine::new(&world);
            machine.keep_in_s3(false);
            if !killed_at(&world, &machine, &BACK, methods, nth).await {
                break;
            }
            killed += 1;

            let (again, told) = machine.json(&BACK).await;

            assert_eq!(again, 0, "killed at {methods:?} {nth}: {told}");
            let state = machine.state();
            assert!(entries_of(LocalStore::new(&state)).await >= before + 4, "killed at {methods:?} {nth}");
            assert!(state.identity().exists() && state.path().join("secrets/server-token.0001.json").exists());
            assert!(state.tofu(Kind::Network).join("terraform.tfstate").exists());
            assert_eq!(objects.get("identity.json").await.expect("an answer"), None, "it is at home in one place");
        }
        assert!(killed >= at_least, "killed {killed} times only");
    }
}
