//! The same findings in OSCAL: assessment results, the component that hardens, and the skeleton of a system security plan.
//!
//! A rule contributes to the controls that DISA names for it; it does not fulfil one alone. A control is told as satisfied
//! where every rule of it that applies passes, and at least one does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Subject, benchmark, uuid};
use crate::compliance::{Published, Status};
use crate::environment::NodeName;

const OSCAL: &str = "1.1.3";
/// Of our own properties.
const NAMESPACE: &str = "https://sre-provision.invalid/ns/oscal";
/// The catalogue that the control ids are of.
const CATALOGUE: &str = "https://raw.githubusercontent.com/usnistgov/oscal-content/main/nist.gov/SP800-53/rev5/json/\
                         NIST_SP-800-53_rev5_catalog.json";

/// What is told of a control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    pass: usize,
    fail: usize,
    open: usize,
}

impl Told {
    fn add(&mut self, status: Status) {
        match status {
            Status::Pass => self.pass += 1,
            Status::Fail => self.fail += 1,
            Status::NotApplicable => {}
            Status::NotReviewed | Status::NotLookedAt | Status::Unknown => self.open += 1,
        }
    }

    fn is_satisfied(self) -> bool {
        self.fail == 0 && self.open == 0 && self.pass > 0
    }

    /// In the words of a system security plan.
    fn implementation(self) -> &'static str {
        match self {
            Self { pass: 0, fail: 0, open: 0 } => "not-applicable",
            Self { pass: 0, .. } => "planned",
            Self { fail: 0, open: 0, .. } => "implemented",
            _ => "partial",
        }
    }
}

fn metadata(subject: &Subject, title: &str) -> Value {
    json!({
        "title": title,
        "last-modified": subject.taken,
        "version": subject.taken.strftime("%Y%m%d%H%M%S").to_string(),
        "oscal-version": OSCAL,
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "ns": NAMESPACE, "value": value })
}

/// The rules of each control.
fn controls(subject: &Subject) -> BTreeMap<&str, Vec<&Published>> {
    let mut controls: BTreeMap<&str, Vec<&Published>> = BTreeMap::new();
    for rule in &subject.rules {
        for control in &rule.controls {
            controls.entry(control).or_default().push(rule);
        }
    }
    controls
}

pub(super) fn assessment_results(subject: &Subject) -> Value {
    let id = subject.id.to_string();
    let plan = uuid(&["assessment-plan", &id]);
    let results: Vec<Value> = subject.nodes.keys().map(|node| result(subject, node)).collect();
    json!({ "assessment-results": {
        "uuid": uuid(&["assessment-results", &id, &subject.taken.to_string()]),
        "metadata": metadata(subject, &format!("{} measured against {}", subject.environment, benchmark(subject.profile))),
        "import-ap": { "href": format!("#{plan}") },
        "results": results,
        "back-matter": { "resources": [{
            "uuid": plan,
            "title": "No assessment plan",
            "description": "Every rule of the benchmark is measured on every node; there is no plan beyond that.",
        }] },
    } })
}

/// Its observations and findings name each other by these.
struct Ids<'a> {
    subject: &'a Subject,
    node: &'a NodeName,
}

impl Ids<'_> {
    fn of(&self, kind: &str, name: &str) -> String {
        uuid(&[kind, &self.subject.id.to_string(), &self.subject.taken.to_string(), &self.node.0, name])
    }
}

fn result(subject: &Subject, node: &NodeName) -> Value {
    let ids = Ids { subject, node };
    let item = uuid(&["node", &subject.id.to_string(), &node.0]);
    let machine = subject.nodes.get(node).map(|machine| machine.machine.clone()).unwrap_or_default();
    let observations: Vec<Value> = subject.rules.iter().map(|rule| observation(&ids, rule, &item)).collect();
    let findings: Vec<Value> =
        controls(subject).into_iter().map(|(control, rules)| finding(&ids, control, &rules)).collect();
    let risks: Vec<Value> = subject.rules.iter().filter_map(|rule| risk(&ids, rule)).collect();
    let selected: Vec<Value> = controls(subject).keys().map(|control| json!({ "control-id": control })).collect();
    let mut told = json!({
        "uuid": ids.of("result", ""),
        "title": node,
        "description": format!("{} on {node}", benchmark(subject.profile)),
        "start": subject.taken,
        "end": subject.taken,
        "local-definitions": { "inventory-items": [{
            "uuid": item,
            "description": format!("{node} of {}", subject.environment),
            "props": [{ "name": "asset-id", "value": machine }],
        }] },
        "reviewed-controls": { "control-selections": [{ "include-controls": selected }] },
        "observations": observations,
        "findings": findings,
    });
    // A list that is there has an entry.
    if !risks.is_empty() {
        told["risks"] = json!(risks);
    }
    told
}

/// A rule that fails and is let.
fn risk(ids: &Ids<'_>, rule: &Published) -> Option<Value> {
    let finding = ids.subject.finding(ids.node, rule);
    let waived = finding.waived.as_ref().filter(|_| finding.is_waived())?;
    Some(json!({
        "uuid": ids.of("risk", &rule.id),
        "title": format!("{} is waived", rule.id),
        "description": rule.about(),
        "statement": waived.reason,
        "props": [property("owner", &waived.owner), property("stig-id", &rule.id)],
        "status": "deviation-approved",
        "deadline": format!("{}T23:59:59Z", waived.expires),
        "related-observations": [{ "observation-uuid": ids.of("observation", &rule.id) }],
    }))
}

