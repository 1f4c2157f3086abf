//! The checklist of one node, as STIG Viewer 3 and STIG Manager read it.
//!
//! Titles and texts of rules are DISA's and not shipped: readers show those of the benchmark that they have.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Machine, Subject, uuid};
use crate::compliance::{Finding, Published, Status};
use crate::environment::NodeName;

const STIG: &str = "RHEL_9_STIG";
/// DISA's key of the product.
const TARGET: &str = "5551";
/// Longer ones are refused by STIG Manager.
const LONGEST_NAME: usize = 255;
const LONGEST_TEXT: usize = 32_767;

/// The keys in the order in which STIG Viewer writes them.
#[derive(Serialize)]
pub(super) struct Checklist {
    title: String,
    id: String,
    stigs: Vec<Stig>,
    active: bool,
    mode: u8,
    has_path: bool,
    target_data: Value,
    cklb_version: &'static str,
}

#[derive(Serialize)]
struct Stig {
    stig_name: &'static str,
    display_name: &'static str,
    stig_id: &'static str,
    release_info: &'static str,
    version: &'static str,
    uuid: String,
    reference_identifier: &'static str,
    size: usize,
    rules: Vec<Value>,
}

pub(super) fn checklist(subject: &Subject, node: &NodeName, machine: &Machine) -> Checklist {
    let id = subject.id.to_string();
    let taken = subject.taken.to_string();
    let stig = uuid(&["stig", &id, &taken, &node.0]);
    let rules: Vec<Value> = subject.rules.iter().map(|one| rule(subject, node, one, &stig)).collect();
    Checklist {
        title: format!("{} {node}", subject.environment),
        id: uuid(&["checklist", &id, &taken, &node.0]),
        stigs: vec![Stig {
            stig_name: "Red Hat Enterprise Linux 9 Security Technical Implementation Guide",
            display_name: "RHEL 9",
            stig_id: STIG,
            release_info: "Release: 9 Benchmark Date: 01 Jul 2026",
            version: "2",
            uuid: stig,
            reference_identifier: TARGET,
            size: rules.len(),
            rules,
        }],
        active: true,
        mode: 2,
        has_path: false,
        target_data: json!({
            "target_type": "Computing",
            "host_name": cut(&format!("{}-{node}", subject.environment), LONGEST_NAME),
            "ip_address": machine.address,
            "mac_address": "",
            "fqdn": "",
            "comments": format!("machine {}", machine.machine),
            "role": "None",
            "is_web_database": false,
            "technology_area": "",
            "web_db_site": "",
            "web_db_instance": "",
            "classification": "",
        }),
        cklb_version: "1.0",
    }
}

fn rule(subject: &Subject, node: &NodeName, rule: &Published, stig: &str) -> Value {
    let finding = subject.finding(node, rule);
    let (group, about) = (rule.group.as_str(), rule.about());
    json!({
        "uuid": uuid(&["rule", stig, &rule.id]),
        "stig_uuid": stig,
        "group_id": group,
        "group_id_src": group,
        "group_tree": [{ "id": group, "title": rule.srg, "description": "" }],
        "rule_id": rule.rule.trim_end_matches("_rule"),
        "rule_id_src": rule.rule,
        "rule_version": rule.id,
        "target_key": null,
        "stig_ref": null,
        "weight": "10.0",
        "classification": "",
        "severity": rule.severity,
        "rule_title": about,
        "group_title": rule.srg,
        "fix_text": "",
        "false_positives": null,
        "false_negatives": null,
        "discussion": "",
        "check_content": "",
        "documentable": "false",
        "mitigations": null,
        "potential_impacts": null,
        "third_party_tools": null,
        "mitigation_control": null,
        "responsibility": null,
        "security_override_guidance": null,
        "ia_controls": null,
        "check_content_ref": { "href": "", "name": "M" },
        "legacy_ids": [],
        "ccis": rule.cci,
        "srg_id": rule.srg,
        "status": status(finding.status),
        "overrides": {},
        "comments": cut(&finding.why().unwrap_or_default(), LONGEST_TEXT),
        "finding_details": cut(&format!("{}\ncheck: {}", details(&finding), rule.class.name()), LONGEST_TEXT),
    })
}

/// No evidence, no `not_a_finding`.
fn status(status: Status) -> &'static str {
    match status {
        Status::Pass => "not_a_finding",
        Status::Fail => "open",
        Status::NotApplicable => "not_applicable",
        Status::NotReviewed | Status::NotLookedAt | Status::Unknown => "not_reviewed",
    }
}

fn details(finding: &Finding) -> String {
    match finding.wanted.as_str() {
        "" => finding.observed.clone(),
        wanted => format!("observed: {}\nwanted: {wanted}", finding.observed),
    }
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}
