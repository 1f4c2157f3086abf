//! The check of each rule on a machine of the lab that is made to keep every rule, and then to break them, some at a time.
//!
//! `rules/stig.yml` and `rules/cis.yml` say how, in the words of `rules/words.sh`. A rule must pass while it is kept, fail
//! when it is broken, and not care when another is. Started by `tests/rules-in-lab`, which brings the machine up; what needs
//! no machine runs always.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "its script tells it the lab by variables, and people read what it measured"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sre_provision::artifact::{Access, Reach};
use sre_provision::compliance::{Catalogue, Check, Class, Depth, Published, Report, Status};
use sre_provision::environment::{HardeningProfile, NodeName, Role};
use sre_provision::node::{Connection, Connections, Keys, console_host_keys};
use sre_provision::secret::Secret;

const PROFILES: [HardeningProfile; 2] = [HardeningProfile::Stig, HardeningProfile::Cis];
const MACHINE: &str = "server-1";
/// So many times at least is the machine broken, a part of the rules each time.
const WAVES: usize = 6;

/// What the role checks and does not set.
const UNSETTLED: [&str; 1] = ["RHEL-09-671010"];

/// One way to break rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// These fail by it, and no other.
    rules: BTreeSet<String>,
    good: String,
    bad: String,
    /// The command or the part of the kernel that is played.
    #[serde(default)]
    played: Option<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn cases(profile: HardeningProfile) -> Vec<Case> {
    let path = root().join(format!("tests/rules/{}.yml", profile.name()));
    let text = std::fs::read_to_string(&path).expect("a table");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn catalogue(profile: HardeningProfile) -> Catalogue {
    Catalogue::whole(&root().join(Catalogue::DIR), profile).expect("the role's rules")
}

/// What a rule is while it is kept: one that is looked at in part does not pass.
fn kept(catalogue: &Catalogue) -> BTreeMap<&str, Status> {
    let mut kept = BTreeMap::new();
    for rule in &catalogue.rules {
        for id in &rule.ids {
            let status = kept.entry(id.as_str()).or_insert(Status::Pass);
            if matches!(rule.check, Check::Unchecked { .. }) {
                *status = Status::NotReviewed;
            }
        }
    }
    kept
}

/// The class that each rule has by what is broken here.
fn covered(profile: HardeningProfile) -> BTreeMap<String, Class> {
    let (catalogue, cases) = (catalogue(profile), cases(profile));
    let kept = kept(&catalogue);
    let is_checked = |id: &str| {
        catalogue.rules.iter().any(|rule| rule.ids.iter().any(|one| one == id) && !is_unchecked(&rule.check))
    };
    let class = |id: &str| {
        let mut of_rule = cases.iter().filter(|case| case.rules.contains(id)).peekable();
        match (of_rule.peek().is_some(), kept.get(id)) {
            (true, Some(Status::Pass)) if of_rule.any(|case| case.played.is_some()) => Class::StandIn,
            (true, Some(Status::Pass)) => Class::Shown,
            _ if is_checked(id) => Class::Read,
            _ => Class::NotTestable,
        }
    };
    Published::of(profile).expect("read").into_iter().map(|rule| (rule.id.clone(), class(&rule.id))).collect()
}

fn is_unchecked(check: &Check) -> bool {
    matches!(check, Check::Unchecked { .. })
}

#[test]
fn the_class_of_each_rule_is_what_is_broken_here() {
    let covered: BTreeMap<String, Class> = PROFILES.into_iter().flat_map(covered).collect();
    let told: BTreeMap<String, Class> = PROFILES
        .into_iter()
        .flat_map(|profile| Published::of(profile).expect("read"))
        .map(|rule| (rule.id, rule.class))
        .collect();

    if covered != told {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("classes.json");
        std::fs::write(&made, serde_json::to_string_pretty(&covered).expect("JSON") + "\n").expect("written");
        panic!("src/compliance/data/classes.json is not as it should be: {} is", made.display());
    }
}

#[test]
fn every_case_is_of_rules_that_something_looks_at() {
    for profile in PROFILES {
        let catalogue = catalogue(profile);
        let looked: BTreeSet<&String> =
            catalogue.rules.iter().filter(|rule| !is_unchecked(&rule.check)).flat_map(|rule| &rule.ids).collect();
        let strange: Vec<String> =
            cases(profile).into_iter().flat_map(|case| case.rules).filter(|id| !looked.contains(id)).collect();

        assert_eq!(strange, Vec::<String>::new(), "{}", profile.name());
    }
}

/// Cases that break one rule, or are mended alike, are not of one wave.
fn waves(cases: &[Case]) -> Vec<Vec<&Case>> {
    let mut waves: Vec<Vec<&Case>> = vec![vec![]; WAVES];
    for (at, case) in cases.iter().enumerate() {
        let is_free = |wave: &Vec<&Case>| {
            wave.iter().all(|other| other.rules.is_disjoint(&case.rules) && other.good != case.good)
        };
        let count = waves.len();
        match (0..count).map(|step| (at + step) % count).find(|wave| is_free(&waves[*wave])) {
            Some(wave) => waves[wave].push(case),
            None => waves.push(vec![case]),
        }
    }
    waves
}

struct Lab {
    connection: Connection,
    words: String,
    wrong: Vec<String>,
}

fn variable(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("`{name}` is not set: run tests/rules-in-lab")))
}

