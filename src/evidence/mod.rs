//! A pack of evidence: what was measured on every node of an environment, in the forms that assessors read, signed.
//!
//! This room turns reports of `compliance` into files and proves later that they are as they were. It asks nobody and
//! writes nothing: whoever calls it does. Checklists and OSCAL carry identifiers that follow from names, so that the same
//! findings give the same files.
//!
//! # Sources
//! Checklist: the form of STIG Viewer 3 (`.cklb`) as its readers take it. OSCAL 1.1 to 1.2: <https://pages.nist.gov/OSCAL>.

mod cklb;
mod oscal;
mod pack;
mod page;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::{Builder, Uuid};

use crate::compliance::{Class, Finding, Published, Report, Severity, Status};
use crate::environment::{HardeningProfile, NodeName};
use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::hardening::Waiver;

pub use pack::{MANIFEST, Manifest, SIGNATURE, Wrong, files_of};

/// What was measured, and of what.
#[derive(Debug)]
pub struct Subject {
    pub environment: String,
    pub id: Uuid,
    pub profile: HardeningProfile,
    pub taken: Timestamp,
    pub rke2: String,
    pub nodes: BTreeMap<NodeName, Machine>,
    /// Every rule of the profile.
    pub rules: Vec<Published>,
    pub waivers: Vec<Applied>,
    /// What was recorded of images, as the journal has it.
    pub images: Value,
    /// The entries of the last run, as they lie in the journal.
    pub journal: Vec<Value>,
}

/// One node.
#[derive(Debug)]
pub struct Machine {
    /// The machine's id on its platform.
    pub machine: String,
    pub address: String,
    /// What was found, or why the node could not be asked.
    pub report: Result<Report, String>,
}

/// A waiver of the environment file, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    #[serde(flatten)]
    pub waiver: Waiver,
    pub expired: bool,
    /// Something that it covers fails.
    pub used: bool,
}

/// How many rules have each result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    pub pass: usize,
    pub fail: usize,
    /// They fail for a reason that is known.
    pub excepted: usize,
    /// They fail, and somebody answers for it until a day that is not over.
    pub waived: usize,
    pub not_applicable: usize,
    pub not_reviewed: usize,
    pub unknown: usize,
}

impl Score {
    fn add(&mut self, finding: &Finding) {
        let counter = match finding.status {
            Status::Pass => &mut self.pass,
            Status::Fail if finding.excepted.is_some() => &mut self.excepted,
            Status::Fail if finding.is_waived() => &mut self.waived,
            Status::Fail => &mut self.fail,
            Status::NotApplicable => &mut self.not_applicable,
            Status::NotReviewed | Status::NotLookedAt => &mut self.not_reviewed,
            Status::Unknown => &mut self.unknown,
        };
        *counter += 1;
    }
}

impl Subject {
    /// What a rule came to on a node; a rule that nothing says anything of is not reviewed.
    fn finding(&self, node: &NodeName, rule: &Published) -> Finding {
        let none = |status, observed: &str| Finding {
            status,
            observed: observed.to_owned(),
            wanted: rule.about().to_owned(),
            excepted: None,
            waived: None,
        };
        match self.nodes.get(node).map(|machine| &machine.report) {
            Some(Ok(report)) => match report.findings.get(&rule.id) {
                Some(finding) => finding.clone(),
                None => none(Status::NotReviewed, "nothing was looked at"),
            },
            Some(Err(why)) => none(Status::Unknown, why),
            None => none(Status::Unknown, "the node was not asked"),
        }
    }

    /// Per severity, and in all under `None`.
    pub fn score(&self, node: &NodeName) -> BTreeMap<Option<Severity>, Score> {
        let mut scores = BTreeMap::from([(None, Score::default())]);
        for rule in &self.rules {
            let finding = self.finding(node, rule);
            scores.entry(None).or_default().add(&finding);
            if rule.severity.is_some() {
                scores.entry(rule.severity).or_default().add(&finding);
            }
        }
        scores
    }

