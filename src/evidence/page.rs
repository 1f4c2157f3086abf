//! The page that a person reads.

use serde::Serialize;

use super::{Applied, Score, Subject, benchmark};
use crate::compliance::{Class, Finding, Severity};
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
    classes: Vec<Classes>,
    waivers: Vec<Waiver>,
}

/// How many checks of a severity are of each class.
#[derive(Serialize)]
struct Classes {
    severity: &'static str,
    counts: Vec<usize>,
}

#[derive(Serialize)]
struct Waiver {
    rule: String,
    scope: String,
    owner: String,
    expires: String,
    reason: String,
    state: &'static str,
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
    class: &'static str,
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
        class: rule.class.name(),
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
        classes: classes(subject),
        waivers: subject.waivers.iter().map(waiver).collect(),
    };
    tera::Context::from_serialize(&whole)
        .and_then(|told| tera::Tera::one_off(TEMPLATE, &told, true))
        .map_err(|error| Failure::bug("the page of the evidence cannot be written").because(error))
}

fn classes(subject: &Subject) -> Vec<Classes> {
    let counts = subject.classes();
    let rows = Severity::ALL.map(Severity::name).into_iter().chain(["all"]);
    let row = |severity| {
        let of = counts.get(severity)?;
        Some(Classes { severity, counts: Class::ALL.map(|class| of[class.name()]).to_vec() })
    };
    rows.filter_map(row).collect()
}

fn waiver(applied: &Applied) -> Waiver {
    let waiver = &applied.waiver;
    let scope = [waiver.pools.as_slice(), &waiver.nodes].concat();
    Waiver {
        rule: waiver.rule.clone(),
        scope: if scope.is_empty() { "every node".to_owned() } else { scope.join(", ") },
        owner: waiver.owner.clone(),
        expires: waiver.expires.to_string(),
        reason: waiver.reason.clone(),
        state: match (applied.expired, applied.used) {
            (true, _) => "expired",
            (false, true) => "used",
            (false, false) => "unused: nothing that it covers fails",
        },
    }
}

fn cell(finding: &Finding) -> Cell {
    let reason = finding.why().map(|reason| format!(" ({reason})")).unwrap_or_default();
    Cell { word: finding.word(), observed: format!("{}{reason}", finding.observed) }
}