/// Every machine of the lab, by name, and the connections to them.
fn machines(user: &str) -> (Connections, Access) {
    let (machines, dir) = (variable("SRE_TEST_MACHINES"), variable("SRE_TEST_DIR"));
    let reach = |machine: &Path| Reach {
        machine: format!("i-{}", machine.file_name().expect("a name").to_string_lossy()),
        role: Some(Role::Server),
        address: std::fs::read_to_string(machine.join("ip")).expect("an address").trim().to_owned(),
        port: 22,
        user: user.to_owned(),
        host_keys: console_host_keys(&std::fs::read_to_string(machine.join("console.log")).expect("a console")),
        jump: None,
    };
    let nodes = std::fs::read_dir(machines).expect("machines").filter_map(|entry| {
        let entry = entry.expect("a machine");
        let name = NodeName(entry.file_name().to_string_lossy().into_owned());
        entry.path().join("ip").exists().then(|| (name, reach(&entry.path())))
    });
    let access = Access { nodes: nodes.collect(), unreached: BTreeMap::new(), jump: None };
    let key = std::fs::read(dir.join("key")).expect("a key");
    let keys = Keys { node: Some(Secret::new(key)), jump: None };
    (Connections::new(&dir.join("ssh"), keys, vec![]), access)
}

impl Lab {
    async fn new() -> Self {
        let (connections, access) = machines("root");
        let connection = connections.get(&NodeName(MACHINE.to_owned()), &access).await.expect("connected");
        let words = std::fs::read_to_string(root().join("tests/rules/words.sh")).expect("the words");
        Self { connection, words, wrong: vec![] }
    }

    /// Says these words on the machine; the first that fails is told.
    async fn say(&self, lines: &[&str]) {
        let lines = lines.join("\n");
        let script = format!(
            "exec bash <<'rules-end'\nset -eE\ntrap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n{}\n{lines}\nrules-end\n",
            self.words
        );
        let said = self.connection.run_within(&script, false, Duration::from_secs(300)).await.expect("an answer");
        assert_eq!(said.code, 0, "{}", said.stderr);
    }

    async fn measure(&self, catalogue: &Catalogue) -> Report {
        let said = self.connection.run(&catalogue.script(Depth::Deep), false).await.expect("an answer");
        catalogue.judge(&said.stdout)
    }

    /// Holds what was measured against what the cases make of the machine.
    fn hold(
        &mut self,
        of: &str,
        report: &Report,
        kept: &BTreeMap<&str, Status>,
        all: &BTreeSet<&str>,
        broken: &BTreeSet<&str>,
    ) {
        for id in all {
            let finding = &report.findings[*id];
            let wanted = if broken.contains(id) { Status::Fail } else { kept[id] };
            if finding.status != wanted {
                let wrong = format!("{of}: {id} is {:?} and not {wanted:?}: {}", finding.status, finding.observed);
                self.wrong.push(wrong);
            }
        }
    }
}

fn ids<'a>(cases: impl IntoIterator<Item = &'a Case>) -> BTreeSet<&'a str> {
    cases.into_iter().flat_map(|case| &case.rules).map(String::as_str).collect()
}

/// The packages that the words of the tables speak of.
fn packages(cases: &[Case]) -> BTreeSet<&str> {
    let words = cases.iter().flat_map(|case| [&case.good, &case.bad]);
    words.filter_map(|text| text.strip_prefix("no_package ").or_else(|| text.strip_prefix("package "))).collect()
}

