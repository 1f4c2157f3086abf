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
    /// The place, for an environment of this name; where it does not live in AWS, the bucket tells its region itself.
    pub fn place(&self, name: &str, aws: Option<&Aws>) -> StatePlace {
        let region = self.region.clone().or_else(|| aws.map(|aws| aws.region.clone())).unwrap_or_default();
        StatePlace {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone().unwrap_or_else(|| name.to_owned()),
            partition: aws.map_or_else(|| partition_of(&region).to_owned(), |aws| aws.partition.clone()),
            region,
        }
    }
}

/// The partition that a region lies in, by how its name begins.
pub fn partition_of(region: &str) -> &'static str {
    let homes = [
        ("us-gov-", "aws-us-gov"),
        ("cn-", "aws-cn"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-iso-", "aws-iso"),
        ("eusc-", "aws-eusc"),
    ];
    homes.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

/// A place in S3, with nothing left to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePlace {
    pub bucket: String,
    pub prefix: String,
    pub region: String,
    pub partition: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_of_an_environment_that_lives_elsewhere_tells_its_region_itself() {
        let bucket =
            StateBucket { bucket: "acme-state".to_owned(), prefix: None, region: Some("us-gov-west-1".to_owned()) };

        let place = bucket.place("dc", None);

        assert_eq!((place.prefix.as_str(), place.region.as_str()), ("dc", "us-gov-west-1"));
        assert_eq!(place.partition, "aws-us-gov");
    }

    #[test]
    fn each_region_has_its_partition() {
        let homes =
            ["eu-central-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "us-isob-east-1"].map(partition_of);

        assert_eq!(homes, ["aws", "aws-us-gov", "aws-cn", "aws-iso", "aws-iso-b"]);
    }
}
