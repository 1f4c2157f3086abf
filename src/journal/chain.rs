//! Reads entries in order and finds the first thing that is wrong with them.

use serde_json::Value;
use uuid::Uuid;

use super::Store;
use super::entry::{Entry, Record, canonical, digest_of};
use super::format::{Format, Reading, migrate};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is not what was written, or does not follow the one before: how it shows.
    Altered(String),
    /// It is not there, and a later one is.
    Missing,
    /// An anchor names a later or another end.
    Truncated(String),
    /// A newer program wrote it.
    TooNew(Format),
}

impl Damage {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Altered(_) => Exit::Altered,
            Self::Missing => Exit::EntryMissing,
            Self::Truncated(_) => Exit::Truncated,
            Self::TooNew(_) => Exit::NotDone,
        }
    }

    /// What is wrong, as a clause about entry `number`.
    pub fn describe(&self, number: u64) -> String {
        match self {
            Self::Altered(how) => format!("entry {number} was altered: {how}"),
            Self::Missing => format!("entry {number} is missing, and later ones exist"),
            Self::Truncated(how) => format!("the end is missing: {how}"),
            Self::TooNew(format) => format!("entry {number} has format {format}"),
        }
    }

    pub(super) fn failure(&self, environment: &str, number: u64, place: &str) -> Failure {
        let failure = |what: &str| Failure::new(self.exit(), what).because(self.describe(number));
        match self {
            Self::TooNew(_) => failure(&format!("the journal of `{environment}` was written by a newer program"))
                .hint("use that version of sre-provision, or a newer one"),
            Self::Altered(_) | Self::Missing | Self::Truncated(_) => {
                failure(&format!("the journal of `{environment}` is damaged"))
                    .because(place)
                    .hint("bring the file back from a copy; nothing is changed while the journal is in doubt")
            }
        }
    }
}

/// How many entries are read at once: a number far too high must not ask for memory before the gap is found.
const BATCH: u64 = 1_000;

/// Follows all entries of a store to the first that is damaged, or that `visit` finds to be so.
pub(super) async fn follow_all(
    store: &dyn Store,
    chain: &mut Chain,
    mut visit: impl FnMut(Entry) -> Result<(), Damage>,
) -> Result<Option<(u64, Damage)>, Failure> {
    let last = store.last().await?;
    while chain.number < last {
        let first = chain.number + 1;
        for (number, bytes) in (first..).zip(store.read(first..=last.min(first + BATCH - 1)).await?) {
            if let Err(damage) = chain.follow(bytes.as_deref()).and_then(&mut visit) {
                return Ok(Some((number, damage)));
            }
        }
    }
    Ok(None)
}

/// The end of a chain of verified entries.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    environment: Uuid,
    pub number: u64,
    pub head: Option<Digest>,
    pub epoch: u64,
    /// The newest format that was met, if it is newer than ours.
    pub newer: Option<Format>,
}

impl Chain {
    pub fn new(environment: Uuid) -> Self {
        Self { environment, number: 0, head: None, epoch: 0, newer: None }
    }

    /// Verifies that these bytes are the next entry.
    pub fn follow(&mut self, bytes: Option<&[u8]>) -> Result<Entry, Damage> {
        let value: Value = serde_json::from_slice(bytes.ok_or(Damage::Missing)?)
            .map_err(|error| altered(format!("no JSON: {error}")))?;
        let format = format_of(&value)?;
        let digest = self.digest(bytes.unwrap_or_default(), &value)?;
        let reading = format.reading();
        if reading == Reading::NewerMajor {
            return Err(Damage::TooNew(format));
        }
        if reading == Reading::NewerMinor {
            self.newer = self.newer.max(Some(format));
        }
        let entry: Entry =
            serde_json::from_value(migrate(value, format)).map_err(|error| altered(error.to_string()))?;
        if entry.record == Record::Unrecognised && reading == Reading::Known {
            return Err(altered("its kind is unknown".to_owned()));
        }
        self.check(&entry)?;
        self.advance(&entry, digest);
        Ok(entry)
    }

    /// Takes a verified or just written entry as the new end.
    pub fn advance(&mut self, entry: &Entry, digest: Digest) {
        self.number = entry.number;
        self.epoch = entry.epoch;
        self.head = Some(digest);
    }

    fn digest(&self, bytes: &[u8], value: &Value) -> Result<Digest, Damage> {
        let refused = |error: serde_json::Error| altered(error.to_string());
        if canonical(value).map_err(refused)? != bytes {
            return Err(altered("it is not in the form that is written".to_owned()));
        }
        let claimed = value.get("digest").and_then(Value::as_str);
        let digest = digest_of(&mut value.clone()).map_err(refused)?;
        // As text: its letters are lower case, and another case is another byte.
        if claimed != Some(digest.as_str()) {
            return Err(altered("its content does not match its digest".to_owned()));
        }
        Ok(digest)
    }

    fn check(&self, entry: &Entry) -> Result<(), Damage> {
        if entry.number != self.number + 1 {
            return Err(altered(format!("it says that it is entry {}", entry.number)));
        }
        if entry.environment != self.environment {
            return Err(altered(format!("it belongs to environment {}", entry.environment)));
        }
        if entry.previous != self.head {
            return Err(altered(format!("it does not follow entry {}", self.number)));
        }
        if entry.epoch < self.epoch {
            return Err(altered("its epoch is lower than that of the entry before".to_owned()));
        }
        Ok(())
    }
}

fn format_of(value: &Value) -> Result<Format, Damage> {
    let text = value.get("version").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| altered("it has no format version".to_owned()))
}

fn altered(how: String) -> Damage {
    Damage::Altered(how)
}
