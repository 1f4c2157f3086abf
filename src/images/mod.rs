//! What is known of images beyond that they exist: what was measured on them, who vouches for it, and who needs them.
//!
//! A statement about an image is signed and kept by its digest, which the image carries as a tag. Whoever has the public
//! key checks it without asking the platform for more than the image's own description. This room decides and keeps; what
//! asks the platform or a machine is whoever calls it.
//!
//! # Sources
//! Statement: in-toto Attestation Framework, Statement v1. Predicate: SLSA provenance v1. Envelope: DSSE v1. Packages:
//! CycloneDX 1.6.

mod bill;
mod channel;
mod entry;
mod gate;
mod hygiene;
mod prune;
mod shelf;
mod statement;

pub use bill::bill;
pub use channel::{Channel, Move, Target, check_channel};
pub use entry::{Entry, Use, Whereabouts, lineage};
pub use gate::{Fips, Gate, Policy, Profile, Standing};
pub use hygiene::{LOOK, Trace, packages, traces};
pub use prune::{Fate, Keep, fates};
pub use shelf::{Removing, Shelf};
pub use statement::{Provenance, Statement, content, open, seal, seal_copy};

/// The digest of the statement about an image, which is kept under it.
pub const TAG_STATEMENT: &str = "sre:statement";
/// An image that carries it is never pruned; its value says why.
pub const TAG_KEEP: &str = "sre:keep";
