//! Which images go: those that nothing needs, that are old enough, and that are none of the newest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::entry::{Entry, Use, Whereabouts};
use crate::units::Span;

/// What is kept although nothing needs it.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How old an image must be.
    pub min_age: Span,
    /// How many of the newest stay, of each kind and environment.
    pub newest: usize,
}

/// What becomes of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "kebab-case")]
pub enum Fate {
    Goes,
    /// Why it stays, line by line.
    Stays {
        why: Vec<String>,
    },
}

/// What becomes of each of these images, in their order.
///
/// An image stays with every image that stays and was built from it: the lineage of what runs can be looked up.
pub fn fates(entries: &[Entry], keep: Keep, now: Timestamp) -> Vec<Fate> {
    let newest = newest(entries, keep.newest);
    let mut whys: Vec<Vec<String>> =
        entries.iter().enumerate().map(|(at, it)| own(it, newest.contains(&at), keep, now)).collect();
    loop {
        let mut more = Vec::new();
        for (at, entry) in entries.iter().enumerate().filter(|(at, _)| whys[*at].is_empty()) {
            let child = entries
                .iter()
                .enumerate()
                .find(|(child, it)| !whys[*child].is_empty() && it.at == entry.at && it.lineage.contains(&entry.id));
            more.extend(child.map(|(_, child)| (at, Use::Image { image: child.id.clone() })));
        }
        if more.is_empty() {
            break;
        }
        more.into_iter().for_each(|(at, why)| whys[at].push(format!("{why} was built from it")));
    }
    whys.into_iter().map(|why| if why.is_empty() { Fate::Goes } else { Fate::Stays { why } }).collect()
}

/// Why an image stays, whatever becomes of the others.
fn own(entry: &Entry, is_newest: bool, keep: Keep, now: Timestamp) -> Vec<String> {
    let mut why: Vec<String> = entry.uses.iter().map(ToString::to_string).collect();
    let least = SignedDuration::try_from(keep.min_age.0).unwrap_or(SignedDuration::MAX);
    match entry.built {
        None => why.push("nobody tells its age".to_owned()),
        Some(built) if now.duration_since(built) < least => why.push(format!("younger than {}", keep.min_age)),
        Some(_) => {}
    }
    if is_newest {
        why.push(format!("one of the newest {}", keep.newest));
    }
    why
}

/// The places of the newest ready images, of each kind and environment.
fn newest(entries: &[Entry], most: usize) -> BTreeSet<usize> {
    let mut groups: BTreeMap<(&Whereabouts, &str, &str), Vec<usize>> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.state == "ready") {
        groups.entry((&entry.at, &entry.which, &entry.environment)).or_default().push(at);
    }
    groups
        .into_values()
        .flat_map(|mut group| {
            group.sort_by_key(|at| std::cmp::Reverse((entries[*at].built, &entries[*at].id)));
            group.into_iter().take(most)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::images::Standing;

    const NOW: &str = "2026-11-30T12:00:00Z";

    fn entry(id: &str, which: &str, days: i64, lineage: &[&str]) -> Entry {
        let now: Timestamp = NOW.parse().expect("a time");
        Entry {
            at: Whereabouts { account: "1".to_owned(), region: "us-east-1".to_owned() },
            id: id.to_owned(),
            name: id.to_owned(),
            which: which.to_owned(),
            state: "ready".to_owned(),
            built: Some(now - SignedDuration::from_hours(24 * days)),
            fingerprint: String::new(),
            lineage: lineage.iter().map(|id| (*id).to_owned()).collect(),
            rke2: None,
            environment: "dev".to_owned(),
            snapshots: vec![],
            channels: vec![],
            standing: Standing::Absent,
            uses: vec![],
        }
    }

    fn used(entry: Entry) -> Entry {
        let uses = vec![Use::Machine { machine: "i-1".to_owned(), name: "server-1".to_owned() }];
        Entry { uses, ..entry }
    }

    fn going(entries: &[Entry], newest: usize) -> Vec<String> {
        let keep = Keep { min_age: Span(Duration::from_secs(14 * 86_400)), newest };
        let fates = fates(entries, keep, NOW.parse().expect("a time"));
        entries.iter().zip(fates).filter(|(_, fate)| *fate == Fate::Goes).map(|(entry, _)| entry.id.clone()).collect()
    }

    #[test]
    fn only_what_nothing_needs_and_is_old_enough_goes() {
        let entries =
            [entry("old", "node", 14, &[]), entry("young", "node", 13, &[]), used(entry("used", "node", 90, &[]))];

        assert_eq!(going(&entries, 0), ["old"]);
    }

    #[test]
    fn the_newest_of_each_kind_stay_and_what_is_half_built_is_none_of_them() {
        let building = Entry { state: "building".to_owned(), ..entry("building", "node", 20, &[]) };
        let entries =
            [entry("n1", "node", 30, &[]), building, entry("n2", "node", 40, &[]), entry("b1", "base", 50, &[])];

        assert_eq!(going(&entries, 1), ["building", "n2"]);
    }

    #[test]
    fn a_base_stays_with_the_node_image_that_stays_however_far_back() {
        let entries = [
            entry("source", "base", 90, &[]),
            entry("base", "base", 80, &["source"]),
            used(entry("node", "node", 70, &["source", "base"])),
            entry("other", "base", 80, &[]),
        ];

        assert_eq!(going(&entries, 0), ["other"]);
    }

    #[test]
    fn one_of_which_nobody_tells_the_age_stays_and_says_why() {
        let entries = [Entry { built: None, ..entry("n", "node", 0, &[]) }];
        let keep = Keep { min_age: Span(Duration::ZERO), newest: 0 };

        let fates = fates(&entries, keep, NOW.parse().expect("a time"));

        assert_eq!(fates, [Fate::Stays { why: vec!["nobody tells its age".to_owned()] }]);
    }
}
