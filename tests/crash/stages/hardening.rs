//! Cases of `hardening`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::{Disturbance, asked};

pub const CASES: &[Case] = cases![
    hardened: a_node_that_deviates_is_corrected_by_one_play_and_nobody_joins_anew,
    hardened: a_node_that_cannot_be_corrected_is_told_by_name_and_the_members_stay,
];

const FOLLOWING: [&str; 3] = [
    "follow servers: after hardening",
    "follow agents: after hardening, servers",
    "follow health: after servers, agents",
];
const SERVERS: [&str; 2] = ["register i-server-1 tg-api", "register i-server-1 tg-supervisor"];

fn a_node_that_deviates_is_corrected_by_one_play_and_nobody_joins_anew(scene: &mut Scene<'_>) {
    scene.disturb(Disturbance::Loosen("general-1".to_owned()));

    scene.plans_followed("run hardening: altered: general-1 deviates from cis", &FOLLOWING);
    let wanted = Went::of(&["hardening"]).calling(&["ansible-playbook hardening"]).doing(&["harden general-1"]);
    assert_eq!(scene.up(), wanted);
    scene.differs(&[]);
    scene.rests();
}

fn a_node_that_cannot_be_corrected_is_told_by_name_and_the_members_stay(scene: &mut Scene<'_>) {
    scene.disturb(Disturbance::Loosen("general-1".to_owned()));
    scene.refuse(asked("play", "node", "general-1"), "cannot write 90-hardening.conf: No space left on device");

    scene.plans_followed("run hardening: altered: general-1 deviates from cis", &FOLLOWING);
    let (went, failed) = scene.up_in_vain();
    let made = ["hardening partial", "servers", "agents"];
    assert_eq!(went, Went::of(&made).calling(&["ansible-playbook hardening"]).doing(&SERVERS));
    failed.tells(
        5,
        "hardening: 1 of 2 nodes are not hardened: general-1",
        &["the disk of `general-1` is full: task `Apply the profile`: cannot write 90-hardening.conf: No space left on device"],
        &["free some space on `general-1`: `sudo du -xh --max-depth=2 / | sort -h | tail` shows where it went"],
    );
    scene.differs(&[]);

    scene.relent();
    scene.plans_followed("run hardening: made in part last time", &FOLLOWING);
    let wanted = Went::of(&["hardening", "servers", "agents"])
        .calling(&["ansible-playbook hardening"])
        .doing(&[&["harden general-1"][..], &SERVERS].concat());
    assert_eq!(scene.up(), wanted);
    scene.differs(&[]);
    scene.rests();
}
