//! The pages under `docs/` know every command, option and exit code, and nothing that does not exist.
#![expect(clippy::disallowed_methods, reason = "reads pages and asks the program for its help")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use sre_provision::compliance::{Class, Published, Severity};
use sre_provision::environment::HardeningProfile;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the program says of itself, or of one command.
fn help(command: Option<&str>) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sre-provision")).args(command).arg("--help").output();
    String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8")
}

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = help(None);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The long options in a help text.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split([' ', ',']).filter(|word| word.starts_with("--")).take(1));
    words.map(str::to_owned).collect()
}

/// The text of a page's section of level two.
fn section<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let start = page.find(&format!("\n## {heading}\n"))? + 1;
    let rest = &page[start..];
    Some(rest.find("\n## ").map_or(rest, |end| &rest[..end]))
}

#[test]
fn every_command_and_option_is_on_the_page_of_commands() {
    let page = page("docs/commands.md");
    let common = options(&help(None));
    let shared = section(&page, "Options of every command").expect("a section on common options");

    let mut missing: Vec<String> =
        common.iter().filter(|option| !shared.contains(&format!("`{option}"))).cloned().collect();
    for command in commands() {
        let Some(section) = section(&page, &format!("`{command}`")) else {
            missing.push(command);
            continue;
        };
        let own = options(&help(Some(&command)));
        let untold = own.difference(&common).filter(|option| !section.contains(&format!("`{option}")));
        missing.extend(untold.map(|option| format!("{command} {option}")));
    }

    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_page_of_commands_tells_of_none_that_does_not_exist() {
    let page = page("docs/commands.md");

    let told: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).map(str::to_owned).collect();

    assert_eq!(told, commands());
}

#[test]
fn the_page_of_evidence_counts_what_stands_behind_the_checks() {
    let mut lines = vec![
        "| profile | severity | shown | stand-in | read | not testable |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for profile in [HardeningProfile::Stig, HardeningProfile::Cis] {
        let rules = Published::of(profile).expect("the rules");
        let severities =
            Severity::ALL.into_iter().map(Some).filter(|_| profile == HardeningProfile::Stig).chain([None]);
        lines.extend(severities.map(|severity| {
            let of = |class| {
                let is_it =
                    |rule: &&Published| rule.class == class && severity.is_none_or(|one| rule.severity == Some(one));
                format!(" {} |", rules.iter().filter(is_it).count())
            };
            let counts = Class::ALL.map(of).concat();
            format!("| {} | {} |{counts}", profile.name(), severity.map_or("all", Severity::name))
        }));
    }
    let table = lines.join("\n");

    assert!(page("docs/evidence.md").contains(&table), "docs/evidence.md should have\n{table}");
}

#[test]
fn the_page_of_exit_codes_has_a_row_for_each_and_no_other() {
    let source = syn::parse_file(&page("src/failure.rs")).expect("Rust");
    let exit = source.items.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == "Exit" => Some(item),
        _ => None,
    });
    let numbers = exit.expect("the exit codes").variants.iter().map(|variant| match &variant.discriminant {
        Some((_, syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(number), .. }))) => number.to_string(),
        _ => panic!("`{}` has no number", variant.ident),
    });
    let mut known: BTreeSet<String> = numbers.collect();
    known.insert("0".to_owned());

    let rows: Vec<String> = page("docs/exit-codes.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|word| word.parse::<u8>().is_ok())
        .map(str::to_owned)
        .collect();

    assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>(), known);
    assert_eq!(rows.len(), known.len(), "a code stands in one row");
}

