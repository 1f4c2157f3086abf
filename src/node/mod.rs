//! The nodes over SSH: one multiplexed connection each, scripts, files, units, forwards, and the census.
//!
//! OpenSSH does the work, with a configuration of ours and never the user's: host keys pinned per machine id, strict
//! checking, FIPS algorithms, one identity. The configuration lies in a short directory on tmpfs, so that Ansible and
//! a person's `ssh` use the same file and, while it lives, the same connection.
//!
//! What runs on a node comes over stdin, never in argv. A script is wrapped so that a shell reads all of it before it
//! starts: one that was cut on the way does nothing.
//!
//! # Why
//! Masters stay for five idle minutes instead of for ever (2026-11), because a program that was killed cannot close
//! them. The way through a jump machine is a `ProxyCommand` in a session of its own instead of `ProxyJump`: Ctrl-C
//! reaches the whole foreground group and would cut every node behind the jump machine.

mod census;
mod connection;
mod connections;
mod console;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod receiver;
mod shipment;
mod spread;
mod ssh_config;
mod transfer;
mod trouble;
mod unit;
mod wait;

pub use census::{Answer, Census, Question};
pub use connection::{Connection, Output, quote};
pub use connections::{Connections, Keys};
pub use console::{console_host_keys, host_key_fingerprint, last_words};
pub use forward::Forward;
pub use receiver::Heard;
pub use shipment::Shipment;
pub use spread::{Course, HeardBy, Uplink};
pub use ssh_config::JUMP;
pub use transfer::Sent;
pub use unit::UnitResult;
pub use wait::{Look, Pace, Wait};
