//! The map of the program.
//!
//! ```text
//!  environments/<name>.yaml
//!        │ config
//!        ▼
//!   Environment ──► plan ──► execute ──► journal ──► report
//!                    │          │           ▲
//!                    │ probe    │ make      │ intents, outcomes
//!                    ▼          ▼           │
//!                      stages ──────────────┘
//!                        │ └─ upkeep, of a cluster that runs
//!        bundle · images · tools · cloud · node · rke2 · compliance (─► evidence) · secrets
//!                        │
//!          process · objects · workspace
//! ```
//!
//! Files at this level are words: plain data that every room may use. Folders are rooms: one behaviour each, with one
//! door, its `mod.rs`. Values flow one way, and only `cli/` connects the rooms. `tests/architecture.rs` holds the lines.
//! `crash` is no word but a place for the crash tests to cut in; without their feature it is empty.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)]
#![warn(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::dbg_macro)]
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests build worlds of files and scripted programs"))]

// words
pub mod access;
pub mod artifact;
pub mod audit;
pub mod crash;
pub mod deadlines;
pub mod decision;
pub mod environment;
pub mod event;
pub mod failure;
pub mod fingerprint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod hardening;
pub mod hosts;
pub mod identity;
pub mod image_policy;
pub mod load_balancer;
pub mod refusal;
pub mod rke2_config;
pub mod rke2_keys;
pub mod secret;
pub mod state;
pub mod stop;
pub mod supply;
pub mod units;
pub mod vsphere;
pub mod wanted;

// rooms
pub mod bundle;
pub mod cli;
pub mod cloud;
pub mod compliance;
pub mod config;
pub mod evidence;
pub mod execute;
pub mod images;
pub mod journal;
pub mod node;
pub mod objects;
pub mod plan;
pub mod process;
pub mod report;
pub mod rke2;
pub mod secrets;
pub mod stages;
pub mod tools;
pub mod upkeep;
pub mod workspace;
