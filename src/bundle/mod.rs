//! Bundles: all that an environment needs, on a medium, for machines without internet.
//!
//! A bundle is a directory: `manifest.json` says what it holds, `manifest.sig` who says so, and `chunks-0001` and so on hold
//! the chunks of the files. Who makes one collects and signs; who loads one believes nothing but the signature of a key
//! that the environment file names, and every chunk only by its digest in the manifest.
//!
//! ```text
//!  sources ──collect──► items ──write──► volumes + manifest + signature
//!                                             │ open: signature, form, where each chunk lies
//!                                             ▼
//!                                    verify · lack · load ──► .sre-provision/<name>/loaded/
//! ```
//!
//! # Why
//! Chunks of a fixed size in volumes of our own instead of an archive: what was written before a stop is kept, a damaged
//! piece is asked for again alone, and no format's reader with paths in it is fed with what came from outside. (2026-11-30)

mod accept;
mod archive;
mod closure;
mod collect;
mod create;
mod feeds;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod have;
mod images;
mod load;
mod loaded;
mod manifest;
mod name;
mod needs;
mod open;
mod ordered;
mod packages;
mod prune;
mod record;
mod reference;
mod registry;
mod release;
mod required;
mod rpm;
mod rpms;
mod sbom;
mod sign;
mod tags;
#[cfg(test)]
mod tests;
mod volume;

pub use accept::{Accepted, refuse_older};
pub use archive::image_archive;
pub use collect::{listed, plugins};
pub use create::{Item, Made, Order, create};
pub use feeds::{FEEDS, WHEEL_INDEX, feeds, wheel_projects};
pub use have::{Have, Supplement, missing, supplement};
pub use images::{Looked, Pull, client, index};
pub use load::{Loaded, add_loaded, load, loaded_chunks, loaded_manifest};
pub use loaded::{is_image_loaded, refuse_unloaded};
pub use manifest::{FileEntry, ImageEntry, MANIFEST, Manifest, Release, SIGNATURE};
pub use name::{FileKind, Name, SBOM};
pub use needs::{Lack, lacking};
pub use open::{Opened, Sound};
pub use packages::{Packaged, Resolved};
pub use record::CHUNK;
pub use reference::referred;
pub use registry::{Target, registries};
pub use release::{Source, Tell, Wanted};
pub use required::{
    HARDENING_PACKAGES, RKE2_PACKAGES, SELINUX_PACKAGE, packages as required_packages, programs as required_programs,
};
pub use rpms::LoadedRpms;
pub use sbom::sbom;
pub use sign::{SigningKey, TrustedKeys};
pub use tags::refuse_ambiguous;
