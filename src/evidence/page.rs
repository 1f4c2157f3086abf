//! The page that a person reads.

use serde::Serialize;

use super::{Score, Subject, benchmark};
use crate::compliance::{Finding, Severity, Status};
use crate::failure::Failure;

const TEMPLATE: &str = include_str!("page.html.tera");

#[derive(Serialize)]
struct Whole<'a> {
    environment: &'a str,
    id: String,
    benchmark: &'a str,
    taken: String,
    rke2: &'a str,
    program: &'a str,
    nodes: Vec<Node>,
    rules: Vec<Rule<'a>>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    machine: String,
    scores: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    severity: &'static str,
    score: Score,
}

/// One rule, with what it came to on each node.
#[derive(Serialize)]
struct Rule<'a> {
    id: &'a str,
    severity: &'static str,
    about: &'a str,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    word: &'static str,
    observed: String,
}

pub(super) fn page(subject: &Subject) -> Result<String, Failure> {
    let nodes = subject.nodes.iter().map(|(name, machine)| Node {
        name: name.to_string(),
        machine: machine.machine.clone(),
        scores: subject
            .score(name)
            .into_iter()
            .map(|(severity, score)| Row { severity: severity.map_or("all", Severity::name), score })
            .collect(),
    });
    let rules = subject.rules.iter().map(|rule| Rule {
        id: &rule.id,
        severity: rule.severity.map_or("", Severity::name),
        about: rule.about(),
        cells: subject.nodes.keys().map(|node| cell(&subject.finding(node, rule))).collect(),
    });
    let whole = Whole {
        environment: &subject.environment,
        id: subject.id.to_string(),
        benchmark: benchmark(subject.profile),
        taken: subject.taken.to_string(),
        rke2: &subject.rke2,
        program: env!("CARGO_PKG_VERSION"),
        nodes: nodes.collect(),
        rules: rules.collect(),
    };
    tera::Context::from_serialize(&whole)
        .and_then(|told| tera::Tera::one_off(TEMPLATE, &told, true))
        .map_err(|error| Failure::bug("the page of the evidence cannot be written").because(error))
}

fn cell(finding: &Finding) -> Cell {
    let word = match (finding.status, &finding.excepted) {
        (Status::Pass, _) => "pass",
        (Status::Fail, Some(_)) => "excepted",
        (Status::Fail, None) => "fail",
        (Status::NotApplicable, _) => "n/a",
        (Status::NotReviewed | Status::NotLookedAt, _) => "not reviewed",
        (Status::Unknown, _) => "unknown",
    };
    let reason = finding.excepted.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    Cell { word, observed: format!("{}{reason}", finding.observed) }
}
