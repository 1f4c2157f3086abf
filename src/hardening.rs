//! How the operating system of nodes is hardened, as the environment file says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operating system's hardening.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardening {
    #[serde(default)]
    pub profile: HardeningProfile,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HardeningProfile {
    #[default]
    Stig,
    Cis,
    None,
}

impl HardeningProfile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stig => "stig",
            Self::Cis => "cis",
            Self::None => "none",
        }
    }
}