/// One rule on a node.
fn observation(ids: &Ids<'_>, rule: &Published, item: &str) -> Value {
    let finding = ids.subject.finding(ids.node, rule);
    let mut properties = vec![
        property("stig-id", &rule.id),
        property("vuln-id", &rule.group),
        property("result", result_word(finding.status)),
        property("check", rule.class.name()),
    ];
    if let Some(reason) = finding.why() {
        let name = if finding.excepted.is_some() { "exception" } else { "waiver" };
        properties.push(property(name, &reason));
    }
    json!({
        "uuid": ids.of("observation", &rule.id),
        "title": rule.id,
        "description": text(&finding.observed),
        "props": properties,
        "methods": ["TEST"],
        "types": ["finding"],
        "subjects": [{ "subject-uuid": item, "type": "inventory-item" }],
        "collected": ids.subject.taken,
    })
}

/// One control on a node.
fn finding(ids: &Ids<'_>, control: &str, rules: &[&Published]) -> Value {
    let mut told = Told::default();
    rules.iter().for_each(|rule| told.add(ids.subject.finding(ids.node, rule).status));
    let state = if told.is_satisfied() { "satisfied" } else { "not-satisfied" };
    let of_rule = |rule: &&Published| json!({ "observation-uuid": ids.of("observation", &rule.id) });
    let related: Vec<Value> = rules.iter().map(of_rule).collect();
    json!({
        "uuid": ids.of("finding", control),
        "title": control,
        "description": format!(
            "{} rules contribute to it: {} pass, {} fail, {} could not be decided", rules.len(), told.pass, told.fail, told.open
        ),
        "target": { "type": "statement-id", "target-id": format!("{control}_smt"), "status": { "state": state } },
        "related-observations": related,
    })
}

fn result_word(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Fail => "fail",
        Status::NotApplicable => "not-applicable",
        Status::NotReviewed | Status::NotLookedAt => "not-reviewed",
        Status::Unknown => "error",
    }
}

/// OSCAL knows no empty text.
fn text(text: &str) -> &str {
    if text.trim().is_empty() { "nothing was said" } else { text }
}

pub(super) fn component_definition(subject: &Subject) -> Value {
    let requirements: Vec<Value> = controls(subject)
        .into_iter()
        .map(|(control, rules)| {
            let properties: Vec<Value> = rules.iter().map(|rule| property("stig-id", &rule.id)).collect();
            json!({
                "uuid": uuid(&["requirement", control]),
                "control-id": control,
                "description": format!("{} rules contribute to it", rules.len()),
                "props": properties,
            })
        })
        .collect();
    json!({ "component-definition": {
        "uuid": uuid(&["component-definition", benchmark(subject.profile)]),
        "metadata": metadata(subject, "The role os_hardening"),
        "components": [{
            "uuid": uuid(&["component"]),
            "type": "software",
            "title": "os_hardening",
            "description": format!("Ansible role that applies {} to Rocky Linux 9", benchmark(subject.profile)),
            "control-implementations": [{
                "uuid": uuid(&["control-implementation", benchmark(subject.profile)]),
                "source": CATALOGUE,
                "description": benchmark(subject.profile),
                "implemented-requirements": requirements,
            }],
        }],
    } })
}

/// What only whoever owns the system knows.
const COMPLETE: &str = "to be completed by the owner of the system";

pub(super) fn system_security_plan(subject: &Subject) -> Value {
    let id = subject.id.to_string();
    let system = uuid(&["this-system", &id]);
    let requirements: Vec<Value> =
        controls(subject).into_iter().map(|(control, rules)| implemented(subject, &system, control, &rules)).collect();
    json!({ "system-security-plan": {
        "uuid": uuid(&["system-security-plan", &id, &subject.taken.to_string()]),
        "metadata": metadata(subject, &format!("{}: skeleton of a system security plan", subject.environment)),
        "import-profile": { "href": CATALOGUE },
        "system-characteristics": characteristics(subject),
        "system-implementation": {
            "users": [{ "uuid": uuid(&["user", &id]), "title": COMPLETE }],
            "components": [{
                "uuid": system,
                "type": "this-system",
                "title": subject.environment,
                "description": format!("RKE2 {} on {} nodes", subject.rke2, subject.nodes.len()),
                "status": { "state": "under-development" },
            }],
        },
        "control-implementation": {
            "description": "What was measured of each control; what no rule measures is left to the owner of the system.",
            "implemented-requirements": requirements,
        },
    } })
}

fn implemented(subject: &Subject, system: &str, control: &str, rules: &[&Published]) -> Value {
    let id = subject.id.to_string();
    let mut told = Told::default();
    for node in subject.nodes.keys() {
        rules.iter().for_each(|rule| told.add(subject.finding(node, rule).status));
    }
    json!({
        "uuid": uuid(&["implemented", &id, control]),
        "control-id": control,
        "by-components": [{
            "uuid": uuid(&["by-component", &id, control]),
            "component-uuid": system,
            "description": format!(
                "measured on {} nodes: {} pass, {} fail, {} could not be decided", subject.nodes.len(), told.pass, told.fail,
                told.open
            ),
            "implementation-status": { "state": told.implementation() },
        }],
    })
}

fn characteristics(subject: &Subject) -> Value {
    let impact = json!({ "base": "to-be-completed" });
    json!({
        "system-ids": [{ "id": subject.id }],
        "system-name": subject.environment,
        "description": COMPLETE,
        "security-sensitivity-level": COMPLETE,
        "system-information": { "information-types": [{
            "title": COMPLETE,
            "description": COMPLETE,
            "confidentiality-impact": impact,
            "integrity-impact": impact,
            "availability-impact": impact,
        }] },
        "security-impact-level": {
            "security-objective-confidentiality": COMPLETE,
            "security-objective-integrity": COMPLETE,
            "security-objective-availability": COMPLETE,
        },
        "status": { "state": "under-development" },
        "authorization-boundary": { "description": COMPLETE },
    })
}