#[tokio::test]
#[ignore = "needs a machine: run tests/rules-in-lab"]
async fn a_rule_passes_where_it_is_kept_and_fails_where_it_is_broken() {
    let mut lab = Lab::new().await;
    let both: Vec<Case> = PROFILES.into_iter().flat_map(cases).collect();
    let prepare = format!("prepare {}", packages(&both).into_iter().collect::<Vec<_>>().join(" "));
    lab.say(&[&prepare]).await;
    for profile in PROFILES {
        let (start, catalogue, cases) = (Instant::now(), catalogue(profile), cases(profile));
        let (kept, all, waves) = (kept(&catalogue), ids(&cases), waves(&cases));
        lab.say(&cases.iter().map(|case| case.good.as_str()).collect::<Vec<_>>()).await;
        println!("{}: every rule is kept after {:?}", profile.name(), start.elapsed());
        let report = lab.measure(&catalogue).await;
        lab.hold(&format!("{} kept", profile.name()), &report, &kept, &all, &BTreeSet::new());
        for (at, wave) in waves.iter().enumerate() {
            let broken = ids(wave.iter().copied());
            lab.say(&wave.iter().map(|case| case.bad.as_str()).collect::<Vec<_>>()).await;
            let report = lab.measure(&catalogue).await;
            lab.hold(&format!("{} wave {at}", profile.name()), &report, &kept, &all, &broken);
            lab.say(&wave.iter().map(|case| case.good.as_str()).collect::<Vec<_>>()).await;
        }
        let report = lab.measure(&catalogue).await;
        lab.hold(&format!("{} kept again", profile.name()), &report, &kept, &all, &BTreeSet::new());
        println!(
            "{}: {} rules, broken in {} ways in {} waves, {:?}",
            profile.name(),
            all.len(),
            cases.len(),
            waves.len(),
            start.elapsed()
        );
    }
    for wrong in &lab.wrong {
        println!("{wrong}");
    }
    assert_eq!(lab.wrong.len(), 0, "so many are not as they should be");
}

/// For `tests/role-in-lab`: what the stage `hardening` sees of machines after the role; the profile is in a machine's name.
#[tokio::test]
#[ignore = "needs machines on which the role was run: run tests/role-in-lab"]
async fn the_stage_finds_nothing_to_repair_after_the_role() {
    let (connections, access) = machines("rocky");
    let mut wrong = Vec::new();
    assert_eq!(access.nodes.len(), 2);
    for node in access.nodes.keys() {
        let profile = if node.0.starts_with("cis") { HardeningProfile::Cis } else { HardeningProfile::Stig };
        let rules = Catalogue::read(&root().join(Catalogue::DIR), profile).expect("the role's rules");
        let connection = connections.get(node, &access).await.expect("connected");
        let said = connection.run(&rules.script(Depth::Quick), true).await.expect("an answer");
        let report = rules.judge(&said.stdout);
        println!("{node}: {} of {} rules pass", report.count(Status::Pass), report.findings.len());
        assert!(report.count(Status::Pass) >= 80, "{node} was hardly looked at");
        let unsettled = |id: &String| !UNSETTLED.contains(&id.as_str());
        for id in report.open().into_iter().filter(unsettled) {
            let finding = &report.findings[&id];
            wrong.push(format!("{node}: {id}: {} (wanted: {})", finding.observed, finding.wanted));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// For `benches/measurement`: the time of looking at every machine at once, as `evidence` does, and the script that is run there.
#[tokio::test]
#[ignore = "needs machines: run benches/measurement"]
async fn every_machine_is_measured_at_once() {
    let (connections, access) = machines("rocky");
    let catalogue = catalogue(HardeningProfile::Stig);
    let script = catalogue.script(Depth::Deep);
    std::fs::write(variable("SRE_TEST_DIR").join("script.sh"), &script).expect("written");

    let start = Instant::now();
    let looks = access.nodes.keys().map(async |node| {
        let connection = connections.get(node, &access).await.expect("connected");
        let said = connection.run(&script, true).await.expect("an answer");
        assert!(said.stdout.ends_with("end yes\n"), "{}", said.stderr);
        catalogue.judge(&said.stdout)
    });
    let reports = futures_util::future::join_all(looks).await;

    println!("seconds {:.3}", start.elapsed().as_secs_f64());
    for (node, report) in access.nodes.keys().zip(&reports) {
        println!("{node} {} of {} pass", report.count(Status::Pass), report.findings.len());
        assert_eq!(report.findings.len(), catalogue.len());
    }
    let role = Catalogue::read(&root().join(Catalogue::DIR), HardeningProfile::Stig).expect("the role's rules");
    for (node, open) in access.nodes.keys().zip(reports.iter().map(Report::open)) {
        let held = |id: &&String| role.rules.iter().any(|rule| rule.ids.contains(id));
        println!("{node} open of the role: {}", open.iter().filter(held).cloned().collect::<Vec<_>>().join(" "));
    }
}
