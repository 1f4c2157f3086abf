//! Cases of `nodes`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::{Disturbance, asked};

pub const CASES: &[Case] = cases![
    small: a_machine_that_was_terminated_is_made_again_and_joins_and_the_others_stay,
    small: a_machine_that_was_stopped_is_not_made_again_and_counts_once_somebody_started_it,
    small: a_machine_that_the_platform_refuses_needs_a_person_and_what_runs_is_not_touched,
];

const SERVERS: [&str; 2] = ["register i-server-1 tg-api", "register i-server-1 tg-supervisor"];

fn a_machine_that_was_terminated_is_made_again_and_joins_and_the_others_stay(scene: &mut Scene<'_>) {
    scene.take("i-general-1");

    scene.plans(&[
        "run nodes: altered: general-1 is gone",
        "run access: altered: no SSH connection to `general-1` (127.1.0.11): …No route to host…",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "follow agents: after access, hardening, servers",
        "run health: altered: the cluster does not serve at https://127.1.0.1:6443: not within 5 s: \
         1 of 2 nodes: general-1: not Ready: NodeStatusUnknown",
    ]);
    let joined = ["join general-1", "register i-general-1-2 tg-http", "register i-general-1-2 tg-https"];
    let wanted = Went::of(&["nodes", "access", "hardening", "servers", "agents", "health"])
        .calling(&["ansible-playbook agents", "tofu apply nodes", "tofu plan nodes"])
        .doing(&[&["make i-general-1"][..], &SERVERS, &joined].concat());
    assert_eq!(scene.up(), wanted);
    scene.differs(&[
        "- general-1 as agent on i-general-1",
        "- i-general-1",
        "- i-general-1 behind tg-http",
        "- i-general-1 behind tg-https",
        "+ general-1 as agent on i-general-1-2",
        "+ i-general-1-2",
        "+ i-general-1-2 behind tg-http",
        "+ i-general-1-2 behind tg-https",
    ]);
    scene.rests();
}

fn a_machine_that_was_stopped_is_not_made_again_and_counts_once_somebody_started_it(scene: &mut Scene<'_>) {
    scene.disturb(Disturbance::Halt("i-general-1".to_owned()));

    scene.plans(&[
        "run nodes: altered: general-1 is stopped",
        "run access: altered: no SSH connection to `general-1` (127.1.0.11): …No route to host…",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "follow agents: after access, hardening, servers",
        "run health: altered: the cluster does not serve at …1 of 2 nodes: general-1: not Ready: NodeStatusUnknown",
    ]);
    let (went, failed) = scene.up_in_vain();
    let made = ["nodes", "access partial", "hardening", "servers", "agents", "health"];
    assert_eq!(went, Went::of(&made).calling(&["tofu plan nodes"]).doing(&SERVERS));
    failed.tells(
        6,
        "access: 1 of 2 nodes are not reached: general-1",
        &["`general-1` (i-general-1) does not run: it is stopped"],
        &["start machine `i-general-1` on its platform, then run the same command again"],
    );
    scene.differs(&[]);

    scene.disturb(Disturbance::Start("i-general-1".to_owned()));
    scene.plans(&[
        "run access: made in part last time",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "follow agents: after access, hardening, servers",
        "follow health: after access, servers, agents",
    ]);
    let made = ["access", "hardening", "servers", "agents", "health"];
    assert_eq!(scene.up(), Went::of(&made).doing(&SERVERS));
    scene.differs(&[]);
    scene.rests();
}

fn a_machine_that_the_platform_refuses_needs_a_person_and_what_runs_is_not_touched(scene: &mut Scene<'_>) {
    let refusal = "VcpuLimitExceeded: you have requested more vCPU capacity than your current vCPU limit allows";
    let following = [
        "follow access: after nodes",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "run agents: changed: nodes.agents",
        "follow health: after access, servers, agents",
    ];
    scene.describe("general: {count: 1,", "general: {count: 2,");
    scene.refuse(asked("make", "id", "i-general-2"), refusal);

    scene.plans(&[&["run nodes: changed: nodes.agents"], &following[..]].concat());
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["nodes failed"]).calling(&["tofu apply nodes", "tofu plan nodes"]));
    let hint = "ask the platform for a higher quota, or free what is no longer used";
    failed.tells(6, "tofu …exit code 1…, 0 of 1 changes made", &[refusal], &[hint]);
    scene.differs(&[]);

    scene.relent();
    scene.plans(&[&["run nodes: failed last time"], &following[..]].concat());
    let joined = ["join general-2", "register i-general-2 tg-http", "register i-general-2 tg-https"];
    let wanted = Went::of(&["nodes", "access", "hardening", "servers", "agents", "health"])
        .calling(&["ansible-playbook agents", "tofu apply nodes", "tofu plan nodes"])
        .doing(&[&["make i-general-2"][..], &SERVERS, &joined].concat());
    assert_eq!(scene.up(), wanted);
    scene.rests();
}
