//! Cases of `health`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::Disturbance;

pub const CASES: &[Case] = cases![
    three: an_etcd_member_that_is_a_learner_to_etcd_alone_is_told_when_the_time_is_over,
    three: an_etcd_member_of_no_server_is_told_with_what_removes_it,
    three: an_etcd_member_that_does_not_vote_is_waited_for_and_told_when_the_time_is_over,
    small: a_node_that_is_not_ready_is_waited_for_and_told_when_the_time_is_over,
    small: a_node_that_nobody_asked_for_is_told_at_once_with_what_removes_it,
    small: a_kubeconfig_that_was_deleted_is_written_again_for_its_owner_alone,
];

const KUBECONFIG: &str = ".sre-provision/small/kubeconfig";

fn a_kubeconfig_that_was_deleted_is_written_again_for_its_owner_alone(scene: &mut Scene<'_>) {
    let (written, _) = scene.read(KUBECONFIG);
    scene.remove(KUBECONFIG);

    scene.plans(&["run health: altered: the kubeconfig is gone"]);
    assert_eq!(scene.up(), Went::of(&["health"]));
    assert_eq!(scene.read(KUBECONFIG), (written, 0o600));
    scene.rests();
}

fn a_node_that_nobody_asked_for_is_told_at_once_with_what_removes_it(scene: &mut Scene<'_>) {
    let told = "node `general-9` is in the cluster and not in the environment";
    scene.disturb(Disturbance::Stranger("general-9".to_owned()));

    scene.plans(&["run health: altered: node `general-9` is in the cluster and not in the environment"]);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["health failed"]));
    failed.tells(7, told, &[], &["if its machine is gone for good: `kubectl delete node general-9`"]);

    scene.disturb(Disturbance::Delete("general-9".to_owned()));
    scene.plans(&["run health: failed last time"]);
    assert_eq!(scene.up(), Went::of(&["health"]));
    scene.differs(&[]);
    scene.rests();
}

fn a_node_that_is_not_ready_is_waited_for_and_told_when_the_time_is_over(scene: &mut Scene<'_>) {
    let lacks = "1 of 2 nodes: general-1: not Ready: KubeletNotReady";
    waited_for_in_vain(scene, ("general-1", "Ready", "KubeletNotReady"), lacks);
}

fn an_etcd_member_that_does_not_vote_is_waited_for_and_told_when_the_time_is_over(scene: &mut Scene<'_>) {
    let lacks = "1 of 4 nodes: server-2: etcd member does not vote: MemberIsLearner";
    waited_for_in_vain(scene, ("server-2", "EtcdIsVoter", "MemberIsLearner"), lacks);
}

fn an_etcd_member_that_is_a_learner_to_etcd_alone_is_told_when_the_time_is_over(scene: &mut Scene<'_>) {
    let disturb = Disturbance::Learn("server-2".to_owned());
    let mend = Disturbance::Heal("server-2".to_owned());
    let hint = "RKE2 removes a member that does not catch up after five minutes; look at `journalctl -u rke2-server`";
    not_as_etcd_has_it(scene, (disturb, mend), "the etcd member of `server-2` is a learner", hint);
}

fn an_etcd_member_of_no_server_is_told_with_what_removes_it(scene: &mut Scene<'_>) {
    let (disturb, mend) = (Disturbance::Stray, Disturbance::Leave);
    let stray = "server-9-0badcafe".to_owned();
    let hint = "the member of a machine that is gone for good goes with `kubectl delete node NODE`";
    let lacks = "etcd has a member `server-9-0badcafe` of no server";
    not_as_etcd_has_it(scene, (disturb(stray.clone()), mend(stray)), lacks, hint);
}

/// The API serves, and etcd has other members than the servers.
fn not_as_etcd_has_it(scene: &mut Scene<'_>, (disturb, mend): (Disturbance, Disturbance), lacks: &str, hint: &str) {
    let told = format!("asked on `server-1`: {lacks}");
    scene.describe("load_balancer:\n", "deadlines: {health: 10s}\nload_balancer:\n");
    scene.disturb(disturb);

    scene.plans(&[&format!("run health: altered: {told}")]);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["health failed"]));
    failed.tells(7, "etcd's members are not the servers: not within 10 s", &[&told], &[hint]);

    scene.disturb(mend);
    scene.plans(&["run health: failed last time"]);
    assert_eq!(scene.up(), Went::of(&["health"]));
    scene.differs(&[]);
    scene.rests();
}

fn waited_for_in_vain(scene: &mut Scene<'_>, (node, condition, why): (&str, &str, &str), lacks: &str) {
    scene.describe("load_balancer:\n", "deadlines: {health: 10s}\nload_balancer:\n");
    scene.falls_ill(node, condition, why);

    let silent = "the cluster does not serve at https://127.1.0.1:6443: not within";
    scene.plans(&[&format!("run health: altered: {silent} 5 s: {lacks}")]);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["health failed"]));
    failed.tells(7, &format!("{silent} 10 s"), &[lacks], &[]);

    scene.disturb(Disturbance::Heal(node.to_owned()));
    scene.plans(&["run health: failed last time"]);
    assert_eq!(scene.up(), Went::of(&["health"]));
    scene.differs(&[]);
    scene.rests();
}
