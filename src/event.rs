//! Something that happened, as data: what `report/` shows and `--output json` prints.
//!
//! Rooms send events and never print. Sending cannot fail and never waits: a report that has gone away loses events,
//! not the run. One that is slower than a tool prints loses lines of it, and is told how many; the log has them all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::artifact::Kind;
use crate::environment::NodeName;
use crate::failure::Failure;

/// How a stage, a step or a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Succeeded,
    Failed,
    /// Some of its nodes or resources are made, others not.
    Partial,
    Interrupted,
    /// Intended, and nobody knows what came of it.
    Indeterminate,
    /// Not started, because something it needs was not made.
    Skipped,
    /// Ended by a writer that had lost its lease.
    Fenced,
}

impl Outcome {
    /// How something ended that is made whole or not at all.
    pub fn of<T>(result: &Result<T, Failure>) -> Self {
        match result {
            Ok(_) => Self::Succeeded,
            Err(failure) if failure.is_cancelled() => Self::Interrupted,
            Err(_) => Self::Failed,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::Interrupted => "interrupted",
            Self::Indeterminate => "indeterminate",
            Self::Skipped => "skipped",
            Self::Fenced => "fenced",
        }
    }
}

/// What a node is doing within a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    Waiting,
    Working,
    Done,
    Failed,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    RunStarted {
        run: u32,
        environment: String,
    },
    StageReused {
        stage: Kind,
        summary: String,
    },
    StageStarted {
        stage: Kind,
        attempt: u32,
        /// Its deadline, by the clock of now.
        until: Timestamp,
    },
    /// The latest line of what a stage is doing; replaces the one before.
    Progress {
        stage: Kind,
        text: String,
    },
    NodeProgress {
        stage: Kind,
        node: NodeName,
        state: NodeState,
        text: String,
    },
    /// A transient failure; the stage goes on after the delay.
    Retry {
        stage: Kind,
        attempt: u32,
        why: String,
        after: Duration,
    },
    /// Nothing came from a stage for longer than its work is ever silent when all is well; it goes on.
    StageSilent {
        stage: Kind,
        since: Timestamp,
        silent: Duration,
        /// What it or a tool of it said last.
        last: String,
    },
    StageEnded {
        stage: Kind,
        outcome: Outcome,
        took: Duration,
        summary: String,
    },
    /// A tool was started: its command line, without secrets.
    ToolStarted {
        slot: String,
        command: String,
    },
    /// A line of a tool's output, without secrets.
    ToolSaid {
        slot: String,
        line: String,
    },
    /// Lines that came faster than they were taken; they stand in the log.
    ToolSaidMore {
        slot: String,
        lines: u64,
    },
    /// Something a person should read that belongs to no stage.
    Notice {
        text: String,
    },
    RunEnded {
        run: u32,
        outcome: Outcome,
        took: Duration,
    },
}

impl Event {
    /// The stage whose sign of life this is, where in it that comes from, and what it says.
    fn sign(&self) -> Option<(Kind, String, String)> {
        let (whole, text) = (String::new(), |text: &String| text.clone());
        Some(match self {
            Self::StageStarted { stage, attempt, .. } => (*stage, whole, format!("attempt {attempt} began")),
            Self::Retry { stage, why, .. } => (*stage, whole, text(why)),
            Self::Progress { stage, text: said } => (*stage, whole, text(said)),
            Self::NodeProgress { stage, node, text: said, .. } => (*stage, node.to_string(), format!("{node}: {said}")),
            Self::ToolStarted { slot, .. } => (of_slot(slot)?, text(slot), format!("{slot} began")),
            Self::ToolSaid { slot, line } => (of_slot(slot)?, text(slot), text(line)),
            Self::RunStarted { .. }
            | Self::StageReused { .. }
            | Self::StageSilent { .. }
            | Self::StageEnded { .. }
            | Self::ToolSaidMore { .. }
            | Self::Notice { .. }
            | Self::RunEnded { .. } => return None,
        })
    }

    /// Whether it only tells what a tool is called with or says.
    pub fn is_of_a_tool(&self) -> bool {
        matches!(self, Self::ToolStarted { .. } | Self::ToolSaid { .. } | Self::ToolSaidMore { .. })
    }

    /// What it takes up until somebody takes it, where it comes from what a tool says: that has no bound.
    fn weight(&self) -> usize {
        match self {
            Self::ToolSaid { slot, line } => size_of::<Self>() + slot.len() + line.len(),
            Self::Progress { text, .. } => size_of::<Self>() + text.len(),
            _ => 0,
        }
    }
}

/// The stage that a tool runs for: slots begin with its name.
fn of_slot(slot: &str) -> Option<Kind> {
    let is_of = |kind: &Kind| slot.strip_prefix(kind.name()).is_some_and(|rest| rest.starts_with('-'));
    Kind::ALL.into_iter().find(is_of)
}

/// What was heard from a stage: how often something new, and the last of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub times: u64,
    pub last: String,
    /// The last words of each of its nodes and tools.
    said: BTreeMap<String, String>,
}

/// Of a line that is told as the last one.
const LONGEST: usize = 300;

/// How words begin that tell that there are no other ones.
pub const UNCHANGED: &str = "no change for ";

impl Heard {
    /// Words that are repeated are nothing new: waiting for the same is no progress.
    fn hear(&mut self, from: String, text: String) {
        if self.said.get(&from) != Some(&text) && !text.contains(UNCHANGED) {
            self.times += 1;
            self.last = text.chars().take(LONGEST).collect();
            self.said.insert(from, text);
        }
    }
}

