//! Measures every node against the profile and corrects what deviates.
//!
//! The image is hardened already, so on most nodes there is nothing to do and Ansible does not start. A node that does
//! not come through is left out of the artifact, and by what needs it.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::json;

use crate::artifact::{Access, Artifact, Hardening, Kind, Measured};
use crate::compliance::{Catalogue, Report, Status};
use crate::environment::{Environment, HardeningProfile, NodeName};
use crate::event::NodeState;
use crate::failure::Failure;
use crate::fingerprint::Inputs;
use crate::stages::joining::{machine, play};
use crate::stages::several::several;
use crate::stages::{Context, Given, Made, Presence, Stage, Step, packages};

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
        let all: Vec<NodeName> = access.nodes.keys().cloned().collect();
        let (mut reports, mut failures) = parted(measure_all(&catalogue, &all, &access, cx).await)?;
        let deviating: Vec<NodeName> =
            reports.iter().filter(|(_, report)| !report.open().is_empty()).map(|(node, _)| node.clone()).collect();
        if !deviating.is_empty() && profile != HardeningProfile::None {
            let (corrected, uncorrected) = parted(correct(self, &deviating, &access, cx).await?)?;
            let corrected: Vec<NodeName> = corrected.into_keys().collect();
            let (again, silent) = parted(measure_all(&catalogue, &corrected, &access, cx).await)?;
            reports.retain(|node, _| !deviating.contains(node));
            reports.extend(again);
            failures.extend(uncorrected.into_iter().chain(silent));
        }
        for (node, failure) in &failures {
            cx.node(node, NodeState::Failed, failure.what());
        }
        let mut nodes = BTreeMap::new();
        for (node, report) in reports {
            let measured = report.measured(&machine(&access, &node)?);
            cx.node(&node, NodeState::Done, words(&report, &measured));
            nodes.insert(node, measured);
        }
        let short = (!failures.is_empty()).then(|| several(&failures, all.len(), "are not hardened").of(cx.stage));
        match short {
            Some(failure) if nodes.is_empty() => Err(failure),
            short => {
                let artifact = Artifact::Hardening(Hardening { profile: profile.name().to_owned(), nodes });
                Ok(Made { artifact, short })
            }
        }
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

/// What there is of each node.
type Each<T> = Vec<(NodeName, Result<T, Failure>)>;
type Failed = Vec<(NodeName, Failure)>;

/// These nodes side by side; one that does not answer keeps back no other.
async fn measure_all(catalogue: &Catalogue, nodes: &[NodeName], access: &Access, cx: &Context<'_>) -> Each<Report> {
    let measured = nodes.iter().map(async |node| (node.clone(), measure(catalogue, node, access, cx).await));
    join_all(measured).await
}

/// Those that came through and those that did not.
///
/// # Errors
/// One was told to stop: that is no fault of its node.
fn parted<T>(each: Each<T>) -> Result<(BTreeMap<NodeName, T>, Failed), Failure> {
    let (mut through, mut failures) = (BTreeMap::new(), Vec::new());
    for (node, result) in each {
        match result {
            Ok(one) => drop(through.insert(node, one)),
            Err(failure) if failure.is_cancelled() => return Err(failure),
            Err(failure) => failures.push((node, failure)),
        }
    }
    Ok((through, failures))
}

/// Runs the role on the nodes that deviate, in one play; each is a step of its own.
async fn correct(
    stage: &HardeningStage,
    deviating: &[NodeName],
    access: &Access,
    cx: &Context<'_>,
) -> Result<Each<()>, Failure> {
    let mut steps = Vec::new();
    for node in deviating {
        let machine = machine(access, node)?;
        let inputs = stage.inputs(cx.env).value("machine", &machine);
        let step = Step::new(node.0.clone(), inputs, format!("{node} on {machine}"));
        cx.begin(&step).await?;
        cx.node(node, NodeState::Working, "correcting");
        steps.push(step);
    }
    let vars = json!({ "os_hardening_profile": cx.env.hardening.profile.name(), "os_hardening_live": true,
        "os_hardening_dnf_conf": packages::configuration(cx) });
    let played = play(cx, ("correct", "hardening.yml"), deviating, vars, &[]).await;
    let mut each = Vec::new();
    for (node, step) in deviating.iter().zip(&steps) {
        let result = played.as_ref().map_err(Clone::clone).and_then(|played| played.ok(node));
        cx.finish(step, &result).await?;
        each.push((node.clone(), result));
    }
    Ok(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn node(name: &str) -> NodeName {
        NodeName(name.to_owned())
    }

    #[test]
    fn a_node_that_fails_keeps_back_no_other() {
        let failure = Failure::new(Exit::Tool, "Ansible failed on `general-2`");

        let (through, failures) =
            parted(vec![(node("general-1"), Ok(1)), (node("general-2"), Err(failure)), (node("server-1"), Ok(3))])
                .expect("nobody was told to stop");

        assert_eq!(through, BTreeMap::from([(node("general-1"), 1), (node("server-1"), 3)]));
        assert_eq!(failures.len(), 1);
        assert_eq!((&failures[0].0, failures[0].1.what()), (&node("general-2"), "Ansible failed on `general-2`"));
    }

    #[test]
    fn a_stop_is_not_taken_for_a_node_that_failed() {
        let each: Each<()> = vec![(node("general-1"), Err(Failure::cancelled("told to stop")))];

        assert!(parted(each).expect_err("stopped").is_cancelled());
    }
}
