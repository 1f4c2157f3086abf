//! Who vouches for the journal, as the environment file says.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::StateBucket;

/// What vouches for the journal, where whoever can write to it cannot reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    #[serde(default)]
    pub anchor: AnchorPlaces,
}

/// Where the journal's last number and digest are told at the end of each run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorPlaces {
    /// A file to which a line is added, outside of the state directory; from the workspace where it is not absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The machine's syslog, facility `authpriv`.
    #[serde(default)]
    pub syslog: bool,
    /// A bucket that keeps each object from everybody for a time (object lock with a default retention).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<StateBucket>,
}
