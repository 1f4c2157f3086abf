//! What the three OpenTofu stages share: a root in the state directory, written anew for each run, that a person can
//! also use with plain `tofu`.

use std::path::Path;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::cloud::{Cloud, Tags};
use crate::failure::Failure;
use crate::identity::TAG_ENVIRONMENT;
use crate::stages::Context;
use crate::tools::ToolCx;
use crate::tools::tofu::{self, Finder, Outputs, Root};

/// The root of this stage with its values; strings among them are taken literally by OpenTofu.
pub fn root(cx: &Context<'_>, mut values: Value) -> Result<Root, Failure> {
    let platform = cx.env.platform.to_string();
    let template = cx.workspace.asset(Path::new("tofu/roots")).join(&platform).join(cx.stage.name());
    let common = json!({
        "region": cx.identity.region,
        "account_id": cx.identity.account,
        "default_tags": cx.identity.tags(),
        "environment_id": cx.identity.id.to_string(),
        "name": cx.identity.name,
    });
    if let (Value::Object(values), Value::Object(common)) = (&mut values, common) {
        values.extend(common);
    }
    Root::of(&template, cx.state.tofu(cx.stage), values)
}

/// Applies the root and reads its outputs.
pub async fn apply(cx: &Context<'_>, values: Value) -> Result<Outputs, Failure> {
    let finder = ByCloud(cx.cloud);
    tofu::apply(&tool_cx(cx), &root(cx, values)?, &finder).await
}

/// Destroys what the root's state knows; nothing to do where there is none.
pub async fn destroy(cx: &Context<'_>) -> Result<(), Failure> {
    let dir = cx.state.tofu(cx.stage);
    if !dir.join("terraform.tfstate").exists() {
        return Ok(());
    }
    // A root wants all its variables, also to be destroyed: those it was applied with.
    let applied = std::fs::read(dir.join("terraform.tfvars.json")).ok();
    let values = applied.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_else(|| json!({}));
    let root = root(cx, values)?;
    tofu::destroy(&tool_cx(cx), &root, &ByCloud(cx.cloud)).await
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
    Tags::from([(TAG_ENVIRONMENT.to_owned(), cx.identity.id.to_string())])
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
