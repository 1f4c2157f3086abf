//! Work on a cluster that runs: snapshots, restoring one, certificates, tokens.
//!
//! Each operation is a row of journaled steps, one for each node that it touches, under the stages `servers` and `agents`
//! whose artifacts it works on. From its first step to its last it is open, in a fact: whoever comes after a crash goes on
//! with it, and nobody begins anything else.
//!
//! # Why
//! Steps of the stages that made the nodes, and no kind of entry of its own: a journal that tells of operations is read by
//! older programs, and what `down` forgets of a stage it forgets of its operations too. (2026-11-30)

mod certificates;
mod fleet;
mod left_out;
mod open;
mod restore;
mod restoring;
mod snapshot;
mod tokens;
mod upgrade;
mod verified;

pub use certificates::{Expiring, days_left, expiring, rotate_certificates};
pub use fleet::{Fleet, no_cluster};
pub use open::{OPEN, Open, gives_way};
pub use restore::{Restored, Source, restore};
pub use snapshot::{Place, Snapshot, list_snapshots, prune_snapshots, save_snapshot};
pub use tokens::{Held, check_tokens, rotate_tokens};
pub use upgrade::{begin_upgrade, end_upgrade};
pub use verified::nodes as cluster_nodes;
