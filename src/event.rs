//! Something that happened, as data: what `report/` shows and `--output json` prints.
//!
//! Rooms send events and never print. Sending cannot fail and never waits: a report that has gone away loses events,
//! not the run.

use std::time::Duration;

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
    /// Whether it only tells what a tool is called with or says.
    pub fn is_of_a_tool(&self) -> bool {
        matches!(self, Self::ToolStarted { .. } | Self::ToolSaid { .. })
    }
}

/// Where events go; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    /// A sender and the end that a report reads.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub fn send(&self, event: Event) {
        // A report that has gone away must not stop the run.
        drop(self.0.send(event));
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
