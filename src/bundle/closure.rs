//! Whether packages have all that they require, among themselves and in what the base image has.
//!
//! Versions compare as rpm compares them; requirements with `and`, `or`, `if`, `unless`, `with` and `without` are worked out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::rpm::{Capability, Package};

const LESS: u32 = 2;
const GREATER: u32 = 4;
const EQUAL: u32 = 8;
/// What rpm itself has to be able to do.
const RPMLIB: &str = "rpmlib(";
/// How deep a requirement may be nested.
const DEEPEST: usize = 16;

/// All that is provided.
#[derive(Debug, Default)]
pub struct Provided {
    by_name: BTreeMap<String, Vec<Capability>>,
    files: BTreeSet<String>,
}

impl Provided {
    /// Adds what `rpm` told of the base image, as `bundle create` wrote it down.
    pub fn add_base(&mut self, text: &str) {
        for line in text.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["P", name, sense, version] => self.add(&Capability {
                    name: name.to_owned(),
                    sense: sense.parse().unwrap_or_default(),
                    version: if version == "(none)" { String::new() } else { version.to_owned() },
                }),
                ["F", file] => _ = self.files.insert(file.to_owned()),
                _ => {}
            }
        }
    }

    pub fn add_package(&mut self, package: &Package) {
        package.provides.iter().for_each(|capability| self.add(capability));
        self.files.extend(package.files.iter().cloned());
    }

    fn add(&mut self, capability: &Capability) {
        self.by_name.entry(capability.name.clone()).or_default().push(capability.clone());
    }

    /// Whether this requirement is met.
    pub fn meets(&self, wanted: &Capability) -> bool {
        if wanted.name.starts_with('(') {
            return self.meets_rich(&wanted.name, 0).unwrap_or(false);
        }
        wanted.name.starts_with(RPMLIB) || self.meets_plain(wanted)
    }

    fn meets_plain(&self, wanted: &Capability) -> bool {
        let is_file = wanted.name.starts_with('/') && self.files.contains(&wanted.name);
        is_file || self.by_name.get(&wanted.name).is_some_and(|found| found.iter().any(|found| overlap(found, wanted)))
    }

    /// `(a >= 1 or b)`; `None` where it cannot be read.
    fn meets_rich(&self, text: &str, depth: usize) -> Option<bool> {
        let inner = text.strip_prefix('(')?.strip_suffix(')')?;
        let mut terms = vec![];
        let mut operators = vec![];
        let mut words = words(inner).into_iter().peekable();
        if depth > DEEPEST {
            return None;
        }
        while let Some(word) = words.next() {
            let sense = words.peek().and_then(|word| sense(word));
            if let Some(sense) = sense.filter(|_| !word.starts_with('(')) {
                words.next();
                let version = words.next()?.to_owned();
                terms.push(self.meets_plain(&Capability { name: word.to_owned(), sense, version }));
            } else if word.starts_with('(') {
                terms.push(self.meets_rich(word, depth + 1)?);
            } else {
                terms.push(self.meets_plain(&Capability { name: word.to_owned(), sense: 0, version: String::new() }));
            }
            operators.extend(words.next());
        }
        Some(match (operators.first().copied(), &terms[..]) {
            (None, [one]) => *one,
            (Some("and" | "with"), all) => all.iter().all(|met| *met),
            (Some("or"), all) => all.iter().any(|met| *met),
            (Some("without"), [one, ..]) => *one,
            (Some("if"), [one, condition]) => *one || !condition,
            (Some("if"), [one, condition, other]) => {
                if *condition {
                    *one
                } else {
                    *other
                }
            }
            (Some("unless"), [one, condition]) => *one || *condition,
            (Some("unless"), [one, condition, other]) => {
                if *condition {
                    *other
                } else {
                    *one
                }
            }
            _ => return None,
        })
    }
}

/// Words at the outermost level: what stands in brackets is one, as is `perl(Exporter)`.
fn words(text: &str) -> Vec<&str> {
    let (mut found, mut depth, mut from) = (vec![], 0_u32, 0);
    for (at, sign) in text.char_indices() {
        match sign {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                found.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[from..]);
    found.into_iter().filter(|word| !word.is_empty()).collect()
}

fn sense(word: &str) -> Option<u32> {
    match word {
        "<" => Some(LESS),
        "<=" => Some(LESS | EQUAL),
        "=" => Some(EQUAL),
        ">=" => Some(GREATER | EQUAL),
        ">" => Some(GREATER),
        _ => None,
    }
}

/// Whether the two ranges have a version in common.
fn overlap(found: &Capability, wanted: &Capability) -> bool {
    let mask = LESS | GREATER | EQUAL;
    let (here, there) = (found.sense & mask, wanted.sense & mask);
    if here == 0 || there == 0 {
        return true;
    }
    match compare(&found.version, &wanted.version) {
        Ordering::Less => here & GREATER != 0 || there & LESS != 0,
        Ordering::Greater => here & LESS != 0 || there & GREATER != 0,
        Ordering::Equal => here & there != 0,
    }
}

/// Compares `[epoch:]version[-release]`; a release that one of them does not name does not count.
pub fn compare(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (epoch.parse::<u64>().unwrap_or_default(), rest.to_owned()),
            None => (0, text.to_owned()),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version.to_owned(), Some(release.to_owned())),
            None => (rest, None),
        };
        (epoch, version, release)
    };
    let (one, other) = (parts(one), parts(other));
    let releases = one.2.zip(other.2).map_or(Ordering::Equal, |(one, other)| compare_part(&one, &other));
    one.0.cmp(&other.0).then_with(|| compare_part(&one.1, &other.1)).then(releases)
}

