//! What RKE2 demands: versions and files of a release, tokens, the gates of a join, the API's own word on health.
//!
//! Nothing here starts anything on a node: Ansible installs and starts, this room asks whether it came to be. A start
//! command that returned 0 proves nothing (a unit of the other role makes systemd skip the start and say so to nobody),
//! so a node has joined when its unit is active *and* the API shows it Ready at the wanted version *and*, for a
//! server, etcd itself counts its member among the voters.

mod api;
mod certificate;
mod effective;
mod etcd;
mod fragment;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod gate;
mod halves;
mod kubeconfig;
mod merge;
mod node_status;
mod proof;
mod reach;
mod release;
mod skew;
mod state;
mod symptom;
mod token;
mod version;

pub use api::{Api, Route};
pub use effective::{Difference, Effective, ask_configuration};
pub use etcd::{EtcdRole, Members, Voice, members_agree, ready_for, told_amiss};
pub use fragment::{SECRET_FRAGMENT, fragment_keys, fragments, registries, secret_fragment};
pub use gate::{Member, Start, joined, serving};
pub use halves::{Left, Told, ask_all, foreign_store, halt, left, move_store_aside};
pub use kubeconfig::Kubeconfig;
pub use merge::{Other, merged};
pub use node_status::NodeStatus;
pub use proof::{Expected, Proof, serves};
pub use reach::{Ahead, Hole, Measured, Need, Way, apart, ask_ways, ways};
pub use release::{
    ARCH, Checksums, bundle_file, checksum_file, image_sets, is_release_file, release_files, release_url,
};
pub use skew::{Runs, speaks_against, uneven_etcd};
pub use state::{QUESTION, State, Unit, UnitActivity, question};
pub use symptom::{Symptom, recognised};
pub use token::Token;
pub use version::Version;

/// Where RKE2 keeps everything on a node.
pub const DATA_DIR: &str = "/var/lib/rancher/rke2";
pub const API_PORT: u16 = 6443;
/// The administrator's kubeconfig on a server.
pub const ADMIN_KUBECONFIG: &str = "/etc/rancher/rke2/rke2.yaml";

/// The systemd unit of a role.
pub fn unit(role: crate::environment::Role) -> &'static str {
    match role {
        crate::environment::Role::Server => "rke2-server",
        crate::environment::Role::Agent => "rke2-agent",
    }
}