/// Of lines of tools that nobody has taken yet.
const MOST_WAITING: usize = 4 << 20;

/// Lines of tools between the two ends: their bytes, and how many were left out by slot.
#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    left_out: BTreeMap<String, u64>,
}

/// Where events go; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::UnboundedSender<Event>,
    waiting: Arc<Mutex<Waiting>>,
    heard: Arc<Mutex<BTreeMap<Kind, Heard>>>,
}

/// The end that a report reads.
#[derive(Debug)]
pub struct Received {
    receiver: mpsc::UnboundedReceiver<Event>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Received {
    /// The next event; `None` when nobody is left to send one.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        self.taken(event.as_ref());
        event
    }

    /// The next event, if it was sent already.
    pub fn try_recv(&mut self) -> Option<Event> {
        let event = self.receiver.try_recv().ok();
        self.taken(event.as_ref());
        event
    }

    fn taken(&self, event: Option<&Event>) {
        if let (Some(event), Ok(mut waiting)) = (event, self.waiting.lock()) {
            waiting.bytes = waiting.bytes.saturating_sub(event.weight());
        }
    }
}

impl Events {
    /// A sender and the end that a report reads.
    pub fn channel() -> (Self, Received) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<Mutex<Waiting>>::default();
        (Self { sender, waiting: waiting.clone(), heard: Arc::default() }, Received { receiver, waiting })
    }

    pub fn send(&self, event: Event) {
        if let (Some((stage, from, text)), Ok(mut heard)) = (event.sign(), self.heard.lock()) {
            heard.entry(stage).or_default().hear(from, text);
        }
        if self.finds_room(&event) {
            // A report that has gone away must not stop the run.
            drop(self.sender.send(event));
        }
    }

    /// Counts what has weight as waiting, or as left out where too much waits already. How many lines of a tool were left
    /// out is told before its next one that finds room; progress is replaced by later progress anyway.
    fn finds_room(&self, event: &Event) -> bool {
        let (weight, Ok(mut waiting)) = (event.weight(), self.waiting.lock()) else { return true };
        let has_room = weight == 0 || waiting.bytes + weight <= MOST_WAITING;
        if has_room {
            waiting.bytes += weight;
        }
        if let Event::ToolSaid { slot, .. } = event {
            if has_room {
                self.tell_left_out(slot, &mut waiting);
            } else {
                *waiting.left_out.entry(slot.clone()).or_default() += 1;
            }
        }
        has_room
    }

    fn tell_left_out(&self, slot: &str, waiting: &mut Waiting) {
        if let Some(lines) = waiting.left_out.remove(slot) {
            drop(self.sender.send(Event::ToolSaidMore { slot: slot.to_owned(), lines }));
        }
    }

    /// A tool says no more: tells how many of its lines were left out since the last that was not.
    pub fn tool_ended(&self, slot: &str) {
        if let Ok(mut waiting) = self.waiting.lock() {
            self.tell_left_out(slot, &mut waiting);
        }
    }

    /// What came from a stage so far.
    pub fn heard(&self, stage: Kind) -> Heard {
        self.heard.lock().ok().and_then(|heard| heard.get(&stage).cloned()).unwrap_or_default()
    }

    pub fn progress(&self, stage: Kind, text: impl Into<String>) {
        self.send(Event::Progress { stage, text: text.into() });
    }

    pub fn node(&self, stage: Kind, node: &NodeName, state: NodeState, text: impl Into<String>) {
        self.send(Event::NodeProgress { stage, node: node.clone(), state, text: text.into() });
    }

    pub fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice { text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_tool_that_nobody_takes_are_counted_and_all_else_is_kept() {
        let (events, mut received) = Events::channel();
        let say =
            |length: usize| events.send(Event::ToolSaid { slot: "nodes-apply".to_owned(), line: "x".repeat(length) });

        (0..9).for_each(|_| say(1 << 20));
        events.notice("kept");
        events.tool_ended("nodes-apply");
        say(1 << 20);
        let taken: Vec<_> = std::iter::from_fn(|| received.try_recv()).collect();
        say(1);

        let lines = taken.iter().filter(|event| event.is_of_a_tool()).count();
        let left_out = |lines| Event::ToolSaidMore { slot: "nodes-apply".to_owned(), lines };
        assert_eq!((lines, &taken[3..]), (4, &[Event::Notice { text: "kept".to_owned() }, left_out(6)][..]));
        assert_eq!(received.try_recv(), Some(left_out(1)));
        assert!(matches!(received.try_recv(), Some(Event::ToolSaid { .. })));
    }

    #[test]
    fn what_nodes_say_again_in_turn_is_nothing_new() {
        let (events, _received) = Events::channel();
        let say = |node: &str, text: &str| {
            events.node(Kind::Access, &NodeName(node.to_owned()), NodeState::Waiting, text);
        };

        for _ in 0..3 {
            say("server-1", "no answer");
            say("agent-1", "no answer");
        }
        say("server-1", "no change for 5 min: no answer");
        say("server-1", "answers");

        let heard = events.heard(Kind::Access);
        assert_eq!((heard.times, heard.last.as_str()), (3, "server-1: answers"));
        assert_eq!(events.heard(Kind::Nodes), Heard::default());
    }
}
