//! Packs of evidence: counts, the forms that others read, and what was changed in one.

use super::*;
use crate::compliance::Catalogue;

const NODE: &str = "server-1";

fn finding(status: Status, excepted: Option<&str>) -> Finding {
    Finding {
        status,
        observed: "seen <b>so</b>".to_owned(),
        wanted: "so".to_owned(),
        excepted: excepted.map(str::to_owned),
        waived: None,
    }
}

/// A node with these results and nothing else.
fn subject(findings: &[(&str, Status, Option<&str>)]) -> Subject {
    let findings = findings.iter().map(|(id, status, why)| ((*id).to_owned(), finding(*status, *why))).collect();
    let machine =
        Machine { machine: "i-1".to_owned(), address: "10.20.1.11".to_owned(), report: Ok(Report { findings }) };
    Subject {
        environment: "dev".to_owned(),
        id: Uuid::nil(),
        profile: HardeningProfile::Stig,
        taken: Timestamp::from_second(1_796_000_000).expect("a time"),
        rke2: "v1.35.4+rke2r1".to_owned(),
        nodes: BTreeMap::from([(NodeName(NODE.to_owned()), machine)]),
        rules: Published::of(HardeningProfile::Stig).expect("read"),
        waivers: vec![],
        images: Value::Null,
        journal: vec![],
    }
}

const FINDINGS: [(&str, Status, Option<&str>); 5] = [
    ("RHEL-09-211045", Status::Pass, None),
    ("RHEL-09-671010", Status::Fail, None),
    ("RHEL-09-213105", Status::Fail, Some("pods need it")),
    ("RHEL-09-271040", Status::NotApplicable, None),
    ("RHEL-09-212010", Status::Unknown, None),
];

fn file(subject: &Subject, name: &str) -> Value {
    serde_json::from_slice(&subject.files().expect("files")[name]).expect("JSON")
}

#[test]
fn every_rule_is_counted_once_and_no_evidence_is_no_pass() {
    let scores = subject(&FINDINGS).score(&NodeName(NODE.to_owned()));

    let all = Score { pass: 1, fail: 1, excepted: 1, waived: 0, not_applicable: 1, not_reviewed: 440, unknown: 1 };
    assert_eq!(scores[&None], all);
    let high = Score { pass: 1, fail: 1, not_applicable: 1, not_reviewed: 25, ..Score::default() };
    assert_eq!(scores[&Some(Severity::High)], high);
}

#[test]
fn a_checklist_has_every_rule_with_its_status_in_the_words_of_its_readers() {
    let checklist = file(&subject(&FINDINGS), "checklists/server-1.cklb");

    let rules = checklist["stigs"][0]["rules"].as_array().expect("rules");
    assert_eq!((rules.len(), &checklist["stigs"][0]["size"]), (445, &serde_json::json!(445)));
    let of = |id: &str| {
        let rule = rules.iter().find(|rule| rule["rule_version"] == id).expect("the rule");
        (rule["status"].as_str().expect("a status"), rule["comments"].as_str().expect("comments"))
    };
    assert_eq!(of("RHEL-09-211045"), ("not_a_finding", ""));
    assert_eq!(of("RHEL-09-671010"), ("open", ""));
    assert_eq!(of("RHEL-09-213105"), ("open", "pods need it"));
    assert_eq!(of("RHEL-09-271040"), ("not_applicable", ""));
    assert_eq!(of("RHEL-09-212010"), ("not_reviewed", ""));
    assert_eq!(of("RHEL-09-211010"), ("not_reviewed", ""), "nobody looked");
    let one = &rules[0];
    assert_eq!(one["rule_id_src"], serde_json::json!(format!("{}_rule", one["rule_id"].as_str().expect("an id"))));
}

