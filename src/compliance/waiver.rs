//! What waivers make of the findings of a node: nothing passes by one, and what it covers is told with its owner and end.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::compliance::report::{Report, Status};
use crate::hardening::Waiver;
use crate::units::Day;
use crate::wanted::{NodeName, Role};

/// The waiver of a rule that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waived {
    pub reason: String,
    pub owner: String,
    pub expires: Day,
    /// The rule fails as if there were none.
    pub expired: bool,
}

impl Report {
    /// Marks what fails on a node, has no exception and is waived; one that holds counts before one that has expired.
    /// Gives the waivers, by their place in the list, that covered something.
    pub fn waive(&mut self, node: &NodeName, role: Role, waivers: &[Waiver], today: Day) -> BTreeSet<usize> {
        let mut used = BTreeSet::new();
        for (index, waiver) in waivers.iter().enumerate().filter(|(_, waiver)| waiver.covers(node, role)) {
            let fails = |id: &String| *id == waiver.rule;
            let Some((_, finding)) = self.findings.iter_mut().find(|(id, _)| fails(id)) else { continue };
            if finding.status != Status::Fail || finding.excepted.is_some() {
                continue;
            }
            used.insert(index);
            if finding.waived.as_ref().is_none_or(|held| held.expired) {
                finding.waived = Some(Waived {
                    reason: waiver.reason.trim().to_owned(),
                    owner: waiver.owner.trim().to_owned(),
                    expires: waiver.expires,
                    expired: waiver.has_expired(today),
                });
            }
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compliance::report::Finding;

    fn waiver(rule: &str, expires: &str) -> Waiver {
        Waiver {
            rule: rule.to_owned(),
            nodes: vec![],
            pools: vec!["servers".to_owned()],
            reason: "a console".to_owned(),
            owner: "operations".to_owned(),
            expires: expires.parse().expect("a day"),
        }
    }

    fn report() -> Report {
        let finding = |status, excepted: Option<&str>| Finding {
            status,
            observed: String::new(),
            wanted: String::new(),
            excepted: excepted.map(str::to_owned),
            waived: None,
        };
        let findings = [
            ("fails", finding(Status::Fail, None)),
            ("passes", finding(Status::Pass, None)),
            ("excepted", finding(Status::Fail, Some("pods"))),
        ];
        Report { findings: findings.map(|(id, finding)| (id.to_owned(), finding)).into_iter().collect() }
    }

    #[test]
    fn a_waiver_marks_what_fails_where_it_is_for_and_makes_nothing_pass() {
        let today = "2027-01-01".parse().expect("a day");
        let waivers = ["fails", "passes", "excepted", "unheard"].map(|rule| waiver(rule, "2027-03-31"));
        let of = |name: &str, role| {
            let mut report = report();
            let used = report.waive(&NodeName(name.to_owned()), role, &waivers, today);
            (used, report)
        };

        let (used, server) = of("server-1", Role::Server);
        let (elsewhere, agent) = of("general-1", Role::Agent);

        assert_eq!((used, elsewhere), (BTreeSet::from([0]), BTreeSet::new()));
        assert_eq!(server.count(Status::Pass), 1);
        let waived: Vec<&str> =
            server.findings.iter().filter(|(_, one)| one.waived.is_some()).map(|(id, _)| id.as_str()).collect();
        assert_eq!(waived, ["fails"]);
        assert_eq!(server.findings["fails"].word(), "waived");
        assert_eq!(agent, report());
    }

    #[test]
    fn an_expired_waiver_leaves_a_failure_and_one_that_holds_counts_before_it() {
        let today = "2027-04-01".parse().expect("a day");
        let node = NodeName("server-1".to_owned());
        let (old, new) = (waiver("fails", "2027-03-31"), waiver("fails", "2028-03-31"));
        let word = |waivers: &[Waiver]| {
            let mut report = report();
            report.waive(&node, Role::Server, waivers, today);
            report.findings["fails"].word()
        };

        assert_eq!(word(std::slice::from_ref(&old)), "fail");
        assert_eq!((word(&[old.clone(), new.clone()]), word(&[new, old])), ("waived", "waived"));
    }
}
