//! Cases of `agents`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::{Disturbance, asked};

pub const CASES: &[Case] = cases![
    small: a_new_machine_that_the_cluster_takes_for_another_is_given_up_with_what_helps,
    small: an_agent_that_is_refused_keeps_no_other_out_and_joins_in_the_next_run,
    small: an_agent_that_the_file_no_longer_names_is_neither_removed_nor_restarted,
    small: an_edited_role_of_agents_is_played_on_them_alone,
    small: an_agent_that_was_deregistered_is_behind_the_load_balancer_again_without_a_play,
];

fn an_agent_that_was_deregistered_is_behind_the_load_balancer_again_without_a_play(scene: &mut Scene<'_>) {
    scene.deregister("tg-http", "i-general-1");

    scene.plans(&["run agents: altered: general-1 is not behind `http`", "follow health: after agents"]);
    assert_eq!(scene.up(), Went::of(&["agents"]).doing(&["register i-general-1 tg-http"]));
    scene.differs(&[]);
    scene.rests();
}

fn a_new_machine_that_the_cluster_takes_for_another_is_given_up_with_what_helps(scene: &mut Scene<'_>) {
    let said = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match";
    let [node, journal] = ["general-1", said].map(str::to_owned);
    scene.take("i-general-1");
    scene.disturb(Disturbance::Reject { node, journal });

    let (went, failed) = scene.up_in_vain();
    let wanted = Went::of(&["nodes", "access", "hardening", "servers", "agents failed"])
        .calling(&["ansible-playbook agents", "tofu apply nodes", "tofu plan nodes"])
        .doing(&["make i-general-1", "register i-server-1 tg-api", "register i-server-1 tg-supervisor"]);
    assert_eq!(went, wanted);
    failed.tells(
        7,
        "agents: 1 of 1 nodes did not join: general-1",
        &["`general-1` cannot join: rke2-agent is activating, started again 3 times: journal of rke2-agent on \
           `general-1`: \"Node password rejected, …\": the cluster remembers another machine under that name"],
        &["delete the secret `<node>.node-password.rke2` in kube-system once the old machine is gone"],
    );

    scene.disturb(Disturbance::Heal("general-1".to_owned()));
    scene.plans(&["run agents: failed last time", "run health: changed: access"]);
    let joined = ["join general-1", "register i-general-1-2 tg-http", "register i-general-1-2 tg-https"];
    let wanted = Went::of(&["agents", "health"]).calling(&["ansible-playbook agents"]).doing(&joined);
    assert_eq!(scene.up(), wanted);
    scene.rests();
}

fn an_agent_that_the_file_no_longer_names_is_neither_removed_nor_restarted(scene: &mut Scene<'_>) {
    scene.describe("general: {count: 1,", "general: {count: 2,");
    let brought = scene.up();
    assert_eq!(brought.calls, ["ansible-playbook agents", "tofu apply nodes", "tofu plan nodes"]);
    scene.describe("general: {count: 2,", "general: {count: 1,");

    scene.plans(&[
        "run nodes: changed: nodes.agents",
        "follow access: after nodes",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "run agents: changed: nodes.agents",
        "follow health: after access, servers, agents",
    ]);
    let wanted = Went::of(&["nodes", "agents"]).calling(&["tofu plan nodes"]);
    assert_eq!(scene.up(), wanted);
    scene.differs(&[
        "+ general-2 as agent on i-general-2",
        "+ i-general-2",
        "+ i-general-2 behind tg-http",
        "+ i-general-2 behind tg-https",
    ]);
    scene.rests();
}

fn an_edited_role_of_agents_is_played_on_them_alone(scene: &mut Scene<'_>) {
    scene.write("ansible/roles/rke2_agent/tasks", "{changed: true}\n");

    scene.plans(&["run agents: changed: ansible/roles/rke2_agent", "follow health: after agents"]);
    assert_eq!(scene.up(), Went::of(&["agents"]).calling(&["ansible-playbook agents"]));
    scene.differs(&[]);
    scene.rests();
}

fn an_agent_that_is_refused_keeps_no_other_out_and_joins_in_the_next_run(scene: &mut Scene<'_>) {
    scene.describe("general: {count: 1,", "general: {count: 3,");
    scene.refuse(asked("play", "node", "general-2"), "No package matches rke2-selinux");

    scene.plans(&[
        "run nodes: changed: nodes.agents",
        "follow access: after nodes",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "run agents: changed: nodes.agents",
        "follow health: after access, servers, agents",
    ]);
    let (went, failed) = scene.up_in_vain();
    let wanted = Went::of(&["nodes", "access", "hardening", "servers", "agents failed"])
        .calling(&["ansible-playbook agents", "tofu apply nodes", "tofu plan nodes"])
        .doing(&[
            "make i-general-2",
            "make i-general-3",
            "register i-server-1 tg-api",
            "register i-server-1 tg-supervisor",
            "join general-3",
            "register i-general-3 tg-http",
            "register i-general-3 tg-https",
        ]);
    assert_eq!(went, wanted);
    let cause = "Ansible failed on `general-2`: task `Start RKE2`: No package matches rke2-selinux";
    failed.tells(5, "agents: 1 of 3 nodes did not join: general-2", &[cause], &[]);

    scene.relent();
    scene.plans(&["run agents: failed last time", "run health: changed: access"]);
    let wanted = Went::of(&["agents", "health"]).calling(&["ansible-playbook agents"]).doing(&[
        "join general-2",
        "register i-general-2 tg-http",
        "register i-general-2 tg-https",
    ]);
    assert_eq!(scene.up(), wanted);
    scene.rests();
}