    /// How many checks are of each class, per severity, and in all under `all`.
    pub fn classes(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, usize>> {
        let mut counts = BTreeMap::from([("all", no_classes())]);
        for rule in &self.rules {
            for row in ["all"].into_iter().chain(rule.severity.map(Severity::name)) {
                *counts.entry(row).or_insert_with(no_classes).entry(rule.class.name()).or_default() += 1;
            }
        }
        counts
    }

    /// The files of the pack, by name.
    ///
    /// # Errors
    /// One cannot be written down, which is a bug.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let mut files = BTreeMap::from([
            ("results.json".to_owned(), json(&self.results())?),
            ("journal.json".to_owned(), json(&self.journal)?),
            ("index.html".to_owned(), page::page(self)?.into_bytes()),
        ]);
        if self.profile == HardeningProfile::Stig {
            for (node, machine) in &self.nodes {
                files.insert(format!("checklists/{node}.cklb"), json(&cklb::checklist(self, node, machine))?);
            }
            files.insert("oscal/assessment-results.json".to_owned(), json(&oscal::assessment_results(self))?);
            files.insert("oscal/component-definition.json".to_owned(), json(&oscal::component_definition(self))?);
            files.insert("oscal/system-security-plan.json".to_owned(), json(&oscal::system_security_plan(self))?);
        }
        Ok(files)
    }

    fn results(&self) -> Value {
        let nodes: BTreeMap<&NodeName, Value> = self
            .nodes
            .iter()
            .map(|(node, machine)| {
                let severities: BTreeMap<&str, Score> = self
                    .score(node)
                    .into_iter()
                    .map(|(severity, score)| (severity.map_or("all", Severity::name), score))
                    .collect();
                let findings: BTreeMap<&str, Told> = self
                    .rules
                    .iter()
                    .map(|rule| (rule.id.as_str(), Told::of(self.finding(node, rule), rule)))
                    .collect();
                let told = serde_json::json!({
                    "machine": machine.machine, "address": machine.address, "score": severities, "findings": findings,
                });
                (node, told)
            })
            .collect();
        serde_json::json!({
            "version": 1,
            "environment": self.environment,
            "id": self.id,
            "profile": self.profile.name(),
            "benchmark": benchmark(self.profile),
            "taken": self.taken,
            "program": env!("CARGO_PKG_VERSION"),
            "rke2": self.rke2,
            "images": self.images,
            "classes": self.classes(),
            "waivers": self.waivers,
            "nodes": nodes,
        })
    }
}

fn no_classes() -> BTreeMap<&'static str, usize> {
    Class::ALL.map(|class| (class.name(), 0)).into_iter().collect()
}

/// A finding as a program reads it.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    finding: Finding,
    /// The status, and what exceptions and waivers make of it.
    result: &'static str,
    /// What stands behind the check.
    class: Class,
}

impl Told {
    fn of(finding: Finding, rule: &Published) -> Self {
        Self { result: finding.word(), finding, class: rule.class }
    }
}

/// The publication that a profile stands for.
fn benchmark(profile: HardeningProfile) -> &'static str {
    match profile {
        HardeningProfile::Stig => "RHEL 9 STIG V2R9, 01 Jul 2026",
        HardeningProfile::Cis => "CIS Red Hat Enterprise Linux 9 Benchmark v2.0.0, level 1 server",
        HardeningProfile::None => "none",
    }
}

/// An identifier that follows from a name: the same name has the same one everywhere.
fn uuid(parts: &[&str]) -> String {
    let digest = Digest::of(parts.join("\n").as_bytes());
    let mut bytes = [0_u8; 16];
    for (byte, pair) in bytes.iter_mut().zip(digest.as_str().as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(pair).unwrap_or("0");
        *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Failure::bug("evidence cannot be written down").because(error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests;
