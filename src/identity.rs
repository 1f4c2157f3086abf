//! Which environment this is: the little that lets `down` work when everything else is lost.
//!
//! `identity.json` lies beside the journal and every resource carries the same id as a tag, so either finds the other.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::environment::{EnvironmentClass, Platform};

/// The tag by which everything of an environment is found.
pub const TAG_ENVIRONMENT: &str = "sre:environment";
/// The environment's name, for people.
pub const TAG_NAME: &str = "sre:name";
pub const TAG_CLASS: &str = "sre:class";
pub const TAG_CREATED_BY: &str = "sre:created-by";
/// RFC 3339, or `never`.
pub const TAG_EXPIRES: &str = "sre:expires";
/// How the tag begins by which Kubernetes's controllers for AWS know their cluster's machines, and mark what they make.
const CLUSTER: &str = "kubernetes.io/cluster/";
/// Which node a machine is.
pub const TAG_NODE: &str = "sre:node";
/// The fingerprint an image was built for.
pub const TAG_FINGERPRINT: &str = "sre:fingerprint";
/// `base` or `node`.
pub const TAG_IMAGE: &str = "sre:image";
/// What is temporary, of the build of which image.
pub const TAG_BUILD: &str = "sre:build";
/// The image that an image was built from.
pub const TAG_PARENT: &str = "sre:parent";
/// The RKE2 release in an image.
pub const TAG_RKE2: &str = "sre:rke2";
/// Which image a copy was made from: `region/id`.
pub const TAG_COPY_OF: &str = "sre:copy-of";
/// `building`, then `ready` once the finished image was booted and checked.
pub const TAG_STATE: &str = "sre:state";

/// An environment's identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub version: u32,
    pub id: Uuid,
    pub name: String,
    pub platform: Platform,
    pub class: EnvironmentClass,
    /// AWS account or vCenter instance id: another one is refused.
    pub account: String,
    /// Region or datacenter: another one is refused.
    pub region: String,
    pub created: Timestamp,
    pub created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl Identity {
    /// The first eight digits of the id: what goes into names that must be unique and short.
    pub fn short(&self) -> String {
        self.id.simple().to_string()[..8].to_owned()
    }

    /// The tag of the cluster's own things: on its machines, so that its controllers put it on what they make.
    pub fn cluster_tag(&self) -> String {
        cluster_tag(&self.short())
    }

    /// The tags of everything this environment owns.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let expires = self.expires.map_or_else(|| "never".to_owned(), |at| at.to_string());
        BTreeMap::from([
            (TAG_ENVIRONMENT.to_owned(), self.id.to_string()),
            (TAG_NAME.to_owned(), self.name.clone()),
            (TAG_CLASS.to_owned(), self.class.word().to_owned()),
            (TAG_CREATED_BY.to_owned(), self.created_by.clone()),
            (TAG_EXPIRES.to_owned(), expires),
        ])
    }
}

/// The tag by which everything of the environment with this id is found.
pub fn tag_of(id: impl ToString) -> BTreeMap<String, String> {
    BTreeMap::from([(TAG_ENVIRONMENT.to_owned(), id.to_string())])
}

/// The tag of what the cluster of the environment with this short id makes.
pub fn cluster_tag(short: &str) -> String {
    format!("{CLUSTER}{short}")
}
