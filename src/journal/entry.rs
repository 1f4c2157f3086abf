//! One line of the journal, and its form as bytes.
//!
//! The bytes are the RFC 8785 form of the entry and a line feed, so that there is exactly one way to write it and every
//! changed byte is found. The digest is over that form without the digest itself; the next entry holds it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Actor;
use super::format::Format;
use crate::artifact::{Artifact, Kind};
use crate::event::Outcome;
use crate::failure::{Class, Failure};
use crate::fingerprint::{Digest, Reading};

/// One numbered, create-only entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub version: Format,
    pub environment: Uuid,
    /// From 1, without gaps.
    pub number: u64,
    pub run: u32,
    /// Rises whenever the lease changes hands.
    pub epoch: u64,
    /// The digest of the entry before; only the first has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    pub time: Timestamp,
    pub actor: Actor,
    #[serde(flatten)]
    pub record: Record,
    pub digest: Digest,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// Durable before the effect starts.
    Intent(Intent),
    /// What came of the intent.
    Outcome(Box<Settled>),
    /// Something learned or chosen once, such as who initialises the cluster; `null` forgets it.
    Fact { name: String, value: Value },
    /// A writer took the lease. Every intent that is open here has an unknown outcome.
    Lease(Claim),
    /// A supervised child was started; its lock file says whether it still runs.
    ChildStarted { id: String, slot: String, lock: String },
    /// A child's result was taken over; `code` is absent when a signal ended it or nobody knows.
    ChildEnded {
        id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// From its start to its end, as its supervisor measured; absent when nobody saw its end.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "iso8601::optional")]
        took: Option<Duration>,
    },
    /// Somebody agreed to what a plan does.
    Approval { plan: Digest, by: String, what: String },
    RunStarted {
        /// As typed, such as `up dev`.
        command: String,
        /// The version of this program.
        program: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Digest>,
    },
    RunEnded {
        outcome: Outcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Of a newer minor format; never written.
    #[serde(other)]
    Unrecognised,
}

/// What is intended with an artifact, or with a step's share of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    #[default]
    Make,
    Remove,
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub stage: Kind,
    /// Absent for the stage as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    #[serde(default)]
    pub deed: Deed,
    pub attempt: u32,
    pub fingerprint: Digest,
    pub reading: Reading,
    /// The name or tag by which the effect can be found again.
    pub effect: String,
    /// The programs that will carry it out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, Digest>,
}

/// What came of an intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    pub stage: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    #[serde(default)]
    pub deed: Deed,
    pub attempt: u32,
    pub outcome: Outcome,
    /// What a stage made; never holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// What a step gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What a failure of a stage asked for: only a transient one is followed by another attempt in the same run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Written as in ISO 8601: `PT1.5S`.
    #[serde(with = "iso8601")]
    pub took: Duration,
}

mod iso8601 {
    use std::time::Duration;

    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    pub fn serialize<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        SignedDuration::try_from(*took).map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        SignedDuration::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }

    pub mod optional {
        use std::time::Duration;

        use serde::{Deserializer, Serializer};

        pub fn serialize<S: Serializer>(took: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match took {
                Some(took) => super::serialize(took, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

/// Who took the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub nonce: Uuid,
    /// `free` when nobody held it; otherwise why it could be taken over.
    pub how: String,
}

impl Record {
    /// The kind as it stands in the entry.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Intent(_) => "intent",
            Self::Outcome(_) => "outcome",
            Self::Fact { .. } => "fact",
            Self::Lease(_) => "lease",
            Self::ChildStarted { .. } => "child-started",
            Self::ChildEnded { .. } => "child-ended",
            Self::Approval { .. } => "approval",
            Self::RunStarted { .. } => "run-started",
            Self::RunEnded { .. } => "run-ended",
            Self::Unrecognised => "unrecognised",
        }
    }
}

impl Entry {
    /// Sets the digest; gives the entry's bytes.
    ///
    /// # Errors
    /// A bug: the record has no JSON form, or one that does not survive (numbers beyond 2⁵³).
    pub fn seal(&mut self) -> Result<Vec<u8>, Failure> {
        let bug = |cause: &dyn std::fmt::Display| Failure::bug("a journal entry cannot be written").because(cause);
        let mut value = serde_json::to_value(&*self).map_err(|error| bug(&error))?;
        self.digest = digest_of(&mut value).map_err(|error| bug(&error))?;
        if let Value::Object(fields) = &mut value {
            fields.insert("digest".to_owned(), self.digest.as_str().into());
        }
        canonical(&value).map_err(|error| bug(&error))
    }
}

/// The digest over an entry's value without its digest, which is removed from it.
pub(super) fn digest_of(value: &mut Value) -> Result<Digest, serde_json::Error> {
    if let Value::Object(fields) = value {
        fields.remove("digest");
    }
    Ok(Digest::of(&serde_json_canonicalizer::to_vec(value)?))
}

/// The one form of an entry as bytes.
pub(super) fn canonical(value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json_canonicalizer::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}
