//! Progress on a terminal: a line per stage and node that is being worked on, redrawn in place.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::artifact::Kind;
use crate::environment::NodeName;
use crate::event::{Event, NodeState};
use crate::report::{Detail, lines};

/// The lines that are being redrawn.
pub struct Live {
    screen: MultiProgress,
    stages: BTreeMap<Kind, ProgressBar>,
    nodes: BTreeMap<(Kind, NodeName), ProgressBar>,
    detail: Detail,
}

impl Live {
    pub fn new(color: bool, detail: Detail) -> Self {
        let screen = MultiProgress::new();
        if !color {
            screen.set_move_cursor(true);
        }
        Self { screen, stages: BTreeMap::new(), nodes: BTreeMap::new(), detail }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::StageStarted { stage, .. } => self.start(*stage),
            Event::Progress { stage, text } => {
                if let Some(line) = self.stages.get(stage) {
                    line.set_message(text.clone());
                }
                self.print_passing(event);
            }
            Event::NodeProgress { stage, node, state, text } => {
                self.node(*stage, node, *state, text);
                self.print_passing(event);
            }
            Event::StageEnded { stage, .. } => {
                self.settle(*stage);
                self.print(event);
            }
            Event::StageReused { .. }
            | Event::Retry { .. }
            | Event::StageSilent { .. }
            | Event::ToolStarted { .. }
            | Event::ToolSaid { .. }
            | Event::ToolSaidMore { .. }
            | Event::Notice { .. }
            | Event::RunStarted { .. }
            | Event::RunEnded { .. } => self.print(event),
        }
    }

    /// What moves is on the screen already; it stays there as well where everything is told.
    fn print_passing(&self, event: &Event) {
        if self.detail == Detail::Everything {
            self.print(event);
        }
    }

    /// A settled line goes above those that move.
    fn print(&self, event: &Event) {
        if let Some(line) = lines::line(event, self.detail) {
            // A terminal that has gone away is no failure of the run.
            drop(self.screen.println(line));
        }
    }

    fn start(&mut self, stage: Kind) {
        self.settle(stage);
        let line = self
            .screen
            .add(ProgressBar::new_spinner().with_style(style("  {spinner} {prefix:<14} {elapsed:>6}  {wide_msg}")));
        line.set_prefix(stage.name());
        line.enable_steady_tick(Duration::from_millis(120));
        self.stages.insert(stage, line);
    }

    fn node(&mut self, stage: Kind, node: &NodeName, state: NodeState, text: &str) {
        let Some(above) = self.stages.get(&stage) else { return };
        let line = self.nodes.entry((stage, node.clone())).or_insert_with(|| {
            let line = ProgressBar::new_spinner().with_style(style("      {prefix:<12} {wide_msg}"));
            let line = self.screen.insert_after(above, line);
            line.set_prefix(node.to_string());
            line
        });
        let mark = match state {
            NodeState::Waiting => "·",
            NodeState::Working => "…",
            NodeState::Done => "✓",
            NodeState::Failed => "✗",
        };
        line.set_message(format!("{mark} {text}"));
    }

    /// Takes a stage's lines off the screen.
    fn settle(&mut self, stage: Kind) {
        if let Some(line) = self.stages.remove(&stage) {
            line.finish_and_clear();
        }
        self.nodes.retain(|(of, _), line| {
            if *of == stage {
                line.finish_and_clear();
            }
            *of != stage
        });
    }
}

/// The templates are constants of this file; a wrong one shows as the default style in any run.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