#[test]
fn a_control_is_satisfied_where_its_rules_pass_and_none_fails() {
    let rules = Published::of(HardeningProfile::Stig).expect("read");
    let of_control: Vec<&str> = rules
        .iter()
        .filter(|rule| rule.controls.iter().any(|control| control == "sc-13"))
        .map(|rule| rule.id.as_str())
        .collect();
    assert!(!of_control.is_empty());
    let state = |status: &dyn Fn(usize) -> Status| {
        let findings: Vec<_> = of_control.iter().enumerate().map(|(at, id)| (*id, status(at), None)).collect();
        let subject = subject(&findings);
        let results = file(&subject, "oscal/assessment-results.json");
        let findings = results["assessment-results"]["results"][0]["findings"].clone();
        let found = findings.as_array().expect("findings").iter().find(|one| one["title"] == "sc-13").cloned();
        let plan = file(&subject, "oscal/system-security-plan.json");
        let plan = plan["system-security-plan"]["control-implementation"]["implemented-requirements"].clone();
        let plan = plan.as_array().expect("requirements").iter().find(|one| one["control-id"] == "sc-13").cloned();
        (
            found.expect("sc-13")["target"]["status"]["state"].clone(),
            plan.expect("sc-13")["by-components"][0]["implementation-status"]["state"].clone(),
        )
    };

    assert_eq!(state(&|_| Status::Pass), ("satisfied".into(), "implemented".into()));
    assert_eq!(
        state(&|at| if at == 0 { Status::Fail } else { Status::Pass }),
        ("not-satisfied".into(), "partial".into())
    );
    assert_eq!(state(&|_| Status::NotReviewed), ("not-satisfied".into(), "planned".into()));
    assert_eq!(state(&|_| Status::Fail), ("not-satisfied".into(), "planned".into()));
    let open = |at: usize| if at == 0 { Status::NotReviewed } else { Status::Pass };
    assert_eq!(state(&open), ("not-satisfied".into(), "partial".into()), "one rule of it was not decided");
}

#[test]
fn a_page_shows_what_a_node_said_as_text() {
    let files = subject(&FINDINGS).files().expect("files");
    let page = String::from_utf8_lossy(&files["index.html"]);

    assert!(page.contains("seen &lt;b&gt;so&lt;"), "{}", &page[..2_000]);
    assert!(!page.contains("<b>so"));
    assert!(page.contains("(pods need it)"));
    assert_eq!(page.matches("<tr><td>RHEL-09-").count(), 445);
}

#[test]
fn a_waived_rule_stays_open_and_is_told_with_its_owner_and_end() {
    let mut subject = subject(&FINDINGS);
    let waiver = |expires: &str| crate::hardening::Waiver {
        rule: "RHEL-09-671010".to_owned(),
        nodes: vec![],
        pools: vec!["servers".to_owned()],
        reason: "converted at the next release".to_owned(),
        owner: "platform".to_owned(),
        expires: expires.parse().expect("a day"),
    };
    let node = NodeName(NODE.to_owned());
    let waive = |subject: &mut Subject, today: &str| {
        let report = subject.nodes.get_mut(&node).expect("the node").report.as_mut().expect("a report");
        let today = today.parse().expect("a day");
        let waiver = waiver("2027-03-31");
        let used = report.waive(&node, crate::wanted::Role::Server, std::slice::from_ref(&waiver), today);
        subject.waivers = vec![Applied { expired: waiver.has_expired(today), used: used.contains(&0), waiver }];
    };
    let told = "waived by platform until 2027-03-31: converted at the next release";

    waive(&mut subject, "2027-03-31");
    let score = subject.score(&node)[&None];
    assert_eq!((score.pass, score.fail, score.waived, score.excepted), (1, 0, 1, 1));
    let checklist = file(&subject, "checklists/server-1.cklb");
    let rules = checklist["stigs"][0]["rules"].as_array().expect("rules");
    let rule = rules.iter().find(|rule| rule["rule_version"] == "RHEL-09-671010").expect("the rule");
    assert_eq!((rule["status"].as_str(), rule["comments"].as_str()), (Some("open"), Some(told)));
    let results = file(&subject, "oscal/assessment-results.json");
    let risks = results["assessment-results"]["results"][0]["risks"].as_array().expect("risks").clone();
    assert_eq!((risks.len(), &risks[0]["status"]), (1, &"deviation-approved".into()));
    assert_eq!(risks[0]["deadline"], "2027-03-31T23:59:59Z");
    let results = file(&subject, "results.json");
    let finding = &results["nodes"][NODE]["findings"]["RHEL-09-671010"];
    assert_eq!((&finding["status"], &finding["result"]), (&"fail".into(), &"waived".into()));
    assert_eq!(results["waivers"][0]["used"], true);
    let files = subject.files().expect("files");
    assert!(String::from_utf8_lossy(&files["index.html"]).contains(told));

    let mut late = self::subject(&FINDINGS);
    waive(&mut late, "2027-04-01");
    let score = late.score(&node)[&None];
    assert_eq!((score.fail, score.waived), (1, 0), "it has expired");
    assert!(file(&late, "oscal/assessment-results.json")["assessment-results"]["results"][0].get("risks").is_none());
}

