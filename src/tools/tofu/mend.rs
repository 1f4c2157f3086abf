//! Brings state and platform together: what exists but is not recorded, and what is marked as broken but whole.

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::tools::tofu::Finder;
use crate::tools::tofu::plan::{Plan, Resource};

/// How many questions the platform is asked at the same time.
const AT_ONCE: usize = 6;

/// What is to be corrected in the state.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mends {
    /// Address and import id.
    pub import: Vec<(String, String)>,
    /// Addresses.
    pub untaint: Vec<String>,
}

impl Mends {
    pub(super) fn is_empty(&self) -> bool {
        self.import.is_empty() && self.untaint.is_empty()
    }

    /// Import blocks for the next plan.
    pub(super) fn blocks(&self) -> Value {
        let blocks: Vec<_> = self.import.iter().map(|(address, id)| json!({ "to": address, "id": id })).collect();
        json!({ "import": blocks })
    }
}

/// Asks the platform about every resource that the plan would make or replace for its mark.
pub(super) async fn look(plan: &Plan, finder: &dyn Finder) -> Result<Mends, Failure> {
    let mut mends = Mends::default();
    let new: Vec<&Resource> = plan.resource_changes.iter().filter(|resource| resource.is_new()).collect();
    for some in new.chunks(AT_ONCE) {
        let mut questions = Vec::new();
        for resource in some {
            questions.push(find(resource, finder));
        }
        mends.import.extend(try_join_all(questions).await?.into_iter().flatten());
    }
    for resource in plan.resource_changes.iter().filter(|resource| resource.is_tainted()) {
        if is_whole(resource, finder).await? {
            mends.untaint.push(resource.address.clone());
        }
    }
    Ok(mends)
}

async fn find(resource: &Resource, finder: &dyn Finder) -> Result<Option<(String, String)>, Failure> {
    let id = finder.find(&resource.kind, &resource.change.after).await?;
    Ok(id.map(|id| (resource.address.clone(), id)))
}

async fn is_whole(resource: &Resource, finder: &dyn Finder) -> Result<bool, Failure> {
    match resource.change.before.get("id").and_then(Value::as_str) {
        Some(id) => finder.is_healthy(&resource.kind, id).await,
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    struct Platform;

    #[async_trait]
    impl Finder for Platform {
        async fn find(&self, resource_type: &str, values: &Value) -> Result<Option<String>, Failure> {
            let name = values["tags_all"]["Name"].as_str().unwrap_or_default();
            Ok((resource_type == "aws_vpc" && name == "dev").then(|| "vpc-1".to_owned()))
        }

        async fn is_healthy(&self, _resource_type: &str, id: &str) -> Result<bool, Failure> {
            Ok(id == "whole")
        }
    }

    #[tokio::test]
    async fn what_exists_is_imported_and_what_is_whole_loses_its_mark() {
        let plan = Plan::parse(
            r#"{"resource_changes":[
              {"address":"module.a.aws_vpc.this","type":"aws_vpc","change":{"actions":["create"],"after":{"tags_all":{"Name":"dev"}}}},
              {"address":"aws_vpc.other","type":"aws_vpc","change":{"actions":["create"],"after":{"tags_all":{"Name":"other"}}}},
              {"address":"aws_vpc.known","type":"aws_vpc","change":{"actions":["no-op"],"after":{"tags_all":{"Name":"dev"}}}},
              {"address":"aws_lb.a[\"x\"]","type":"aws_lb","action_reason":"replace_because_tainted","change":{"actions":["delete","create"],"before":{"id":"whole"}}},
              {"address":"aws_lb.b","type":"aws_lb","action_reason":"replace_because_tainted","change":{"actions":["delete","create"],"before":{"id":"broken"}}}
            ]}"#,
        )
        .expect("a plan");

        let mends = look(&plan, &Platform).await.expect("mends");

        assert_eq!(mends.import, [("module.a.aws_vpc.this".to_owned(), "vpc-1".to_owned())]);
        assert_eq!(mends.untaint, ["aws_lb.a[\"x\"]"]);
        assert_eq!(mends.blocks(), json!({ "import": [{ "to": "module.a.aws_vpc.this", "id": "vpc-1" }] }));
    }
}
