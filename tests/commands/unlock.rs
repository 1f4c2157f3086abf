//! `unlock`, where nobody shares the state.

use serde_json::json;
use sre_provision::journal::{Actor, Lease};

use crate::World;

#[test]
fn on_one_machine_an_environment_that_nobody_works_on_is_free_and_nothing_is_written() {
    let world = World::made();
    let entries = || std::fs::read_dir(world.path(".sre-provision/dev/journal")).expect("a journal").count();
    let before = entries();

    let ended = world.run(&["unlock", "dev"]);
    let (code, data) = world.json(&["unlock", "dev"]);

    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "dev is free\n", ""));
    assert_eq!((code, &data["how"], &data["held_by"]), (0, &json!("free"), &json!(null)));
    assert_eq!(entries(), before);
}

#[test]
fn a_run_that_lives_is_named_and_keeps_its_lease_whatever_is_typed() {
    let world = World::made();
    let (state, _) = world.state();
    let lease = Lease::take(&state, Actor::here()).expect("free");

    let plain = world.run(&["unlock", "dev"]);
    let typed = world.run(&["unlock", "dev", "--take-over"]);

    for ended in [plain, typed] {
        assert_eq!((ended.code, ended.out.as_str()), (8, ""));
        assert!(ended.err.contains(&format!("error: `dev` is held by {}", Actor::here())), "{}", ended.err);
    }
    drop(lease);
}
