//! Cases of `network`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::asked;

pub const CASES: &[Case] = cases![
    small: a_subnet_that_was_removed_is_made_again_and_what_stands_in_the_network_is_left_alone,
    small: a_quota_that_is_used_up_needs_a_person_and_the_next_run_makes_what_is_missing,
    small: another_range_for_the_network_is_refused_before_anything_is_done,
];

const FOLLOWING: [&str; 7] = [
    "follow load-balancer: after network",
    "follow nodes: after network",
    "follow access: after network, nodes",
    "follow hardening: after access",
    "follow servers: after access, hardening, load-balancer",
    "follow agents: after access, hardening, load-balancer, servers",
    "follow health: after access, load-balancer, servers, agents",
];

/// The network is another one than before, the rest is looked at in it and found to be as it was.
fn made_again() -> Went {
    Went::of(&["network", "load-balancer", "nodes", "access"])
        .calling(&["tofu apply network", "tofu plan load-balancer", "tofu plan network", "tofu plan nodes"])
        .doing(&["make subnet-private"])
}

fn a_subnet_that_was_removed_is_made_again_and_what_stands_in_the_network_is_left_alone(scene: &mut Scene<'_>) {
    scene.take("subnet-private");

    scene.plans_followed("run network: altered: subnet-private is gone", &FOLLOWING);
    assert_eq!(scene.up(), made_again());
    scene.differs(&["- subnet-private", "+ subnet-private-2"]);
    scene.rests();
}

fn a_quota_that_is_used_up_needs_a_person_and_the_next_run_makes_what_is_missing(scene: &mut Scene<'_>) {
    let refusal = "SubnetLimitExceeded: the maximum number of subnets per VPC has been reached";
    scene.take("subnet-private");
    scene.refuse(asked("make", "id", "subnet-private"), refusal);

    scene.plans_followed("run network: altered: subnet-private is gone", &FOLLOWING);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["network failed"]).calling(&["tofu apply network", "tofu plan network"]));
    let hint = "ask the platform for a higher quota, or free what is no longer used";
    failed.tells(6, "tofu …exit code 1…, 0 of 1 changes made", &[refusal], &[hint]);
    scene.differs(&["- subnet-private"]);

    scene.relent();
    scene.plans_followed("run network: failed last time", &FOLLOWING);
    assert_eq!(scene.up(), made_again());
    scene.differs(&["- subnet-private", "+ subnet-private-2"]);
    scene.rests();
}

fn another_range_for_the_network_is_refused_before_anything_is_done(scene: &mut Scene<'_>) {
    scene.describe("cidr: 10.20.0.0/16", "cidr: 10.30.0.0/16");

    let refused = scene.plans_in_vain(&[
        "stop network: `network.cidr` is 10.20.0.0/16 for the life of the environment, the file asks for 10.30.0.0/16",
        "blocked load-balancer: needs network",
        "blocked nodes: needs network",
        "blocked access: needs network",
        "blocked hardening: needs access",
        "blocked servers: needs access",
        "blocked agents: needs access",
        "blocked health: needs access",
    ]);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&[]));
    for told in [refused, failed] {
        told.tells(
            9,
            "`network.cidr` is for the life of an environment",
            &["`network.cidr`: it was made with 10.20.0.0/16, the file asks for 10.30.0.0/16"],
            &[
                "set `network.cidr` back to `10.20.0.0/16` in environments/small.yaml",
                "another network.cidr takes `sre-provision down small`, then `up`",
            ],
        );
    }
    scene.describe("cidr: 10.30.0.0/16", "cidr: 10.20.0.0/16");
    scene.rests();
}
