//! Cases of `access`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::Disturbance;

pub const CASES: &[Case] = cases![
    small: a_node_that_is_silent_for_a_while_is_left_out_and_taken_in_again_without_a_join,
    small: other_host_keys_than_the_pinned_ones_are_never_accepted,
    small: an_inventory_that_was_edited_by_hand_is_written_again,
];

const INVENTORY: &str = "inventories/small/nodes.json";
const FOLLOWING: [&str; 4] = [
    "follow hardening: after access",
    "follow servers: after access, hardening",
    "follow agents: after access, hardening, servers",
    "follow health: after access, servers, agents",
];
const SERVERS: [&str; 2] = ["register i-server-1 tg-api", "register i-server-1 tg-supervisor"];

fn an_inventory_that_was_edited_by_hand_is_written_again(scene: &mut Scene<'_>) {
    let (written, _) = scene.read(INVENTORY);
    scene.write(INVENTORY, "{}\n");

    scene.plans_followed("run access: altered: the inventory is not as written", &FOLLOWING);
    assert_eq!(scene.up(), Went::of(&["access"]));
    assert_eq!(scene.read(INVENTORY).0, written);
    scene.rests();
}

fn other_host_keys_than_the_pinned_ones_are_never_accepted(scene: &mut Scene<'_>) {
    let trouble =
        "no SSH connection to `general-1` (127.1.0.11): machine `i-general-1` shows SHA256:…, pinned is SHA256:…";
    scene.show_host_key("other-host");

    scene.plans_followed(
        "run access: altered: no SSH connection to `general-1` (127.1.0.11): machine `i-general-1` shows SHA256:…, pinned \
         is SHA256:…; no SSH connection to `server-1` (127.1.0.21): machine `i-server-1` shows SHA256:…",
        &FOLLOWING,
    );
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["access failed"]));
    let hint = "somebody else may answer at this address: compare with the machine's console before anything else";
    failed.tells(6, "access: 2 of 2 nodes are not reached: general-1, server-1", &[trouble], &[hint]);
    scene.differs(&[]);

    scene.show_host_key("host");
    scene.plans_followed("run access: failed last time", &FOLLOWING);
    assert_eq!(scene.up(), Went::of(&["access"]));
    scene.rests();
}

fn a_node_that_is_silent_for_a_while_is_left_out_and_taken_in_again_without_a_join(scene: &mut Scene<'_>) {
    scene.describe("load_balancer:\n", "deadlines: {access: 10s}\nload_balancer:\n");
    scene.disturb(Disturbance::Silence("127.1.0.11".to_owned()));

    scene.plans_followed(
        "run access: altered: no SSH connection to `general-1` (127.1.0.11): …No route to host…",
        &FOLLOWING,
    );
    let (went, failed) = scene.up_in_vain();
    let made = ["access partial", "hardening", "servers", "agents", "health"];
    assert_eq!(went, Went::of(&made).doing(&SERVERS));
    failed.tells(
        6,
        "access: 1 of 2 nodes are not reached: general-1",
        &["no login on `general-1`: not within 10 s: …No route to host…"],
        &["look at the console of `i-general-1`; if it never joined, terminate it there and `up` makes another"],
    );
    scene.differs(&[]);

    scene.disturb(Disturbance::Speak("127.1.0.11".to_owned()));
    scene.plans_followed("run access: made in part last time", &FOLLOWING);
    let made = ["access", "hardening", "servers", "agents", "health"];
    assert_eq!(scene.up(), Went::of(&made).doing(&SERVERS));
    scene.differs(&[]);
    scene.rests();
}
