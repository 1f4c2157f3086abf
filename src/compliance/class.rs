//! How it is known that the check of a rule tells a machine that keeps it from one that does not.
//!
//! Kept beside the rules and held against what `tests/rules_in_lab.rs` breaks on a machine, so that nothing is called shown
//! that was not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const CLASSES: &str = include_str!("data/classes.json");

/// What stands behind the check of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A machine was made to keep the rule and passed, and was made to break it and failed.
    Shown,
    /// The same where a command or what the kernel says was played: it proves our reading of it alone.
    StandIn,
    /// The check was read, and tried on what such a machine would say; or it looks at a part of the rule.
    Read,
    /// Nothing here can tell.
    #[default]
    NotTestable,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Shown, Self::StandIn, Self::Read, Self::NotTestable];

    pub fn name(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::StandIn => "stand-in",
            Self::Read => "read",
            Self::NotTestable => "not testable",
        }
    }
}

/// The class of each rule of every profile.
pub(super) fn classes() -> Result<BTreeMap<String, Class>, Failure> {
    serde_json::from_str(CLASSES).map_err(|error| Failure::bug(format!("the classes of rules: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compliance::Published;
    use crate::environment::HardeningProfile;

    #[test]
    fn every_published_rule_has_a_class_and_no_other_has() {
        let published = [HardeningProfile::Stig, HardeningProfile::Cis]
            .into_iter()
            .flat_map(|profile| Published::of(profile).expect("read"))
            .map(|rule| rule.id);

        assert_eq!(
            published.collect::<std::collections::BTreeSet<_>>(),
            classes().expect("read").into_keys().collect()
        );
    }
}
