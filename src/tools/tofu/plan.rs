//! The planned values of resources (`tofu show -json`, format 1.x), by which what exists is found.

use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Exit, Failure};

#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    #[serde(default)]
    pub resource_changes: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    pub address: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub change: Change,
    action_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Change {
    actions: Vec<String>,
    #[serde(default)]
    pub before: Value,
    #[serde(default)]
    pub after: Value,
    importing: Option<Value>,
}

impl Resource {
    /// It is to be made, and no import of it is planned.
    pub(super) fn is_new(&self) -> bool {
        self.change.actions == ["create"] && self.change.importing.is_none()
    }

    /// It is to be replaced for no other reason than its mark.
    pub(super) fn is_tainted(&self) -> bool {
        self.action_reason.as_deref() == Some("replace_because_tainted")
    }
}

impl Plan {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        serde_json::from_str(text)
            .map_err(|error| Failure::new(Exit::Tool, "the plan of tofu cannot be read").because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_import_is_planned_for_is_not_new() {
        let plan = |importing: &str| {
            let change = format!(r#"{{"actions":["create"],"before":null,"after":{{}}{importing}}}"#);
            let text =
                format!(r#"{{"resource_changes":[{{"address":"aws_vpc.this","type":"aws_vpc","change":{change}}}]}}"#);
            Plan::parse(&text).expect("a plan").resource_changes[0].is_new()
        };

        assert_eq!((plan(""), plan(r#","importing":{"id":"vpc-1"}"#)), (true, false));
    }
}
