//! Reads OpenTofu's JSON stream: what it does now, what it could not do, and whether it came to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Notify;

use crate::artifact::Kind;
use crate::event::Events;
use crate::tools::tofu::intended::{Change, Intended, Output};

/// One line of the stream (`ui` 1.x), as far as we read it.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default, rename = "type")]
    kind: String,
    hook: Option<Hook>,
    diagnostic: Option<Diagnostic>,
    changes: Option<Changes>,
    change: Option<Change>,
    outputs: Option<BTreeMap<String, Output>>,
}

#[derive(Debug, Deserialize)]
struct Hook {
    resource: Resource,
    #[serde(default)]
    action: String,
    #[serde(default)]
    elapsed_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Resource {
    addr: String,
}

#[derive(Debug, Deserialize)]
struct Diagnostic {
    severity: String,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    detail: String,
    address: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Changes {
    pub add: u32,
    pub change: u32,
    pub remove: u32,
    pub operation: String,
}

/// What a stream has said so far.
pub(super) struct Stream<'a> {
    stage: Kind,
    events: &'a Events,
    /// Changes that are planned, if known.
    total: usize,
    done: usize,
    /// In flight: seconds by address.
    open: BTreeMap<String, f64>,
    pub errors: Vec<String>,
    /// How many of the errors are of data sources: something that is looked up and not there.
    of_data: usize,
    pub summary: Option<Changes>,
    /// Of a plan.
    pub intended: Intended,
    /// Told when OpenTofu does what it does only under the lock of its state.
    working: Arc<Notify>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(stage: Kind, events: &'a Events, total: usize) -> Self {
        Self {
            stage,
            events,
            total,
            done: 0,
            open: BTreeMap::new(),
            errors: vec![],
            of_data: 0,
            summary: None,
            intended: Intended::default(),
            working: Arc::default(),
        }
    }

    /// Is told once OpenTofu has said that it is at work: a look at a resource or a change of one.
    pub(super) fn working(&self) -> Arc<Notify> {
        Arc::clone(&self.working)
    }

    pub(super) fn line(&mut self, line: &str) {
        // A line that is none of ours stands in the log.
        let Ok(line) = serde_json::from_str::<Line>(line) else { return };
        if line.hook.is_some() {
            self.working.notify_one();
        }
        match (line.kind.as_str(), line.hook, line.diagnostic) {
            ("apply_start" | "apply_progress", Some(hook), _) => self.goes_on(hook),
            ("apply_complete", Some(hook), _) => {
                self.open.remove(&hook.resource.addr);
                self.done += usize::from(hook.action != "read");
                self.tell();
            }
            ("apply_errored", Some(hook), _) => {
                self.open.remove(&hook.resource.addr);
            }
            ("diagnostic", _, Some(diagnostic)) if diagnostic.severity == "error" => {
                self.of_data += usize::from(diagnostic.is_of_data());
                self.errors.push(diagnostic.sentence());
            }
            ("change_summary", ..) => self.summary = line.changes,
            ("planned_change", ..) => line.change.into_iter().for_each(|change| self.intended.changes(change)),
            // After an apply they stand here with their values.
            ("outputs", ..) => line.outputs.into_iter().for_each(|outputs| self.intended.outputs(outputs)),
            _ => {}
        }
    }

    /// Whether nothing went wrong but that something that is looked up could not be read.
    pub(super) fn lacks_data(&self) -> bool {
        self.of_data > 0 && self.of_data == self.errors.len()
    }

    /// How much of it is done, for a failure.
    pub(super) fn progress(&self) -> Option<String> {
        (self.total > 0).then(|| format!("{} of {} changes made", self.done, self.total))
    }

    fn goes_on(&mut self, hook: Hook) {
        self.open.insert(hook.resource.addr, hook.elapsed_seconds);
        self.tell();
    }

