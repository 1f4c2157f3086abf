//! Reads what OpenTofu intends (`tofu show -json`, format 1.x).

use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::tools::tofu::stream::short;

#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    #[serde(default)]
    pub resource_changes: Vec<Resource>,
    #[serde(default)]
    output_changes: std::collections::BTreeMap<String, Change>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    pub address: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    name: String,
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

impl Change {
    fn is(&self, action: &str) -> bool {
        self.actions.iter().any(|known| known == action)
    }

    fn is_nothing(&self) -> bool {
        self.importing.is_none() && self.actions.iter().all(|action| action == "no-op" || action == "read")
    }
}

impl Resource {
    /// It is to be made, and no import of it is planned.
    pub(super) fn is_new(&self) -> bool {
        self.change.actions == ["create"] && self.change.importing.is_none()
    }

    /// Named by its type, or by type and name such as `aws_instance.node`.
    fn is_one_of(&self, protected: &[String]) -> bool {
        let full = format!("{}.{}", self.kind, self.name);
        protected.iter().any(|name| *name == self.kind || *name == full)
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

    pub(super) fn changes_something(&self) -> bool {
        self.changes() > 0 || self.output_changes.values().any(|change| !change.is_nothing())
    }

    /// Resources that an apply would touch.
    pub(super) fn changes(&self) -> usize {
        self.resource_changes.iter().filter(|resource| !resource.change.is_nothing()).count()
    }

    pub(super) fn has_tainted(&self) -> bool {
        self.resource_changes.iter().any(Resource::is_tainted)
    }

    /// # Errors
    /// Exit 9, naming what would go.
    pub(super) fn refuse_to_destroy(&self, protected: &[String]) -> Result<(), Failure> {
        let doomed = self
            .resource_changes
            .iter()
            .filter(|resource| resource.change.is("delete") && resource.is_one_of(protected));
        let doomed: Vec<_> = doomed.map(|resource| format!("`{}`", short(&resource.address))).collect();
        if doomed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Approval,
            format!("tofu would destroy {} of the machines that are to stay: {}", doomed.len(), doomed.join(", ")),
        )
        .because("machines are only ever replaced one by one, never by an apply"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kind: &str, actions: &str, more: &str) -> Plan {
        let text = format!(
            r#"{{"format_version":"1.2","resource_changes":[{{"address":"module.nodes.{kind}.node[\"server-1\"]","type":"{kind}","name":"node",
                "change":{{"actions":{actions},"before":null,"after":{{}}{more}}}}}]}}"#
        );
        Plan::parse(&text).expect("a plan")
    }

    #[test]
    fn an_import_is_a_change_though_its_action_is_none() {
        let nothing = plan("aws_vpc", r#"["no-op"]"#, "");
        let import = plan("aws_vpc", r#"["no-op"]"#, r#","importing":{"id":"vpc-1"}"#);

        assert_eq!((nothing.changes_something(), import.changes_something()), (false, true));
        assert!(!import.resource_changes[0].is_new());
    }

    #[test]
    fn a_machine_is_not_replaced_by_an_apply() {
        let protected = ["aws_instance".to_owned()];
        let replaced = plan("aws_instance", r#"["delete","create"]"#, "");
        let made = plan("aws_instance", r#"["create"]"#, "");

        let failure = replaced.refuse_to_destroy(&protected).expect_err("refused");

        assert_eq!(failure.exit(), Exit::Approval);
        assert_eq!(
            failure.what(),
            "tofu would destroy 1 of the machines that are to stay: `aws_instance.node[\"server-1\"]`"
        );
        made.refuse_to_destroy(&protected).expect("nothing is destroyed");
    }

    #[test]
    fn one_resource_of_a_type_can_be_protected_without_the_others() {
        let replaced = plan("aws_instance", r#"["delete","create"]"#, "");

        let failure = replaced.refuse_to_destroy(&["aws_instance.node".to_owned()]).expect_err("refused");

        assert_eq!(failure.causes(), ["machines are only ever replaced one by one, never by an apply"]);
        replaced.refuse_to_destroy(&["aws_instance.jump".to_owned()]).expect("another one is protected");
    }
}
