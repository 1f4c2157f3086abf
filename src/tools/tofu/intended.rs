//! What a plan would do, as OpenTofu's stream tells it.
//!
//! # Why
//! `tofu show` tells the planned values too, and starts the provider again for it, which takes longer than many a plan:
//! it is asked only where values are looked for, in [`plan`](super::plan) (2026-11-21).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::failure::{Exit, Failure};
use crate::tools::tofu::stream::{Changes, short};

/// The changes of one plan.
#[derive(Debug, Default)]
pub(super) struct Intended {
    changes: Vec<Change>,
    outputs: BTreeMap<String, Output>,
}

/// A `planned_change`: what would happen to one resource.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    resource: Resource,
    action: String,
    reason: Option<String>,
    importing: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    addr: String,
    resource_type: String,
    resource_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Output {
    #[serde(default)]
    action: String,
}

impl Change {
    fn is_nothing(&self) -> bool {
        self.importing.is_none() && matches!(self.action.as_str(), "noop" | "read")
    }

    fn destroys(&self) -> bool {
        matches!(self.action.as_str(), "delete" | "replace")
    }

    /// It is to be replaced for no other reason than its mark: it was broken off while it was made.
    fn is_tainted(&self) -> bool {
        self.reason.as_deref() == Some("tainted")
    }

    /// The key of one of several, such as `server-1` of `node["server-1"]`.
    fn key(&self) -> Option<&str> {
        self.resource.addr.rsplit_once("[\"")?.1.strip_suffix("\"]")
    }

    /// Named by its type, or by type and name such as `aws_instance.node`.
    fn is_one_of(&self, protected: &[String]) -> bool {
        let Resource { resource_type, resource_name, .. } = &self.resource;
        let full = format!("{resource_type}.{resource_name}");
        protected.iter().any(|name| name == resource_type || *name == full)
    }
}

impl Intended {
    pub(super) fn changes(&mut self, change: Change) {
        self.changes.push(change);
    }

    pub(super) fn outputs(&mut self, outputs: BTreeMap<String, Output>) {
        self.outputs = outputs;
    }

    pub(super) fn is_something(&self) -> bool {
        self.count() > 0 || self.outputs.values().any(|output| !matches!(output.action.as_str(), "" | "noop"))
    }

    /// # Errors
    /// The plan destroys more than was read of it: whether that is protected, nobody knows.
    pub(super) fn is_all_of(&self, summary: &Changes) -> Result<(), Failure> {
        let known = self.changes.iter().filter(|change| change.destroys()).count();
        if usize::try_from(summary.remove).is_ok_and(|remove| remove <= known) {
            return Ok(());
        }
        Err(Failure::new(Exit::Tool, "the plan of tofu cannot be read")
            .because(format!("it destroys {} resources and names {known} of them", summary.remove)))
    }

    /// Resources that an apply would touch.
    pub(super) fn count(&self) -> usize {
        self.changes.iter().filter(|change| !change.is_nothing()).count()
    }

    /// Whether something is to be replaced for no other reason than its mark.
    pub(super) fn has_tainted(&self) -> bool {
        self.changes.iter().any(Change::is_tainted)
    }

    /// What was broken off while it was made, and is none of those that live, may be replaced.
    ///
    /// # Errors
    /// Exit 9, naming what would go.
    pub(super) fn refuse_to_destroy(
        &self,
        protected: &[String],
        living: Option<&BTreeSet<String>>,
    ) -> Result<(), Failure> {
        let lives = |change: &Change| match (living, change.key()) {
            (Some(living), Some(key)) => !change.is_tainted() || living.contains(key),
            (None, _) | (_, None) => true,
        };
        let doomed = self.changes.iter().filter(|one| one.destroys() && one.is_one_of(protected) && lives(one));
        let doomed: Vec<_> = doomed.map(|change| format!("`{}`", short(&change.resource.addr))).collect();
        if doomed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Exit::Approval, format!("tofu would destroy what a cluster lives on: {}", doomed.join(", ")))
            .because("no apply destroys or replaces a node, the network or the load balancer")
            .hint("take back the change of the environment file or of `tofu/` that asks for it")
            .hint("where it must be: `down`, then `up`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Kind;
    use crate::event::Events;
    use crate::tools::tofu::stream::Stream;

    fn intended(lines: &str) -> Intended {
        let (events, _) = Events::channel();
        let mut stream = Stream::new(Kind::Network, &events, 0);
        lines.lines().for_each(|line| stream.line(line));
        stream.intended
    }

    /// A plan with one change of a resource `node` of this type.
    fn plan(kind: &str, action: &str, more: &str) -> Intended {
        intended(&format!(
            r#"{{"type":"planned_change","change":{{"resource":{{"addr":"module.nodes.{kind}.node[\"server-1\"]","resource_type":"{kind}","resource_name":"node"}},"action":"{action}"{more}}}}}"#
        ))
    }

    #[test]
    fn a_plan_is_read_from_what_tofu_says_of_it() {
        let plan = intended(include_str!("../../../tests/fixtures/tofu-1.12.6-plan.jsonl"));

        let doomed = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            plan.refuse_to_destroy(&names, None).err().map(|failure| failure.what().to_owned())
        };
        assert_eq!((plan.count(), plan.is_something(), plan.has_tainted()), (4, true, true));
        assert_eq!(doomed(&["terraform_data.changed"]), None);
        assert_eq!(
            doomed(&["terraform_data.replaced", "terraform_data.gone"]).as_deref(),
            Some("tofu would destroy what a cluster lives on: `terraform_data.gone[0]`, `terraform_data.replaced`")
        );
    }

