//! Whether a world that was disturbed ended as one that was not.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::judge::Seen;
use crate::lane::Ran;

/// Effects that happen once in the life of an environment.
const ONCE: [&str; 4] = ["image ", "make ", "found ", "join "];
/// What never happens while nothing is described otherwise.
const NEVER: [&str; 1] = ["restart "];

pub fn problems(command: &str, ran: &Ran, expected: &Seen) -> Vec<String> {
    let mut wrong = ran.seen.faults.clone();
    if ran.code != Some(0) {
        wrong.push(format!("`{command}` ends with {:?}: {}", ran.code, last_words(ran)));
        return wrong;
    }
    if command == "down" {
        // A stage whose destroy failed is said to have failed; what it left went by its tag.
        for part in ["ended", "children"] {
            differences(part, &expected.journal[part], &ran.seen.journal[part], &mut wrong);
        }
    } else {
        // A run that was killed after its last outcome has done all, and has no end of its own for ever.
        for part in ["stages", "steps", "facts", "children"] {
            differences(part, &expected.journal[part], &ran.seen.journal[part], &mut wrong);
        }
    }
    differences("world", &expected.world, &ran.seen.world, &mut wrong);
    let is_away = |file: &&String| file.contains("/gone/");
    // A state that OpenTofu was killed in the middle of writing is put aside and named, for a person to look at.
    let is_aside = |file: &&String| file.ends_with("/terraform.tfstate.broken");
    let is_left = |file: &&String| !expected.files.contains(file) && !is_away(file) && !is_aside(file);
    let extra = ran.seen.files.iter().filter(is_left);
    wrong.extend(extra.map(|file| format!("left behind: {file}")));
    let missing = expected.files.iter().filter(|file| !ran.seen.files.contains(file) && !is_away(file));
    wrong.extend(missing.map(|file| format!("not there: {file}")));
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    ran.seen.effects.iter().for_each(|effect| *counts.entry(effect).or_default() += 1);
    for (effect, count) in counts {
        let is_of = |kinds: &[&str]| kinds.iter().any(|kind| effect.starts_with(kind));
        // The network of a build goes with the build and is made again with the next.
        if is_of(&ONCE) && count > 1 && !effect.contains("-build-") {
            wrong.push(format!("`{effect}` happened {count} times"));
        }
        if is_of(&NEVER) {
            wrong.push(format!("`{effect}` happened"));
        }
    }
    wrong
}

/// How it failed, in its own words.
pub fn last_words(ran: &Ran) -> String {
    let told = ran.said.lines().skip_while(|line| !line.starts_with("error: ")).collect::<Vec<_>>().join(" | ");
    if told.is_empty() { ran.said.lines().last().unwrap_or_default().to_owned() } else { told }
}

/// Where two values differ, by path.
pub fn differences(path: &str, expected: &Value, found: &Value, wrong: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            for name in one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))) {
                let at = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
                differences(&format!("{path}.{name}"), &at(one), &at(other), wrong);
            }
        }
        _ if expected == found => {}
        _ => wrong.push(format!("{path} is {found}, undisturbed {expected}")),
    }
}
