//! Decides what a run will do, before anything is done.
//!
//! [`survey`] looks: it reads the declared inputs and probes what the journal says was made. [`decide`] then decides
//! without looking at anything, so that every rule is a plain test. `up` and `plan` show the same `decision::Plan`.

mod decide;
mod graph;
mod lasting;
mod nodes;
mod restarts;
mod survey;

pub use decide::decide;
pub use graph::{Graph, with_needs};
pub use lasting::{Lasting, lasting, refusal};
pub use nodes::{Releases, node_changes};
pub use restarts::restarts;
pub use survey::{Observed, Survey, survey};
