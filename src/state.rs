//! Where the state of an environment is kept, as the environment file says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::environment::Aws;

/// Where journal, identity, secrets and the state of OpenTofu are kept: in `.sre-provision/` of the workspace, unless it
/// says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// In S3, where every machine that may use the bucket can go on with the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<StateBucket>,
}

/// A place in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateBucket {
    /// The bucket; it must be there.
    pub bucket: String,
    /// What every key begins with, such as `dev`; one environment only. The environment's name where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The bucket's region, where it is not that of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl StateBucket {
    /// The place, for an environment of this name and these settings of AWS.
    pub fn place(&self, name: &str, aws: &Aws) -> StatePlace {
        StatePlace {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone().unwrap_or_else(|| name.to_owned()),
            region: self.region.clone().unwrap_or_else(|| aws.region.clone()),
            partition: aws.partition.clone(),
        }
    }
}

/// A place in S3, with nothing left to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePlace {
    pub bucket: String,
    pub prefix: String,
    pub region: String,
    pub partition: String,
}
