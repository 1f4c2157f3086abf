//! Cases of `base-image`.

use super::scene::{Scene, Went};
use super::{Case, cases};
use crate::disturbance::{Disturbance, asked};

pub const CASES: &[Case] = cases![
    small: an_image_that_was_deregistered_is_built_anew_with_the_one_that_stems_from_it_and_nodes_keep_theirs,
    small: a_build_that_packer_gives_up_leaves_nothing_and_the_next_run_builds,
    small: an_image_that_somebody_else_took_over_stops_the_plan_and_is_not_touched,
];

const FOLLOWING: [&str; 7] = [
    "follow node-image: after base-image",
    "follow nodes: after node-image",
    "follow access: after nodes",
    "follow hardening: after access",
    "follow servers: after access, hardening",
    "follow agents: after access, hardening, servers",
    "follow health: after access, servers, agents",
];

fn an_image_that_was_deregistered_is_built_anew_with_the_one_that_stems_from_it_and_nodes_keep_theirs(
    scene: &mut Scene<'_>,
) {
    scene.take("ami-base");

    scene.plans_followed("run base-image: gone", &FOLLOWING);
    let went = scene.up();
    let wanted = Went::of(&["base-image", "node-image", "nodes"])
        .calling(&["packer build base", "packer build node", "tofu plan nodes"])
        .doing(&["image base", "tag ami-base-2", "image node", "tag ami-node-2"]);
    assert_eq!(went, wanted);
    scene.differs(&["- ami-base", "+ ami-base-2", "+ ami-node-2", "+ snap-node-2"]);
    scene.rests();
}

fn a_build_that_packer_gives_up_leaves_nothing_and_the_next_run_builds(scene: &mut Scene<'_>) {
    scene.take("ami-base");
    scene.refuse(asked("build-image", "which", "base"), "Script exited with non-zero exit status: 2");

    scene.plans_followed("run base-image: gone", &FOLLOWING);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["base-image failed"]).calling(&["packer build base"]));
    failed.tells(5, "packer …exit code 1…", &["Script exited with non-zero exit status: 2"], &[]);
    scene.differs(&["- ami-base", "- snap-base"]);

    scene.relent();
    scene.plans_followed("run base-image: failed last time", &FOLLOWING);
    let calls = ["packer build base", "packer build node", "tofu plan nodes"];
    assert_eq!(scene.up().calls, calls);
    scene.rests();
}

fn an_image_that_somebody_else_took_over_stops_the_plan_and_is_not_touched(scene: &mut Scene<'_>) {
    let [id, name, value] = ["ami-base", "sre:fingerprint", "theirs"].map(str::to_owned);
    scene.disturb(Disturbance::Tag { id, name, value });

    let refused = scene.plans_in_vain(&[
        "stop base-image: image `ami-base` does not carry the fingerprint it was built for",
        "blocked node-image: needs base-image",
        "blocked nodes: needs node-image",
        "blocked access: needs nodes",
        "blocked hardening: needs access",
        "blocked servers: needs access",
        "blocked agents: needs access",
        "blocked health: needs access",
    ]);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&[]));
    for told in [refused, failed] {
        told.tells(
            6,
            "the plan stops at base-image",
            &["image `ami-base` does not carry the fingerprint it was built for"],
            &["what is not ours or does not answer is not touched; look at it, then try again"],
        );
    }
    scene.differs(&[]);
}
