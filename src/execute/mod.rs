//! Carries out a plan: side by side where nothing forbids it, each stage behind what it needs.
//!
//! [`up`] makes, [`down`] takes away. Everything they do is in the journal before and after it happens; a failed stage
//! stops what needs it and nothing else.

mod attempt;
mod book;
mod down;
mod locks;
mod overdue;
mod pace;
mod stall;
mod sweep;
mod up;
mod world;

pub use book::Book;
pub use down::{Removed, down};
pub use sweep::{Broom, Left, Sorted, describe, left_over};
pub use up::{Report, up};
pub use world::World;
