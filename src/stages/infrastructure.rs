//! What the OpenTofu stages share: a root in the state directory, written anew for each run, that a person can
//! also use with plain `tofu`.

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::artifact::{Artifact, Kind};
use crate::cloud::{Cloud, Tags};
use crate::failure::{Exit, Failure};
use crate::identity::tag_of;
use crate::stages::{Context, Presence};
use crate::tools::ToolCx;
use crate::tools::tofu::{self, Backend, Finder, Outputs, Root};

/// The root of this stage with its values; strings among them are taken literally by OpenTofu.
pub fn root(cx: &Context<'_>, mut values: Value) -> Result<Root, Failure> {
    let platform = cx.env.platform.to_string();
    let template = cx.workspace.asset(Path::new("tofu/roots")).join(&platform).join(cx.stage.name());
    let own = json!({ "environment_id": cx.identity.id.to_string(), "name": cx.identity.name });
    let place = match &cx.env.vsphere {
        Some(place) => json!({ "vcenter": place.server }),
        None => json!({
            "region": cx.identity.region,
            "account_id": cx.identity.account,
            "default_tags": cx.identity.tags(),
        }),
    };
    for common in [own, place] {
        if let (Value::Object(values), Value::Object(common)) = (&mut values, common) {
            values.extend(common);
        }
    }
    let backend = cx.env.state_place().map(|place| Backend {
        key: format!("{}/{}/tofu/{}.tfstate", place.prefix, cx.identity.id, cx.stage),
        bucket: place.bucket,
        region: place.region,
    });
    Ok(Root::of(&template, cx.state.tofu(cx.stage), values)?.kept_in(backend))
}

/// What a running cluster lives on: no apply destroys or replaces any of it, whatever its plan says.
const LASTING: [&str; 6] =
    ["aws_instance.node", "aws_vpc", "aws_subnet", "aws_lb", "vsphere_virtual_machine.node", "vsphere_folder"];

/// Applies the root and reads its outputs.
pub async fn apply(cx: &Context<'_>, values: Value) -> Result<Outputs, Failure> {
    let root = root(cx, values)?.protecting(&LASTING).with_living(living(cx)).of_new_environment(cx.is_new);
    tofu::apply(&tool_cx(cx), &root, &ByCloud(cx.cloud)).await
}

/// The nodes that were ever recorded: any of them may be a member of the cluster.
fn living(cx: &Context<'_>) -> BTreeSet<String> {
    match cx.known.artifact(Kind::Nodes) {
        Some(Artifact::Nodes(nodes)) => nodes.nodes.keys().map(|name| name.0.clone()).collect(),
        Some(_) | None => BTreeSet::new(),
    }
}

/// Takes the stage's part of an environment away that goes as a whole.
///
/// A rule that a person put between two of its security groups is in no state, and OpenTofu would wait for the groups
/// until it gives up: they are freed of each other first.
pub async fn take_away(cx: &Context<'_>) -> Result<(), Failure> {
    cx.cloud.untie(&own(cx)).await?;
    destroy(cx).await
}

/// Destroys what the root's state knows, after an apply that may still run; nothing to do where there never was a root.
pub async fn destroy(cx: &Context<'_>) -> Result<(), Failure> {
    if !cx.state.tofu(cx.stage).join("terraform.tfvars.json").exists() {
        return Ok(());
    }
    let root = root(cx, last_values(&cx.state.tofu(cx.stage))?)?;
    tofu::destroy(&tool_cx(cx), &root).await
}

/// The values of the last apply: OpenTofu wants every variable set, also for a destroy.
fn last_values(dir: &Path) -> Result<Value, Failure> {
    let file = dir.join("terraform.tfvars.json");
    let refused = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::NotDone, format!("cannot read `{}`", file.display())).because(error)
    };
    match std::fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| refused(&error)),
        // A root that was never written whole was never applied.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
        Err(error) => Err(refused(&error)),
    }
}

/// What a tool is given of our world.
pub fn tool_cx<'a>(cx: &'a Context<'_>) -> ToolCx<'a> {
    ToolCx {
        children: cx.children,
        tools: cx.tools,
        state: cx.state,
        run: cx.run,
        stage: cx.stage,
        events: cx.events,
        redact: cx.secrets.known(),
    }
}

/// The tag by which everything of the environment is found.
pub fn own(cx: &Context<'_>) -> Tags {
    tag_of(cx.identity.id)
}

/// Finds resources that tofu lost, by asking the platform.
struct ByCloud<'a>(&'a dyn Cloud);

#[async_trait]
impl Finder for ByCloud<'_> {
    async fn find(&self, resource_type: &str, values: &Value) -> Result<Option<String>, Failure> {
        self.0.find_resource(resource_type, values).await
    }

    async fn is_healthy(&self, resource_type: &str, id: &str) -> Result<bool, Failure> {
        self.0.is_healthy(resource_type, id).await
    }
}

/// Whether the network is there with all its parts, each by its id.
pub(super) async fn standing_network(network: &str, parts: &[String], cx: &Context<'_>) -> Result<Presence, Failure> {
    let found = cx.cloud.existing_networks(network, parts).await?;
    if !found.contains(network) {
        return Ok(Presence::Gone);
    }
    let missing: Vec<&str> = parts.iter().filter(|id| !found.contains(*id)).map(String::as_str).collect();
    Ok(match missing[..] {
        [] => Presence::Standing,
        _ => Presence::Altered(format!("{} is gone", missing.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_is_made_by_our_modules_under_that_name() {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tofu/modules");
        let files = walkdir::WalkDir::new(modules).into_iter().filter_map(Result::ok);
        let files = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "tf"));
        let text: String = files.map(|file| std::fs::read_to_string(file.path()).expect("text")).collect();

        for name in LASTING {
            let (kind, named) = name.split_once('.').unwrap_or((name, ""));
            assert!(text.contains(&format!("resource \"{kind}\" \"{named}")), "no module makes `{name}`");
        }
    }

    #[test]
    fn a_destroy_is_given_the_values_of_the_last_apply() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(last_values(dir.path()).expect("none"), json!({}));
        std::fs::write(dir.path().join("terraform.tfvars.json"), r#"{"vpc_id":"vpc-1"}"#).expect("written");

        assert_eq!(last_values(dir.path()).expect("values"), json!({ "vpc_id": "vpc-1" }));
    }

    #[test]
    fn values_that_cannot_be_read_are_named_by_their_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("terraform.tfvars.json");
        std::fs::write(&file, "{").expect("written");

        let failure = last_values(dir.path()).expect_err("no JSON");

        assert_eq!(failure.what(), format!("cannot read `{}`", file.display()));
    }
}
