//! Reads the lines of our callback plugin (`ansible/callback_plugins/README.md`, version 1).

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    event: String,
    task: Option<String>,
    host: Option<String>,
    status: Option<String>,
    result: serde_json::Value,
    before: Option<String>,
    /// Counts per host (`stats`), or the hosts of a play.
    hosts: serde_json::Value,
}

/// What came of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostResult {
    /// Tasks.
    pub ok: u32,
    pub changed: u32,
    pub failed: bool,
    pub unreachable: bool,
    /// The task that failed and what it said; empty if none did.
    pub message: String,
}

/// What has been told of a play so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    hosts: BTreeMap<String, HostResult>,
    latest: Option<(String, String)>,
    is_complete: bool,
    stopped_before: Option<String>,
}

impl Report {
    /// Takes a line; gives the name of a task that begins.
    pub fn line(&mut self, line: &str) -> Option<String> {
        self.latest = None;
        let line: Line = serde_json::from_str(line).ok()?;
        match line.event.as_str() {
            "task_start" | "handler_start" => return line.task,
            "host" => self.host(line),
            "stats" => self.stats(&line.hosts),
            "stopped" => self.stopped_before = line.before,
            _ => {}
        }
        None
    }

    /// The host and task that the last line was about.
    pub fn latest(&self) -> Option<(&str, &str)> {
        self.latest.as_ref().map(|(host, task)| (host.as_str(), task.as_str()))
    }

    pub fn hosts(&self) -> BTreeMap<String, HostResult> {
        self.hosts.clone()
    }

    /// Whether the play came to its end.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The task or play that a stop prevented.
    pub fn stopped_before(&self) -> Option<&str> {
        self.stopped_before.as_deref()
    }

    fn host(&mut self, line: Line) {
        let (Some(name), Some(task)) = (line.host, line.task) else { return };
        let host = self.hosts.entry(name.clone()).or_default();
        let said = || format!("task `{task}`: {}", said(&line.result));
        match line.status.as_deref() {
            Some("ok") => host.ok += 1,
            Some("changed") => {
                host.ok += 1;
                host.changed += 1;
            }
            Some("failed") => {
                host.failed = true;
                host.message = said();
            }
            Some("unreachable") => {
                host.unreachable = true;
                host.message = said();
            }
            _ => {}
        }
        self.latest = Some((name, task));
    }

    /// The counts decide: a failure that a block rescued is none.
    fn stats(&mut self, counts: &serde_json::Value) {
        for (name, counts) in counts.as_object().into_iter().flatten() {
            let count = |key: &str| counts.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
            let host = self.hosts.entry(name.clone()).or_default();
            host.ok = u32::try_from(count("ok")).unwrap_or(u32::MAX);
            host.changed = u32::try_from(count("changed")).unwrap_or(u32::MAX);
            host.failed = count("failures") > 0;
            host.unreachable = count("unreachable") > 0;
            if !host.failed && !host.unreachable {
                host.message.clear();
            }
        }
        self.is_complete = true;
    }
}

/// What a module said, on one line.
fn said(result: &serde_json::Value) -> String {
    if result.get("censored").is_some() {
        return "its output is secret".to_owned();
    }
    let text = |key: &str| {
        result
            .get(key)
            .and_then(serde_json::Value::as_str)
            .map(|text| text.trim().trim_end_matches('.'))
            .filter(|text| !text.is_empty())
    };
    let all: Vec<_> = ["msg", "stderr", "reason"].into_iter().filter_map(text).take(2).collect();
    let all = if all.is_empty() { vec![text("stdout").unwrap_or("it did not say why")] } else { all };
    all.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> (Report, Vec<String>) {
        let mut report = Report::default();
        let tasks = text.lines().filter_map(|line| report.line(line)).collect();
        (report, tasks)
    }

    #[test]
    fn each_host_is_told_apart_and_a_rescued_failure_is_none() {
        let (report, tasks) = report(include_str!("../../../tests/fixtures/ansible-2.21.5-events.jsonl"));

        let hosts = report.hosts();
        assert!(report.is_complete());
        assert_eq!(tasks[0], "Say hello");
        assert_eq!((hosts["good"].failed, hosts["good"].changed, hosts["good"].message.as_str()), (false, 1, ""));
        assert!(hosts["bad"].failed);
        assert_eq!(
            hosts["bad"].message,
            "task `Fail on one`: The command exited with a non-zero return code: no room left"
        );
        assert!(hosts["gone"].unreachable, "{:?}", hosts["gone"]);
        assert!(!hosts["good"].unreachable);
    }

    #[test]
    fn a_play_without_its_last_line_is_not_complete() {
        let text = include_str!("../../../tests/fixtures/ansible-2.21.5-events.jsonl");
        let cut = &text[..text.trim_end().rfind('\n').expect("lines")];

        assert!(!report(cut).0.is_complete());
    }

    #[test]
    fn a_secret_task_says_so() {
        let (report, _) = report(
            r#"{"v":1,"event":"host","host":"a","task":"Write the token","status":"failed","result":{"censored":true}}"#,
        );

        assert_eq!(report.hosts()["a"].message, "task `Write the token`: its output is secret");
    }
}