/// As rpm's `rpmvercmp`: digits and letters in turn; `~` comes before nothing, `^` after it.
fn compare_part(one: &str, other: &str) -> Ordering {
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'^');
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        one = &one[one.iter().position(is_sign).unwrap_or(one.len())..];
        other = &other[other.iter().position(is_sign).unwrap_or(other.len())..];
        match (one.first(), other.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (one, other) = (&one[1..], &other[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'^')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(first), Some(second)) if first.is_ascii_digit() != second.is_ascii_digit() => {
                return if first.is_ascii_digit() { Ordering::Greater } else { Ordering::Less };
            }
            (Some(first), Some(_)) => {
                let is_same =
                    |byte: &u8| byte.is_ascii_digit() == first.is_ascii_digit() && byte.is_ascii_alphanumeric();
                let (segment, rest) = one.split_at(one.iter().position(|byte| !is_same(byte)).unwrap_or(one.len()));
                let (against, left) =
                    other.split_at(other.iter().position(|byte| !is_same(byte)).unwrap_or(other.len()));
                let ordering = match first.is_ascii_digit() {
                    true => compare_numbers(segment, against),
                    false => segment.cmp(against),
                };
                if ordering != Ordering::Equal {
                    return ordering;
                }
                (one, other) = (rest, left);
            }
        }
    }
}

fn compare_numbers(one: &[u8], other: &[u8]) -> Ordering {
    let bare = |digits: &[u8]| digits.iter().skip_while(|digit| **digit == b'0').copied().collect::<Vec<u8>>();
    let (one, other) = (bare(one), bare(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

/// A requirement as people write it.
pub fn shown(wanted: &Capability) -> String {
    let sign = match wanted.sense & (LESS | GREATER | EQUAL) {
        0 => return wanted.name.clone(),
        LESS => "<",
        GREATER => ">",
        EQUAL => "=",
        more if more & LESS != 0 => "<=",
        _ => ">=",
    };
    format!("{} {sign} {}", wanted.name, wanted.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(name: &str, sense: u32, version: &str) -> Capability {
        Capability { name: name.to_owned(), sense, version: version.to_owned() }
    }

    #[test]
    fn versions_compare_as_rpm_compares_them() {
        for (one, other) in [
            ("1.0", "1.1"),
            ("9", "10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("2.0a", "2.0.1"),
            ("99", "1:1"),
            ("1.0-1.el9", "1.0-2.el9"),
            ("5.14.0-427.13.1.el9_4", "5.14.0-427.42.1.el9_4"),
        ] {
            assert_eq!(compare(one, other), Ordering::Less, "{one} {other}");
            assert_eq!(compare(other, one), Ordering::Greater, "{other} {one}");
        }
        for (one, other) in [("1.0", "1.0-5"), ("0:1", "1"), ("1.01", "1.1"), ("1_0", "1.0")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn requirements_are_met_by_versions_files_and_the_base() {
        let mut provided = Provided::default();
        provided.add_base("F\t/bin/sh\nP\tglibc\t8\t2.34-100.el9\nP\tany\t0\t(none)\n");
        provided.add_package(&Package { provides: vec![capability("lib", EQUAL, "1.4-1")], ..Package::default() });

        let met = |name: &str, sense, version: &str| provided.meets(&capability(name, sense, version));
        assert!(met("/bin/sh", 0, "") && met("glibc", 0, "") && met("rpmlib(CompressedFileNames)", 10, "3.0.4-1"));
        assert!(met("lib", GREATER | EQUAL, "1.4") && met("lib", LESS, "2") && met("any", EQUAL, "7"));
        assert!(!met("lib", GREATER, "1.4-1") && !met("lib", EQUAL, "1.5") && !met("/bin/bash", 0, ""));
    }

    #[test]
    fn rich_requirements_are_worked_out() {
        let mut provided = Provided::default();
        for name in ["a", "perl(B)"] {
            provided.add(&capability(name, EQUAL, "2"));
        }

        let met = |text: &str| provided.meets(&capability(text, 0, ""));
        for text in
            ["(a)", "(a >= 1 and perl(B))", "(x or a)", "(x if y)", "(a if perl(B) else x)", "((x or a) and a = 2)"]
        {
            assert!(met(text), "{text}");
        }
        for text in ["(a and x)", "(a > 2 or x)", "(x if a)", "(x unless y)", "(a and (x or y))", "(", "(a but b)", ""]
        {
            assert!(!met(text), "{text}");
        }
    }

    #[test]
    fn a_requirement_is_told_as_people_write_it() {
        let told = [(0, ""), (LESS, "1"), (LESS | EQUAL, "1"), (EQUAL, "1"), (GREATER | EQUAL, "1"), (GREATER, "1")]
            .map(|(sense, version)| shown(&capability("a", sense, version)));

        assert_eq!(told, ["a", "a < 1", "a <= 1", "a = 1", "a >= 1", "a > 1"]);
    }
}
