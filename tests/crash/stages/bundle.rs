//! Cases of `bundle`.

use super::scene::{Scene, Went};
use super::{Case, cases};

pub const CASES: &[Case] = cases![
    small: a_file_that_was_cut_off_in_the_store_is_fetched_again_and_nothing_is_made_of_it,
    small: a_file_with_a_wrong_checksum_is_refused_until_the_source_has_the_right_one,
];

const STORED: &str = ".sre-provision/store/rke2/v1.35.4+rke2r1/rke2.linux-amd64.tar.gz";
const SOURCE: &str = "release/v1.35.4+rke2r1/rke2.linux-amd64.tar.gz";
/// What follows the bundle: everything but the base image, the network and the load balancer.
const FOLLOWING: [&str; 7] = [
    "follow node-image: after bundle",
    "follow nodes: after node-image",
    "follow access: after nodes",
    "follow hardening: after access",
    "follow servers: after access, hardening, bundle",
    "follow agents: after access, hardening, bundle, servers",
    "follow health: after access, servers, agents",
];

fn a_file_that_was_cut_off_in_the_store_is_fetched_again_and_nothing_is_made_of_it(scene: &mut Scene<'_>) {
    let (whole, _) = scene.read(STORED);
    scene.write(STORED, "half");

    scene.plans_followed(
        "run bundle: altered: `rke2.linux-amd64.tar.gz` is not in the store as it was verified",
        &FOLLOWING,
    );
    assert_eq!(scene.up(), Went::of(&["bundle"]));
    assert_eq!(scene.read(STORED).0, whole);
    scene.rests();
}

fn a_file_with_a_wrong_checksum_is_refused_until_the_source_has_the_right_one(scene: &mut Scene<'_>) {
    let (right, _) = scene.read(SOURCE);
    scene.remove(STORED);
    scene.write(SOURCE, "forged");

    scene.plans_followed(
        "run bundle: altered: `rke2.linux-amd64.tar.gz` is not in the store as it was verified",
        &FOLLOWING,
    );
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["bundle failed"]));
    failed.tells(
        1,
        "`rke2.linux-amd64.tar.gz` has a wrong checksum",
        &["its SHA-256 is …, expected …"],
        &["fetch the release again; if it stays wrong, do not use this source"],
    );

    scene.write(SOURCE, &right);
    scene.plans_followed("run bundle: failed last time", &FOLLOWING);
    assert_eq!(scene.up(), Went::of(&["bundle"]));
    assert_eq!(scene.read(STORED).0, right);
    scene.rests();
}
