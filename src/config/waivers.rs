//! Waivers of rules: each names a rule of the profile, pools that there are, and says why and who answers for it.

use std::collections::BTreeSet;

use crate::config::draft::Draft;
use crate::config::shape::nearest;
use crate::hardening::Waiver;

pub fn check(draft: &mut Draft<'_>) {
    let Some(hardening) = draft.hardening.clone().filter(|hardening| !hardening.waivers.is_empty()) else { return };
    let rules: BTreeSet<String> = hardening.profile.rules().into_iter().collect();
    let pools: BTreeSet<String> = draft.agents.keys().cloned().chain([Waiver::SERVERS.to_owned()]).collect();
    for (index, waiver) in hardening.waivers.iter().enumerate() {
        let at = |key: &str| format!("hardening.waivers[{index}].{key}");
        if !rules.contains(&waiver.rule) {
            draft.tell(&at("rule"), unknown(&waiver.rule, hardening.profile.name(), &rules));
        }
        for (number, pool) in waiver.pools.iter().enumerate().filter(|(_, pool)| !pools.contains(*pool)) {
            let known: Vec<&str> = pools.iter().map(String::as_str).collect();
            let reason = format!("is `{pool}`, which is no pool; there are {}", known.join(", "));
            draft.tell(&format!("{}[{number}]", at("pools")), reason);
        }
        for key in ["nodes", "pools"] {
            if draft.has_empty_list(&at(key)) {
                draft.tell(&at(key), "is empty; leave it out for a waiver of every node");
            }
        }
        for (key, text) in [("reason", &waiver.reason), ("owner", &waiver.owner)] {
            if text.trim().is_empty() {
                draft.tell(&at(key), "says nothing");
            }
        }
    }
}

fn unknown(rule: &str, profile: &str, rules: &BTreeSet<String>) -> String {
    let what = format!("is `{rule}`, which is no rule of the profile `{profile}`");
    match nearest(rule, rules.iter().map(String::as_str)) {
        Some(near) => format!("{what}; did you mean `{near}`?"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    const DEV: &str = include_str!("../../environments/dev.yaml");

    /// Places are told with lines from the first of the waivers.
    fn problems(waivers: &str) -> Vec<String> {
        let key = "  profile: stig\n";
        let before = DEV.find(key).map(|at| DEV[..at].lines().count()).expect("a profile") + 2;
        let text = DEV.replacen(key, &format!("{key}  waivers:\n{waivers}"), 1);
        let of = |line: &str| {
            let (place, rest) = line.trim().split_once(' ').expect("a place");
            let (row, column) = place.split_once(':').expect("a line");
            let row: usize = row.parse().expect("a number");
            format!("{}:{column} {}", row - before, rest.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        match crate::config::read("environments/dev.yaml", "dev", &text) {
            Ok(_) => vec![],
            Err(failure) => failure.what().lines().skip(1).map(of).collect(),
        }
    }

    #[test]
    fn a_waiver_with_rule_reason_owner_and_end_is_taken() {
        let waiver = "    - {rule: RHEL-09-412035, pools: [servers, general], nodes: [general-1], owner: operations,\n       \
                      reason: a console stays open, expires: 2027-03-31}\n";

        assert_eq!(problems(waiver), Vec::<String>::new());
    }

    #[test]
    fn what_a_waiver_lacks_or_nobody_knows_is_told_with_its_line() {
        let waivers = "    - {rule: RHEL-09-41203, reason: r, owner: o, expires: 2027-03-31}\n\
                       \x20   - {rule: CIS-5.4.3.2, reason: r, owner: o, expires: 2027-03-31}\n\
                       \x20   - {rule: RHEL-09-412035, reason: r, expires: 2027-03-31}\n\
                       \x20   - {rule: RHEL-09-412035, reason: r, owner: o, expires: 31.3.2027}\n\
                       \x20   - {rule: RHEL-09-412035, reason: ' ', owner: o, expires: 2027-03-31, pools: [gpu]}\n";

        let told = problems(waivers);

        assert_eq!(
            told,
            [
                "3:7 hardening.waivers[2].owner is missing",
                "4:60 hardening.waivers[3].expires is `31.3.2027` is no day of the calendar; write it like `2027-03-31`",
            ]
        );
        let waiver = "    - {rule: RHEL-09-412035, reason: r, owner: o, expires: 2027-03-31, nodes: []}\n";
        assert_eq!(
            problems(waiver),
            ["1:79 hardening.waivers[0].nodes is empty; leave it out for a waiver of every node"]
        );
        let whole: Vec<&str> = waivers.lines().collect();
        let told = problems(&format!("{}\n{}\n{}\n", whole[0], whole[1], whole[4]));
        assert_eq!(
            told,
            [
                "1:14 hardening.waivers[0].rule is `RHEL-09-41203`, which is no rule of the profile `stig`; did you mean \
                 `RHEL-09-412035`?",
                "2:14 hardening.waivers[1].rule is `CIS-5.4.3.2`, which is no rule of the profile `stig`",
                "3:38 hardening.waivers[2].reason says nothing",
                "3:82 hardening.waivers[2].pools[0] is `gpu`, which is no pool; there are general, servers",
            ]
        );
    }
}
