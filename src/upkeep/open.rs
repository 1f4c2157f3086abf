//! The operation that has begun and has not come to its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::stages::Context;

/// The fact that tells of it.
pub const OPEN: &str = "upkeep/open";

/// The fact that tells which operation was given up last, and for which.
const GIVEN_UP: &str = "upkeep/given-up";

/// Whether an open operation gives way to another: a cluster that an upgrade, a rotation of certificates or a restore left
/// beyond help is brought back to a snapshot. A rotation of tokens does not: which of two tokens counts, only it knows.
pub fn gives_way(open: &str, to: &str) -> bool {
    to.starts_with("restore ") && ["restore ", "upgrade ", "certs rotate "].iter().any(|one| open.starts_with(one))
}

/// An operation that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// As typed to go on with it, such as `restore dev NAME`.
    pub command: String,
    /// The run that began it; part of the names of its steps.
    pub run: u32,
    /// What was decided at its beginning and holds to its end.
    #[serde(default)]
    pub details: Value,
}

impl Open {
    /// The open operation among the recorded facts.
    pub fn recorded(facts: &BTreeMap<String, Value>) -> Option<Self> {
        serde_json::from_value(facts.get(OPEN)?.clone()).ok()
    }

    /// The operation of this command, as it was begun before or as it begins now. One that is open and gives way to it is
    /// written down as given up.
    pub async fn begin(cx: &Context<'_>, command: &str, details: impl FnOnce() -> Value) -> Result<Self, Failure> {
        match cx.fact::<Self>(OPEN)? {
            Some(open) if open.command == command => return Ok(open),
            Some(open) => {
                cx.events.notice(format!("`{}` is given up: `{command}` takes its place", open.command));
                // A play that outlived it would restart RKE2 behind our back.
                cx.children.wind_down(&cx.secrets.known()).await?;
                cx.ledger
                    .record_fact(GIVEN_UP, json!({ "command": open.command, "run": open.run, "for": command }))
                    .await?;
            }
            None => {}
        }
        let open = Self { command: command.to_owned(), run: cx.run, details: details() };
        cx.ledger.record_fact(OPEN, json!(open)).await?;
        Ok(open)
    }

    /// It has come to its end.
    pub async fn end(self, cx: &Context<'_>) -> Result<(), Failure> {
        cx.ledger.record_fact(OPEN, Value::Null).await
    }
}
