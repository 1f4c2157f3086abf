//! Cases of `load-balancer`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::asked;

pub const CASES: &[Case] = cases![
    small: a_listener_that_was_removed_is_made_again_and_nothing_else_is_touched,
    small: a_load_balancer_that_is_gone_is_made_again_and_no_member_is_restarted,
    small: a_load_balancer_that_the_platform_refuses_needs_a_person_and_keeps_back_what_needs_it,
];

const LISTENERS: [&str; 4] = ["listener-api", "listener-supervisor", "listener-http", "listener-https"];
const FOLLOWING: [&str; 3] = [
    "follow servers: after load-balancer",
    "follow agents: after load-balancer, servers",
    "follow health: after load-balancer, servers, agents",
];
const CALLS: [&str; 2] = ["tofu apply load-balancer", "tofu plan load-balancer"];
const MADE: [&str; 5] =
    ["make lb-1", "make listener-api", "make listener-supervisor", "make listener-http", "make listener-https"];

/// With all that hears on it.
fn take_it(scene: &mut Scene<'_>) {
    scene.take("lb-1");
    LISTENERS.iter().for_each(|listener| scene.take(listener));
}

fn made_again() -> Went {
    let registered = ["register i-server-1 tg-api", "register i-server-1 tg-supervisor"];
    Went::of(&["load-balancer", "servers", "agents", "health"])
        .calling(&CALLS)
        .doing(&[&MADE[..], &registered].concat())
}

fn a_listener_that_was_removed_is_made_again_and_nothing_else_is_touched(scene: &mut Scene<'_>) {
    scene.take("listener-api");

    scene.plans_followed("run load-balancer: altered: no listener leads to `api`", &FOLLOWING);
    assert_eq!(scene.up(), Went::of(&["load-balancer"]).calling(&CALLS).doing(&["make listener-api"]));
    scene.differs(&["- listener-api", "+ listener-api-2"]);
    scene.rests();
}

fn a_load_balancer_that_is_gone_is_made_again_and_no_member_is_restarted(scene: &mut Scene<'_>) {
    take_it(scene);

    scene.plans_followed("run load-balancer: gone", &FOLLOWING);
    assert_eq!(scene.up(), made_again());
    scene.rests();
}

fn a_load_balancer_that_the_platform_refuses_needs_a_person_and_keeps_back_what_needs_it(scene: &mut Scene<'_>) {
    let refusal = "TooManyLoadBalancers: the maximum number of load balancers has been reached";
    take_it(scene);
    scene.refuse(asked("make", "id", "lb-1"), refusal);

    scene.plans_followed("run load-balancer: gone", &FOLLOWING);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["load-balancer failed"]).calling(&CALLS));
    let hint = "ask the platform for a higher quota, or free what is no longer used";
    failed.tells(6, "tofu …exit code 1…, 0 of 5 changes made", &[refusal], &[hint]);

    scene.relent();
    scene.plans_followed("run load-balancer: failed last time", &FOLLOWING);
    assert_eq!(scene.up(), made_again());
    scene.rests();
}
