//! Cases of `servers`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::{Disturbance, asked};

pub const CASES: &[Case] = cases![
    three: a_new_server_with_a_full_disk_keeps_the_rest_waiting_and_joins_once_there_is_room,
    three: a_server_that_does_not_run_is_started_again_out_of_the_load_balancer_and_the_others_run_on,
    three: a_server_that_was_deregistered_is_behind_the_load_balancer_again_without_a_play,
    three: a_server_whose_datastore_is_of_another_cluster_is_left_to_a_person,
    three: a_server_that_would_differ_in_what_must_be_equal_is_not_started,
    three: the_first_server_on_another_machine_joins_and_founds_nothing,
];

const OTHERS: [&str; 4] = [
    "register i-server-1 tg-api",
    "register i-server-1 tg-supervisor",
    "register i-server-3 tg-api",
    "register i-server-3 tg-supervisor",
];

fn a_server_that_was_deregistered_is_behind_the_load_balancer_again_without_a_play(scene: &mut Scene<'_>) {
    scene.deregister("tg-api", "i-server-2");

    scene.plans(&[
        "run servers: altered: server-2 is not behind `api`",
        "follow agents: after servers",
        "follow health: after servers, agents",
    ]);
    let registered = ["register i-server-2 tg-api", "register i-server-2 tg-supervisor"];
    let [first, third] = [&OTHERS[..2], &OTHERS[2..]];
    assert_eq!(scene.up(), Went::of(&["servers"]).doing(&[first, &registered, third].concat()));
    scene.differs(&[]);
    scene.rests();
}

fn a_server_that_does_not_run_is_started_again_out_of_the_load_balancer_and_the_others_run_on(scene: &mut Scene<'_>) {
    scene.disturb(Disturbance::Stop("server-2".to_owned()));

    scene.plans(&[
        "run servers: altered: server-2 does not run as it joined",
        "follow agents: after servers",
        "run health: altered: the cluster does not serve at https://127.1.0.1:6443: not within 5 s: \
         1 of 4 nodes: server-2: not Ready: NodeStatusUnknown",
    ]);
    let started = [
        "deregister i-server-2 tg-api",
        "deregister i-server-2 tg-supervisor",
        "start server-2",
        "register i-server-2 tg-api",
        "register i-server-2 tg-supervisor",
    ];
    let wanted = Went::of(&["servers", "health"])
        .calling(&["ansible-playbook servers"])
        .doing(&[&started[..], &OTHERS].concat());
    assert_eq!(scene.up(), wanted);
    scene.differs(&[]);
    scene.rests();
}

fn a_new_server_with_a_full_disk_keeps_the_rest_waiting_and_joins_once_there_is_room(scene: &mut Scene<'_>) {
    scene.take("i-server-2");
    scene.refuse(asked("play", "node", "server-2"), "cannot write config.yaml: No space left on device");

    scene.plans(&[
        "run nodes: altered: server-2 is gone",
        "run access: altered: no SSH connection to `server-2` (127.1.0.22): …No route to host…",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "follow agents: after access, hardening, servers",
        "run health: altered: the cluster does not serve at …1 of 4 nodes: server-2: not Ready: NodeStatusUnknown",
    ]);
    let (went, failed) = scene.up_in_vain();
    let wanted = Went::of(&["nodes", "access", "hardening", "servers failed"])
        .calling(&["ansible-playbook servers", "tofu apply nodes", "tofu plan nodes"])
        .doing(&["make i-server-2"]);
    assert_eq!(went, wanted);
    failed.tells(
        5,
        "servers: the disk of `server-2` is full",
        &["task `Start RKE2`: cannot write config.yaml: No space left on device"],
        &["free some space on `server-2`: `sudo du -xh --max-depth=2 / | sort -h | tail` shows where it went"],
    );

    scene.relent();
    let registered = ["join server-2", "register i-server-2-2 tg-api", "register i-server-2-2 tg-supervisor"];
    let wanted = Went::of(&["servers", "agents", "health"])
        .calling(&["ansible-playbook servers"])
        .doing(&[&registered[..], &OTHERS].concat());
    assert_eq!(scene.up(), wanted);
    scene.differs(&[
        "- i-server-2",
        "- i-server-2 behind tg-api",
        "- i-server-2 behind tg-supervisor",
        "- server-2 as server on i-server-2",
        "+ i-server-2-2",
        "+ i-server-2-2 behind tg-api",
        "+ i-server-2-2 behind tg-supervisor",
        "+ server-2 as server on i-server-2-2",
    ]);
    scene.rests();
}

const STOPPED: [&str; 3] = [
    "run servers: altered: server-2 does not run as it joined",
    "follow agents: after servers",
    "run health: altered: the cluster does not serve at https://127.1.0.1:6443: not within 5 s: \
     1 of 4 nodes: server-2: not Ready: NodeStatusUnknown",
];

fn a_server_whose_datastore_is_of_another_cluster_is_left_to_a_person(scene: &mut Scene<'_>) {
    scene.disturb(Disturbance::Stop("server-2".to_owned()));
    scene.disturb(Disturbance::Foreign("server-2".to_owned()));

    scene.plans(&STOPPED);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["servers failed"]));
    assert_eq!((failed.exit, failed.error.as_str()), (7, "servers: `server-2` belongs to another cluster"));
    assert!(failed.causes[0].starts_with("it holds the datastore of a cluster with the CA "), "{failed:?}");

    scene.disturb(Disturbance::Heal("server-2".to_owned()));
    assert_eq!(scene.up().made, ["servers"]);
    scene.differs(&[]);
    scene.rests();
}

fn a_server_that_would_differ_in_what_must_be_equal_is_not_started(scene: &mut Scene<'_>) {
    scene.disturb(Disturbance::Stop("server-2".to_owned()));
    let by_hand = |fragment: &str| Disturbance::ByHand { node: "server-1".to_owned(), fragment: fragment.to_owned() };
    scene.disturb(by_hand("cluster-domain: other.local"));

    scene.plans(&STOPPED);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["servers failed"]));
    failed.tells(
        7,
        "servers: `server-2` would differ from the other servers in what must be equal",
        &["`cluster-domain`: `server-2` would get cluster.local, `server-1` has other.local"],
        &["look at /etc/rancher/rke2/config.yaml and config.yaml.d on the other server; set `rke2.config` to what the \
           cluster was founded with"],
    );

    scene.disturb(by_hand(""));
    assert_eq!(scene.up().made, ["servers", "health"]);
    scene.differs(&[]);
    scene.rests();
}

fn the_first_server_on_another_machine_joins_and_founds_nothing(scene: &mut Scene<'_>) {
    scene.take("i-server-1");

    let went = scene.up();

    assert!(went.effects.contains(&"join server-1".to_owned()), "{went:?}");
    assert!(!went.effects.iter().any(|effect| effect.starts_with("found ")), "{went:?}");
    scene.rests();
}
