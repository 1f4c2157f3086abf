//! What a run will do: a verdict and a reason for every stage, and what that means for single nodes.

use serde::Serialize;

use crate::artifact::Kind;
use crate::environment::NodeName;
use crate::fingerprint::Digest;

/// What a run will do, stage by stage in the order of the road.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub decisions: Vec<Decision>,
    pub nodes: Vec<NodeChange>,
}

impl Plan {
    pub fn of(&self, stage: Kind) -> Option<&Decision> {
        self.decisions.iter().find(|decision| decision.stage == stage)
    }

    /// Whether nothing is to be done: every stage is reused.
    pub fn is_noop(&self) -> bool {
        self.decisions.iter().all(|decision| decision.verdict == Verdict::Reuse)
    }

    /// The first stage that must not be touched, if there is one.
    pub fn stopped(&self) -> Option<&Decision> {
        self.decisions.iter().find(|decision| decision.verdict == Verdict::Stop)
    }

    /// What an approval is bound to.
    pub fn digest(&self) -> Digest {
        Digest::of_value(self)
    }
}

/// What will happen to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Run,
    /// Decided when what it needs is made: it runs unless that comes out the same as before.
    Follow,
    Reuse,
    /// Something it needs must not be touched.
    Blocked,
    /// It must not be touched, and says why.
    Stop,
}

/// One stage's line of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    pub stage: Kind,
    pub verdict: Verdict,
    pub reason: String,
    /// The inputs that changed, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

impl Decision {
    pub fn new(stage: Kind, verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { stage, verdict, reason: reason.into(), changed: Vec::new() }
    }
}

/// What a plan means for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum NodeChange {
    Add {
        node: NodeName,
    },
    /// It keeps what it has: a running member is never replaced by `up`.
    Outdated {
        node: NodeName,
        what: Vec<String>,
    },
    /// It starts again, with another configuration: servers one by one while all others serve, agents at once.
    Restart {
        node: NodeName,
        what: Vec<String>,
    },
    /// The file no longer asks for it; it keeps running until it is taken out on purpose.
    Unwanted {
        node: NodeName,
    },
}
