//! What was found on one node, rule by rule.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::artifact::Measured;
use crate::compliance::waiver::Waived;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Pass,
    /// What the rule is about is not there.
    NotApplicable,
    /// The check was too quick to look; no evidence, no pass.
    NotLookedAt,
    /// Nothing here can tell: it wants a person, or a value that the site alone knows.
    NotReviewed,
    /// The node could not be asked.
    Unknown,
    Fail,
}

/// One rule on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub status: Status,
    /// What was there.
    pub observed: String,
    /// What the rule wants.
    pub wanted: String,
    /// Why it stays as it is on a node of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excepted: Option<String>,
    /// Who lets it fail, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waived>,
}

impl Finding {
    /// Whether a waiver that holds covers it.
    pub fn is_waived(&self) -> bool {
        self.status == Status::Fail
            && self.excepted.is_none()
            && self.waived.as_ref().is_some_and(|waived| !waived.expired)
    }

    /// What it comes to, in the word that people read.
    pub fn word(&self) -> &'static str {
        match self.status {
            Status::Pass => "pass",
            Status::Fail if self.excepted.is_some() => "excepted",
            Status::Fail if self.is_waived() => "waived",
            Status::Fail => "fail",
            Status::NotApplicable => "not applicable",
            Status::NotReviewed | Status::NotLookedAt => "not reviewed",
            Status::Unknown => "unknown",
        }
    }

    /// Why it is let fail, or was.
    pub fn why(&self) -> Option<String> {
        let waived = |waived: &Waived| {
            let Waived { reason, owner, expires, expired } = waived;
            let end = if *expired { "expired on" } else { "until" };
            format!("waived by {owner} {end} {expires}: {reason}")
        };
        self.excepted.clone().or_else(|| self.waived.as_ref().map(waived))
    }
}

/// Every rule on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub findings: BTreeMap<String, Finding>,
}

impl Report {
    /// Adds a finding. Of several for one rule the worst counts: one failing file fails the rule.
    pub(super) fn add(&mut self, id: &str, finding: &Finding) {
        let worse = self.findings.get(id).is_none_or(|held| rank(finding.status) > rank(held.status));
        if worse {
            self.findings.insert(id.to_owned(), finding.clone());
        }
    }

    /// How many rules have this status.
    pub fn count(&self, status: Status) -> usize {
        self.findings.values().filter(|finding| finding.status == status).count()
    }

    /// The rules that fail and have no reason to.
    pub fn open(&self) -> Vec<String> {
        self.findings
            .iter()
            .filter(|(_, finding)| finding.status == Status::Fail && finding.excepted.is_none())
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// What the artifact keeps.
    pub fn measured(&self, machine: &str) -> Measured {
        let passed = u32::try_from(self.count(Status::Pass)).unwrap_or(u32::MAX);
        Measured { machine: machine.to_owned(), passed, open: self.open() }
    }
}

/// Which of two findings of one rule decides: a failure, then doubt, then a pass, and only then that nothing is there.
fn rank(status: Status) -> u8 {
    match status {
        Status::NotApplicable => 0,
        Status::Pass => 1,
        Status::NotLookedAt | Status::NotReviewed => 2,
        Status::Unknown => 3,
        Status::Fail => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: Status) -> Finding {
        Finding { status, observed: String::new(), wanted: String::new(), excepted: None, waived: None }
    }

    #[test]
    fn the_worst_of_several_findings_is_that_of_the_rule() {
        let mut report = Report::default();
        for (id, status) in [
            ("a", Status::NotApplicable),
            ("a", Status::Pass),
            ("b", Status::Pass),
            ("b", Status::Fail),
            ("b", Status::NotApplicable),
            ("c", Status::Pass),
            ("c", Status::Unknown),
        ] {
            report.add(id, &finding(status));
        }

        let statuses: Vec<Status> = report.findings.values().map(|finding| finding.status).collect();
        assert_eq!(statuses, [Status::Pass, Status::Fail, Status::Unknown]);
    }

    #[test]
    fn a_rule_with_a_reason_is_not_open_and_not_passed() {
        let mut report = Report::default();
        report.add("a", &Finding { excepted: Some("pods need it".to_owned()), ..finding(Status::Fail) });
        report.add("b", &finding(Status::Fail));
        report.add("c", &finding(Status::Pass));

        assert_eq!(
            report.measured("i-1"),
            Measured { machine: "i-1".to_owned(), passed: 1, open: vec!["b".to_owned()] }
        );
    }
}