/// `ec2:DescribeVpcs` for each `.ec2.describe_vpcs()` in `src/cloud/aws`.
fn calls() -> BTreeSet<String> {
    let clients = [("ec2", "ec2"), ("elb", "elasticloadbalancing"), ("iam", "iam"), ("logs", "logs")];
    let mut calls = BTreeSet::new();
    for file in files_below(&root().join("src/cloud/aws"), "rs") {
        let source: String = std::fs::read_to_string(&file).expect("readable").split_whitespace().collect();
        for (client, service) in clients {
            let before = format!("self.{client}.");
            let called = source.split(&before).skip(1).filter_map(|rest| rest.split_once("()"));
            let verbs = called.map(|(verb, _)| verb).filter(|verb| *verb != "config");
            calls.extend(verbs.map(|verb| format!("{service}:{}", verb.split('_').map(capital).collect::<String>())));
        }
    }
    calls
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[test]
fn the_policy_grants_every_call_that_the_program_can_make() {
    let policy: serde_json::Value = serde_json::from_str(&page("docs/aws-iam-policy.json")).expect("JSON");
    let statements = policy["Statement"].as_array().expect("statements").iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        serde_json::Value::Array(actions) => actions.clone(),
        one => vec![one.clone()],
    });
    let granted: BTreeSet<String> = actions.filter_map(|action| action.as_str().map(str::to_owned)).collect();

    let calls = calls();
    let missing: Vec<&String> = calls.difference(&granted).collect();

    assert!(calls.contains("ec2:RunInstances") && calls.len() > 50, "the calls were not found: {calls:?}");
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn the_policy_of_a_shared_state_grants_what_the_room_of_objects_calls_and_no_more() {
    let policy: serde_json::Value = serde_json::from_str(&page("docs/aws-iam-policy-state.json")).expect("JSON");
    let granted = |sid: &str| -> BTreeSet<String> {
        let statements = policy["Statement"].as_array().expect("statements");
        let one = statements.iter().find(|statement| statement["Sid"] == sid).expect("a statement");
        let actions = one["Action"].as_array().cloned().unwrap_or_else(|| vec![one["Action"].clone()]);
        actions.iter().map(|action| action.as_str().expect("an action").to_owned()).collect()
    };
    let source: String = page("src/objects/s3.rs").split_whitespace().collect();
    let called = [
        (".put_opts(", "s3:PutObject"),
        (".get(&", "s3:GetObject"),
        (".delete(&", "s3:DeleteObject"),
        (".list(", "s3:ListBucket"),
    ];
    let called: BTreeSet<String> =
        called.iter().filter(|(call, _)| source.contains(call)).map(|(_, right)| (*right).to_owned()).collect();

    let state: BTreeSet<String> = granted("State").union(&granted("Find")).cloned().collect();

    assert_eq!(state, called);
    let anchor = ["s3:GetObject", "s3:GetObjectRetention", "s3:PutObject"].map(str::to_owned);
    assert_eq!(granted("Anchor"), BTreeSet::from(anchor));
    let told = page("docs/state.md");
    assert!(state.iter().chain(&granted("Anchor")).all(|right| told.contains(&format!("`{right}`"))), "{state:?}");
}

#[test]
fn every_link_of_a_page_leads_to_a_file() {
    let dead: Vec<String> = pages().iter().flat_map(|path| dead_links(path)).collect();

    assert_eq!(dead, Vec::<String>::new());
}

#[test]
fn every_page_that_the_program_names_exists() {
    let mut missing = Vec::new();
    for file in files_below(&root().join("src"), "rs") {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let named = text.match_indices("docs/").filter_map(|(at, _)| text[at..].split_once(".md"));
        let names = named.map(|(name, _)| format!("{name}.md")).filter(|name| !name.contains(char::is_whitespace));
        missing.extend(names.filter(|name| !root().join(name).exists()));
    }

    assert_eq!(missing, Vec::<String>::new());
}

/// The README and every page of the operator's.
fn pages() -> Vec<PathBuf> {
    let mut pages = files_below(&root().join("docs"), "md");
    pages.extend([root().join("README.md"), root().join("environments/README.md")]);
    pages
}

/// The targets of relative links that are not there.
fn dead_links(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let relative = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    let dir = path.parent().expect("a directory");
    relative.filter(|target| !dir.join(target).exists()).map(|target| format!("{}: {target}", path.display())).collect()
}

fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The rows of the tables in a section, as their cells.
fn rows(section: &str) -> Vec<Vec<String>> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    cells.filter(|cells| !["id", "nr"].contains(&cells[0].as_str())).collect()
}

