//! Everything a person or a program reads: the one room that prints.
//!
//! Data comes in as events, plans and failures; what goes out is text on a terminal, plain lines where there is none, or
//! JSON lines. Results go to standard output, progress and failures to standard error.

mod failure;
mod json;
mod lines;
mod live;
mod plan;
mod summary;
mod table;
mod time;

pub use failure::failure_text;
pub use live::Live;
pub use plan::{kept_text, plan_text};
pub use summary::{StageLine, closing_table};
pub use table::table;
pub use time::{ago, clock, moment, took};

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::event::Received;
use crate::failure::Failure;

/// How output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// Where text goes and how it looks.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub format: Format,
    /// A terminal that can be redrawn; otherwise each line is printed once, when it is settled.
    pub live: bool,
    pub color: bool,
    pub detail: Detail,
}

/// How much is told of what passes, where it leaves a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// What is settled.
    #[default]
    Settled,
    /// Also what each stage and node is doing, and what tools are called with and say.
    Everything,
}

impl Screen {
    /// `color` is what flags and `NO_COLOR` allow; a missing terminal overrules it. `still` says that nothing is redrawn,
    /// whatever there is.
    pub fn new(format: Format, color: bool, still: bool, detail: Detail) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let live = terminal && !still && format == Format::Human;
        Self { format, live, color: color && terminal, detail }
    }

    /// A result for people, to standard output.
    pub fn text(&self, text: &str) {
        if self.format == Format::Human {
            print(text);
        }
    }

    /// A result: its own text for people, its data for programs.
    pub fn result(&self, text: &str, data: &impl Serialize) {
        match self.format {
            Format::Human => print(text),
            Format::Json => print(&json::line(data)),
        }
    }

    /// Why the program ends; the whole chain, once.
    pub fn failure(&self, failure: &Failure) {
        match self.format {
            Format::Human => complain(&failure_text(failure, self.color)),
            Format::Json => print(&json::failure(failure)),
        }
    }

    /// A word to the person at the terminal that is no result.
    pub fn remark(&self, text: &str) {
        if self.format == Format::Human {
            complain(text);
        }
    }

    /// Asks at the terminal and returns the line typed; `None` where nobody can answer.
    pub fn ask(&self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let mut error = std::io::stderr();
        write!(error, "{question} ").and_then(|()| error.flush()).ok()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }

    /// Shows events until their senders are gone.
    pub async fn follow(self, mut events: Received) {
        let mut live = self.live.then(|| Live::new(self.color, self.detail));
        while let Some(event) = events.recv().await {
            match (self.format, &mut live) {
                (Format::Json, _) if event.is_of_a_tool() && self.detail == Detail::Settled => {}
                (Format::Json, _) => print(&json::line(&event)),
                (Format::Human, Some(live)) => live.show(&event),
                (Format::Human, None) => lines::line(&event, self.detail).iter().for_each(|line| complain(line)),
            }
        }
    }
}

/// Writes a line to standard output; a reader that has gone away is no failure of ours.
fn print(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
