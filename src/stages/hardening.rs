//! Measures every node against the profile and corrects what deviates.
//!
//! The image is hardened already, so on most nodes there is nothing to do and Ansible does not start.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde_json::json;

use crate::artifact::{Access, Artifact, Hardening, Kind, Measured};
use crate::compliance::{Catalogue, Report, Status};
use crate::environment::{Environment, HardeningProfile, NodeName};
use crate::event::NodeState;
use crate::failure::Failure;
use crate::fingerprint::Inputs;
use crate::stages::joining::{machine, play};
use crate::stages::{Context, Given, Made, Presence, Stage, Step};

pub struct HardeningStage;

#[async_trait]
impl Stage for HardeningStage {
    fn makes(&self) -> Kind {
        Kind::Hardening
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::Access]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            .value("hardening.profile", &env.hardening.profile)
            .tree("ansible/hardening.yml")
            .tree("ansible/roles/os_hardening")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Hardening(hardening) = recorded else { return Ok(Presence::Gone) };
        let access: Access = cx.known.get(Kind::Access)?;
        let catalogue = catalogue(cx)?;
        let mut deviating = Vec::new();
        for (node, measured) in hardening.nodes.iter().filter(|(node, _)| access.nodes.contains_key(*node)) {
            let report = measure(&catalogue, node, &access, cx).await?;
            if report.open().iter().any(|rule| !measured.open.contains(rule)) {
                deviating.push(node.to_string());
            }
        }
        Ok(match deviating[..] {
            [] => Presence::Standing,
            _ => Presence::Altered(format!("{} deviates from {}", deviating.join(", "), hardening.profile)),
        })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let access: Access = given.get(Kind::Access)?;
        let profile = cx.env.hardening.profile;
        let catalogue = catalogue(cx)?;
        let found = measure_all(&catalogue, &access, cx).await?;
        let deviating: Vec<NodeName> =
            found.iter().filter(|(_, report)| !report.open().is_empty()).map(|(node, _)| node.clone()).collect();
        let now = if deviating.is_empty() || profile == HardeningProfile::None {
            found
        } else {
            correct(self, &deviating, &access, cx).await?;
            measure_all(&catalogue, &access, cx).await?
        };
        let mut nodes = BTreeMap::new();
        for (node, report) in now {
            let measured = report.measured(&machine(&access, &node)?);
            cx.node(&node, NodeState::Done, words(&report, &measured));
            nodes.insert(node, measured);
        }
        Ok(Artifact::Hardening(Hardening { profile: profile.name().to_owned(), nodes }).into())
    }

    /// What was changed on a machine goes with the machine.
    async fn destroy(&self, _: Option<&Artifact>, _: &Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// The rules of the profile, from the role itself.
fn catalogue(cx: &Context<'_>) -> Result<Catalogue, Failure> {
    Catalogue::read(&cx.workspace.asset(Path::new(Catalogue::DIR)), cx.env.hardening.profile)
}

fn words(report: &Report, measured: &Measured) -> String {
    let failing = match measured.open.len() {
        0 => String::new(),
        count => format!(", {count} open"),
    };
    format!("{} of {} rules pass{failing}", report.count(Status::Pass), report.findings.len())
}

async fn measure(catalogue: &Catalogue, node: &NodeName, access: &Access, cx: &Context<'_>) -> Result<Report, Failure> {
    let census = cx.connections.census(node, access).await?;
    catalogue.results(&node.0, &census)
}

/// Every node side by side.
async fn measure_all(
    catalogue: &Catalogue,
    access: &Access,
    cx: &Context<'_>,
) -> Result<Vec<(NodeName, Report)>, Failure> {
    let measured =
        access.nodes.keys().map(async |node| Ok((node.clone(), measure(catalogue, node, access, cx).await?)));
    try_join_all(measured).await
}

/// Runs the role on the nodes that deviate, in one play.
async fn correct(
    stage: &HardeningStage,
    deviating: &[NodeName],
    access: &Access,
    cx: &Context<'_>,
) -> Result<(), Failure> {
    let names: Vec<&str> = deviating.iter().map(|node| node.0.as_str()).collect();
    for node in deviating {
        cx.node(node, NodeState::Working, "correcting");
    }
    let machines = deviating.iter().map(|node| machine(access, node)).collect::<Result<Vec<_>, _>>()?;
    let step = Step::new("correct", stage.inputs(cx.env).value("machines", &machines), names.join(", "));
    let vars = json!({ "os_hardening_profile": cx.env.hardening.profile.name(), "os_hardening_live": true });
    let act = async || {
        let played = play(cx, ("correct", "hardening.yml"), deviating, vars, &[]).await?;
        played.all_ok(deviating)
    };
    cx.step(step, async |_: &()| Ok(false), act).await
}