    #[test]
    fn an_import_is_a_change_though_its_action_is_none() {
        let nothing = plan("aws_vpc", "noop", "");
        let import = plan("aws_vpc", "noop", r#","importing":{"id":"vpc-1"}"#);

        assert_eq!((nothing.is_something(), import.is_something()), (false, true));
    }

    #[test]
    fn an_output_alone_is_a_change() {
        let changed = intended(r#"{"type":"outputs","outputs":{"id":{"sensitive":false,"action":"update"}}}"#);
        let same = intended(r#"{"type":"outputs","outputs":{"id":{"sensitive":false,"action":"noop"}}}"#);

        assert_eq!((changed.is_something(), same.is_something()), (true, false));
    }

    #[test]
    fn a_machine_is_not_replaced_by_an_apply() {
        let protected = ["aws_instance".to_owned()];
        let failure = plan("aws_instance", "replace", "").refuse_to_destroy(&protected, None).expect_err("refused");

        assert_eq!(failure.exit(), Exit::Approval);
        assert_eq!(failure.what(), "tofu would destroy what a cluster lives on: `aws_instance.node[\"server-1\"]`");
        assert_eq!(failure.hints()[0], "take back the change of the environment file or of `tofu/` that asks for it");
        plan("aws_instance", "create", "").refuse_to_destroy(&protected, None).expect("nothing is destroyed");
    }

    #[test]
    fn a_plan_that_destroys_what_it_does_not_name_is_not_trusted() {
        let summary = |remove| Changes { add: 1, change: 0, remove, operation: "plan".to_owned() };
        let replaced = plan("aws_instance", "replace", "");

        let failure = replaced.is_all_of(&summary(2)).expect_err("refused");

        assert_eq!(failure.causes(), ["it destroys 2 resources and names 1 of them"]);
        replaced.is_all_of(&summary(1)).expect("all are named");
    }

    #[test]
    fn a_node_that_was_broken_off_while_it_was_made_may_be_replaced_and_one_that_lives_may_not() {
        let protected = ["aws_instance".to_owned()];
        let living = |name: &str| BTreeSet::from([name.to_owned()]);
        let marked = plan("aws_instance", "replace", r#","reason":"tainted""#);
        let changed = plan("aws_instance", "replace", r#","reason":"cannot_update""#);

        marked.refuse_to_destroy(&protected, Some(&living("server-2"))).expect("server-1 never lived");
        for refused in [
            marked.refuse_to_destroy(&protected, Some(&living("server-1"))),
            marked.refuse_to_destroy(&protected, None),
            changed.refuse_to_destroy(&protected, Some(&living("server-2"))),
        ] {
            assert_eq!(refused.expect_err("refused").exit(), Exit::Approval);
        }
    }

    #[test]
    fn one_resource_of_a_type_can_be_protected_without_the_others() {
        let replaced = plan("aws_instance", "replace", "");

        let failure = replaced.refuse_to_destroy(&["aws_instance.node".to_owned()], None).expect_err("refused");

        assert_eq!(failure.causes(), ["no apply destroys or replaces a node, the network or the load balancer"]);
        replaced.refuse_to_destroy(&["aws_instance.jump".to_owned()], None).expect("another one is protected");
    }
}
