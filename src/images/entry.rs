//! One image as it is listed: what it stems from, how old it is, where it stands, and who needs it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::gate::Standing;
use crate::cloud::FoundImage;
use crate::identity::{TAG_FINGERPRINT, TAG_IMAGE, TAG_NAME, TAG_PARENT, TAG_RKE2, TAG_STATE};

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Whereabouts {
    pub account: String,
    pub region: String,
}

/// Why an image is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Use {
    /// A machine was made from it: any of the account, whoever made it.
    Machine { machine: String, name: String },
    /// The journal of an environment has it as what a stage made, or a node of it.
    Journal { environment: String, stage: String },
    /// A state of OpenTofu names it.
    State { environment: String, root: String },
    /// A channel leads to it, or may be rolled back to it.
    Channel { channel: String },
    /// It carries the tag that keeps it.
    Tag { why: String },
    /// An image that stays was built from it.
    Image { image: String },
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { machine, name } if name.is_empty() => f.write_str(machine),
            Self::Machine { machine, name } => write!(f, "{machine} ({name})"),
            Self::Journal { environment, stage } => write!(f, "{environment}: {stage}"),
            Self::State { environment, root } => write!(f, "{environment}: state of {root}"),
            Self::Channel { channel } => write!(f, "channel {channel}"),
            Self::Tag { why } => write!(f, "kept: {why}"),
            Self::Image { image } => f.write_str(image),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Whereabouts,
    pub id: String,
    pub name: String,
    /// `base` or `node`.
    pub which: String,
    /// `ready`, or what else its tag says.
    pub state: String,
    pub built: Option<Timestamp>,
    pub fingerprint: String,
    /// What it stems from, oldest first; only what is known of it.
    pub lineage: Vec<String>,
    pub rke2: Option<String>,
    /// The environment whose run built it, by name.
    pub environment: String,
    pub snapshots: Vec<String>,
    pub channels: Vec<String>,
    pub standing: Standing,
    pub uses: Vec<Use>,
}

impl Entry {
    /// An image by what it tells itself; `None` for one that is not ours.
    pub fn of(at: Whereabouts, image: &FoundImage, lineage: Vec<String>) -> Option<Self> {
        let tag = |name: &str| image.tags.get(name).cloned();
        let which = tag(TAG_IMAGE)?;
        let keep = tag(super::TAG_KEEP).map(|why| Use::Tag { why });
        Some(Self {
            at,
            id: image.id.clone(),
            name: image.name.clone(),
            which,
            state: tag(TAG_STATE).unwrap_or_default(),
            built: image.created.parse().ok(),
            fingerprint: tag(TAG_FINGERPRINT).unwrap_or_default(),
            lineage,
            rke2: tag(TAG_RKE2),
            environment: tag(TAG_NAME).unwrap_or_default(),
            snapshots: image.snapshots.clone(),
            channels: vec![],
            standing: Standing::Absent,
            uses: keep.into_iter().collect(),
        })
    }

    pub fn parent(&self) -> Option<&str> {
        self.lineage.last().map(String::as_str)
    }
}

/// What an image stems from, oldest first, as far as these images tell.
pub fn lineage(image: &FoundImage, images: &BTreeMap<&str, &FoundImage>) -> Vec<String> {
    let mut line = Vec::new();
    let mut at = image;
    // A circle would be somebody's tag, and ends where it began.
    while let Some(parent) = at.tags.get(TAG_PARENT).filter(|parent| !line.contains(*parent) && **parent != image.id) {
        line.push(parent.clone());
        let Some(next) = images.get(parent.as_str()) else { break };
        at = next;
    }
    line.reverse();
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Tags;

    fn image(id: &str, parent: &str) -> FoundImage {
        let tags = [(TAG_IMAGE, "node"), (TAG_PARENT, parent), (super::super::TAG_KEEP, "audit 7")];
        FoundImage {
            id: id.to_owned(),
            name: format!("sre-{id}"),
            owner: "1".to_owned(),
            created: "2026-11-20T14:02:00.000Z".to_owned(),
            usable: true,
            tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            snapshots: vec![],
        }
    }

    #[test]
    fn the_lineage_goes_as_far_back_as_it_is_known_and_a_circle_ends() {
        let (base, node) = (image("ami-base", "ami-source"), image("ami-node", "ami-base"));
        let all: BTreeMap<&str, &FoundImage> = [("ami-base", &base), ("ami-node", &node)].into();
        let (one, two) = (image("ami-1", "ami-2"), image("ami-2", "ami-1"));
        let circle: BTreeMap<&str, &FoundImage> = [("ami-1", &one), ("ami-2", &two)].into();

        assert_eq!(lineage(&node, &all), ["ami-source", "ami-base"]);
        assert_eq!(lineage(&node, &BTreeMap::new()), ["ami-base"]);
        assert_eq!(lineage(&one, &circle), ["ami-2"]);
    }

    #[test]
    fn what_is_not_ours_is_no_entry_and_a_tag_that_keeps_it_is_a_use() {
        let at = Whereabouts { account: "1".to_owned(), region: "us-east-1".to_owned() };
        let foreign = FoundImage { tags: Tags::new(), ..image("ami-1", "") };

        assert!(Entry::of(at.clone(), &foreign, vec![]).is_none());
        let ours = Entry::of(at, &image("ami-1", ""), vec![]).expect("ours");
        assert_eq!(ours.uses, [Use::Tag { why: "audit 7".to_owned() }]);
    }
}