#[test]
fn each_class_of_checks_is_counted_per_severity() {
    let classes = subject(&FINDINGS).classes();

    let sum = |severity: &str| classes[severity].values().sum::<usize>();
    assert_eq!((sum("all"), sum("high"), sum("medium"), sum("low")), (445, 28, 402, 15));
    let page = String::from_utf8(subject(&FINDINGS).files().expect("files")["index.html"].clone()).expect("text");
    let cells: String =
        Class::ALL.map(|class| format!("<td class=\"number\">{}</td>", classes["all"][class.name()])).concat();
    assert!(page.contains(&format!("<tr><td>all</td>{cells}</tr>")));
}

#[test]
fn the_same_findings_give_the_same_files() {
    assert_eq!(subject(&FINDINGS).files().expect("files"), subject(&FINDINGS).files().expect("files"));
}

#[test]
fn a_changed_a_missing_and_a_strange_file_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = BTreeMap::from([("a".to_owned(), b"one".to_vec()), ("b/c".to_owned(), b"two".to_vec())]);
    let manifest = Manifest::of("dev", Uuid::nil(), Timestamp::UNIX_EPOCH, &files);
    std::fs::create_dir(dir.path().join("b")).expect("made");
    for (name, bytes) in &files {
        std::fs::write(dir.path().join(name), bytes).expect("written");
    }
    std::fs::write(dir.path().join(MANIFEST), manifest.bytes().expect("JSON")).expect("written");
    let wrong = || manifest.wrong(&files_of(dir.path()).expect("read"));

    assert_eq!(wrong(), []);
    std::fs::write(dir.path().join("a"), "onE").expect("written");
    std::fs::rename(dir.path().join("b/c"), dir.path().join("b/d")).expect("moved");
    let told: Vec<String> = wrong().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["`a` is not as it was", "`b/c` is missing", "`b/d` does not belong to it"]);
}

#[test]
fn a_manifest_with_a_name_outside_of_the_pack_or_of_another_version_is_refused() {
    let text = |version: u32, name: &str| {
        serde_json::json!({ "version": version, "environment": "dev", "id": Uuid::nil(), "taken": "2026-11-30T00:00:00Z",
            "files": { name: Digest::of(b"") } })
        .to_string()
    };
    let read = |text: String| Manifest::read(text.as_bytes()).map_err(|failure| failure.to_string());

    assert!(read(text(1, "a/b")).is_ok());
    assert_eq!(
        read(text(1, "../a")).expect_err("refused"),
        "the evidence cannot be read: `../a` would lie outside of it"
    );
    assert_eq!(
        read(text(2, "a")).expect_err("refused"),
        "the evidence cannot be read: its manifest has version 2; 1 is known"
    );
}

#[test]
fn what_a_machine_says_comes_to_a_finding_of_every_rule() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(Catalogue::DIR);
    let catalogue = Catalogue::whole(&dir, HardeningProfile::Stig).expect("the role");

    let report = catalogue.judge("system yes\nrpm audit\nrpms yes\nwalked yes\n");

    assert_eq!(report.findings.len(), 445);
    assert_eq!(report.findings["RHEL-09-215015"].status, Status::Pass, "vsftpd is not there");
    assert_eq!(report.findings["RHEL-09-652010"].status, Status::Fail, "rsyslog is not there");
    assert_eq!(report.findings["RHEL-09-411035"].status, Status::NotReviewed);
}

#[test]
fn a_node_that_could_not_be_asked_passes_nothing() {
    let mut subject = subject(&[]);
    let machine = subject.nodes.get_mut(&NodeName(NODE.to_owned())).expect("the node");
    machine.report = Err("no way to it".to_owned());

    let scores = subject.score(&NodeName(NODE.to_owned()));

    assert_eq!(scores[&None], Score { unknown: 445, ..Score::default() });
}
