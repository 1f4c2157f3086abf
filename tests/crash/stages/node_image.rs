//! Cases of `node-image`.

use super::scene::{Scene, Went};
use super::{Case, cases};

pub const CASES: &[Case] = cases![
    small: an_edited_role_is_in_a_new_image_and_is_played_on_the_nodes_which_keep_theirs,
    small: an_image_that_boots_and_is_not_what_was_built_is_not_used_and_made_anew_once_it_is_deregistered,
];

/// The machine that a new image is booted on.
const CHECK: &str = "127.1.0.201";

fn an_edited_role_is_in_a_new_image_and_is_played_on_the_nodes_which_keep_theirs(scene: &mut Scene<'_>) {
    scene.write("ansible/roles/rke2_common/tasks", "{changed: true}\n");

    scene.plans(&[
        "run node-image: changed: ansible/roles/rke2_common",
        "follow nodes: after node-image",
        "follow access: after nodes",
        "follow hardening: after access",
        "run servers: changed: ansible/roles/rke2_common",
        "run agents: changed: ansible/roles/rke2_common",
        "follow health: after access, servers, agents",
    ]);
    let wanted = Went::of(&["node-image", "nodes", "servers", "agents"])
        .calling(&["ansible-playbook agents", "ansible-playbook servers", "packer build node", "tofu plan nodes"])
        .doing(&["image node", "tag ami-node-2", "register i-server-1 tg-api", "register i-server-1 tg-supervisor"]);
    assert_eq!(scene.up(), wanted);
    scene.differs(&["+ ami-node-2", "+ snap-node-2"]);
    scene.rests();
}

fn an_image_that_boots_and_is_not_what_was_built_is_not_used_and_made_anew_once_it_is_deregistered(
    scene: &mut Scene<'_>,
) {
    scene.take("ami-node");
    scene.answers(CHECK, "cloud-init=done\nfips=0\nrke2=v1.34.1+rke2r1\njoined=0\nmanifest={\"fingerprint\": \"\"}\n");

    scene.plans(&[
        "run node-image: gone",
        "follow nodes: after node-image",
        "follow access: after nodes",
        "follow hardening: after access",
        "follow servers: after access, hardening",
        "follow agents: after access, hardening, servers",
        "follow health: after access, servers, agents",
    ]);
    let (went, failed) = scene.up_in_vain();
    assert_eq!(went, Went::of(&["node-image failed"]).calling(&["packer build node"]).doing(&["image node"]));
    failed.tells(
        1,
        "image `ami-node-2` booted and is not what was built",
        &[
            "/etc/sre-image.json names the fingerprint \"\", expected …",
            "`rke2 --version` says `v1.34.1+rke2r1`, expected `v1.35.4+rke2r1`",
        ],
        &["deregister image `ami-node-2`, and `up` builds it anew"],
    );

    scene.relent();
    scene.take("ami-node-2");
    let wanted = Went::of(&["node-image", "nodes"])
        .calling(&["packer build node", "tofu plan nodes"])
        .doing(&["image node", "tag ami-node-3"]);
    assert_eq!(scene.up(), wanted);
    scene.differs(&["- ami-node", "+ ami-node-3"]);
    scene.rests();
}