/// What stands between back-ticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Why `file::function`, or a command of `tests/`, shows nothing; `None` when it is there.
fn no_test(named: &str) -> Option<String> {
    let Some((file, function)) = named.split_once("::") else {
        let command = named.split(' ').next().unwrap_or_default();
        return (!root().join(command).is_file()).then(|| format!("`{named}` is no test and no command"));
    };
    let Ok(text) = std::fs::read_to_string(root().join(file)) else { return Some(format!("`{file}` does not exist")) };
    // A function of the crash tests is a case when it is listed; any other test is marked right above it.
    let is_case = text.contains(&format!(": {function},\n"));
    let mark = text.find(&format!("fn {function}(")).map(|at| &text[..at]);
    let is_marked = mark.is_some_and(|before| {
        let above = before.trim_end_matches("async ").trim_end().lines().next_back().unwrap_or_default();
        above.trim_start().starts_with("#[") && above.contains("test")
    });
    let is_python = file.ends_with(".py") && text.contains(&format!("    def {function}(self"));
    (!(is_case || is_marked || is_python)).then(|| format!("`{file}` has no test `{function}`"))
}

#[test]
fn every_fault_and_invariant_has_a_test_that_exists_or_a_reason() {
    let page = page("docs/faults.md");
    let (shown, unshown) = page.split_once("\n## What no test shows\n").expect("an honest end");
    let (faults, invariants) = shown.split_once("\n## Invariants\n").expect("invariants");

    let mut amiss = vec![];
    for row in rows(faults).into_iter().chain(rows(invariants)) {
        let tests = row.last().map(|cell| quoted(cell)).unwrap_or_default();
        if tests.is_empty() {
            amiss.push(format!("{} names no test", row[0]));
        }
        amiss.extend(tests.iter().filter_map(|test| Some(format!("{}: {}", row[0], no_test(test)?))));
    }
    for row in rows(unshown) {
        let has_reason = row.len() == 3 && row[2].len() > 15;
        amiss.extend((!has_reason).then(|| format!("{} has no reason", row[0])));
    }

    assert_eq!(amiss, Vec::<String>::new());
    assert!(
        rows(faults).len() > 60 && rows(invariants).len() > 20 && rows(unshown).len() > 20,
        "the rows were not found"
    );
}

/// `A4`, and each of `F3–F11`.
fn ids(cell: &str) -> Vec<String> {
    let one = |text: &str| match text.split_once('–') {
        None => vec![text.to_owned()],
        Some((first, last)) => {
            let number = |id: &str| id[1..].parse::<u32>().unwrap_or_else(|_| panic!("`{id}` is no id"));
            (number(first)..=number(last)).map(|number| format!("{}{number}", &first[..1])).collect()
        }
    };
    cell.split(", ").flat_map(one).collect()
}

#[test]
fn every_fault_that_is_known_stands_in_one_row() {
    let page = page("docs/faults.md");
    let known = [("A", 22), ("B", 25), ("C", 13), ("D", 22), ("E", 42), ("F", 13), ("G", 15)];
    let known: BTreeSet<String> =
        known.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}"))).collect();

    let is_fault = |id: &String| id.starts_with(|letter: char| letter.is_ascii_uppercase());
    let told: Vec<String> = rows(&page).iter().flat_map(|row| ids(&row[0])).filter(is_fault).collect();

    let missing: Vec<&String> = known.iter().filter(|id| !told.contains(id)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let mut once = BTreeSet::new();
    let twice: Vec<&String> = told.iter().filter(|id| !once.insert(*id)).collect();
    assert_eq!(twice, Vec::<&String>::new());
}

/// Every platform shows each case by a test that exists, or says in words why not.
#[test]
fn every_case_has_on_every_platform_a_test_that_exists_or_a_reason() {
    let page = page("docs/platforms.md");

    let mut amiss = vec![];
    let cases = rows(&page).split_off(1);
    for row in &cases {
        amiss.extend((row.len() != 4).then(|| format!("{}: {} cells", row[0], row.len())));
        for cell in &row[1..] {
            let tests: Vec<_> = quoted(cell).into_iter().filter(|word| word.contains("::")).collect();
            amiss.extend((tests.is_empty() && cell.len() < 15).then(|| format!("{}: no test and no reason", row[0])));
            amiss.extend(tests.iter().filter_map(|test| Some(format!("{}: {}", row[0], no_test(test)?))));
        }
    }

    assert_eq!(amiss, Vec::<String>::new());
    assert!(cases.len() > 10, "the rows were not found");
}