    fn tell(&self) {
        let done = self.progress().unwrap_or_else(|| format!("{} changes made", self.done));
        // What has been in flight for longest is what we wait for.
        let longest = self.open.iter().max_by(|one, other| one.1.total_cmp(other.1));
        let text = match longest {
            Some((address, seconds)) if *seconds >= 1.0 => {
                format!("{done} · waiting for {} ({seconds:.0} s)", short(address))
            }
            Some((address, _)) => format!("{done} · {}", short(address)),
            None => done,
        };
        self.events.progress(self.stage, text);
    }
}

impl Diagnostic {
    fn is_of_data(&self) -> bool {
        // Of what is built into OpenTofu the address stands in the text alone.
        short(self.address.as_deref().unwrap_or(&self.summary)).starts_with("data.")
    }

    fn sentence(&self) -> String {
        let about = self.address.as_ref().map(|address| format!("`{}`: ", short(address))).unwrap_or_default();
        let detail = self.detail.split_whitespace().collect::<Vec<_>>().join(" ");
        let detail = if detail.is_empty() { String::new() } else { format!(": {}", clipped(&detail)) };
        let sentence = format!("{about}{}{detail}", clipped(self.summary.trim()));
        // It stands on a line of a failure.
        sentence.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Providers can be wordy; the log has all of it.
fn clipped(text: &str) -> String {
    const LONGEST: usize = 400;
    if text.chars().count() <= LONGEST { text.to_owned() } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

/// `module.network.aws_vpc.this["a"]` → `aws_vpc.this["a"]`
pub(super) fn short(address: &str) -> &str {
    let mut rest = address;
    while let Some(inner) = rest.strip_prefix("module.") {
        match inner.split_once('.') {
            Some((_, after)) => rest = after,
            None => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    /// The texts of the progress that a stream sends.
    fn texts(lines: &str, total: usize) -> (Vec<String>, Vec<String>, Option<Changes>) {
        let (events, mut received) = Events::channel();
        let mut stream = Stream::new(Kind::Network, &events, total);
        lines.lines().for_each(|line| stream.line(line));
        let (errors, summary) = (stream.errors, stream.summary);
        let mut texts = vec![];
        while let Some(Event::Progress { text, .. }) = received.try_recv() {
            texts.push(text);
        }
        (texts, errors, summary)
    }

    #[test]
    fn progress_names_what_has_been_waited_for_longest() {
        let (texts, errors, summary) = texts(include_str!("../../../tests/fixtures/tofu-1.12.6-apply.jsonl"), 3);

        assert_eq!(
            texts,
            [
                "0 of 3 changes made · terraform_data.one",
                "0 of 3 changes made · terraform_data.one",
                "1 of 3 changes made · terraform_data.many[\"a b\"]",
                "2 of 3 changes made",
                "2 of 3 changes made · terraform_data.many[\"c\"]",
                "3 of 3 changes made",
            ]
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(summary, Some(Changes { add: 3, change: 0, remove: 0, operation: "apply".to_owned() }));
    }

    #[test]
    fn an_error_names_its_resource_and_what_the_platform_said() {
        let (_, errors, summary) = texts(include_str!("../../../tests/fixtures/tofu-1.12.6-apply-refused.jsonl"), 1);

        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("`terraform_data.bad`: "), "{errors:?}");
        assert_eq!(summary, None);
    }

    #[test]
    fn only_where_every_error_is_of_something_looked_up_is_it_data_that_lacks() {
        let lacks = |addresses: &[&str]| {
            let (events, _received) = Events::channel();
            let mut stream = Stream::new(Kind::Network, &events, 0);
            for address in addresses {
                let diagnostic = serde_json::json!({ "severity": "error", "summary": "no", "address": address });
                stream.line(&serde_json::json!({ "type": "diagnostic", "diagnostic": diagnostic }).to_string());
            }
            stream.lacks_data()
        };

        assert!(lacks(&["module.nodes.data.vsphere_virtual_machine.template[\"a.b\"]", "data.vsphere_network.this"]));
        assert!(!lacks(&["data.vsphere_network.this", "vsphere_virtual_machine.node"]));
        assert!(!lacks(&["module.data.aws_vpc.this"]) && !lacks(&[]));
    }

    #[test]
    fn addresses_are_shown_without_their_modules() {
        assert_eq!(short("module.network.module.vpc.aws_subnet.private[\"a.b\"]"), "aws_subnet.private[\"a.b\"]");
        assert_eq!(short("aws_vpc.this"), "aws_vpc.this");
    }
}
