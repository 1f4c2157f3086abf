//! Whether a node is as hardened as its profile says: rules as data, one script that looks, and a judgement per rule.
//!
//! The rules are those of the Ansible role `os_hardening`, read from its variables, so that what is set and what is
//! checked cannot drift apart. The script only observes and changes nothing; what it saw is judged here, so that a
//! finding can say what was there and what is wanted.
//!
//! # Why
//! A census asks what needs no walk over the file system (2026-11): some 200 rules then cost a node a dozen processes
//! instead of seconds of disk. The rules that need the walk are `NotLookedAt` in it and are looked at in a deep check.

mod catalogue;
mod class;
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod judge;
mod observation;
mod published;
mod report;
mod role;
mod state;
mod system;
mod waiver;
mod wording;

pub use catalogue::{Catalogue, Check, Rule};
pub use class::Class;
pub use observation::{Depth, QUESTION};
pub use published::{Published, Severity};
pub use report::{Finding, Report, Status};
pub use waiver::Waived;
