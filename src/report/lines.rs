//! Progress without a terminal: each line once, when it is settled.

use crate::event::{Event, NodeState, Outcome};
use crate::report::{Detail, ago, clock, took};

/// The line of an event; `None` for what passes, unless everything is told.
pub fn line(event: &Event, detail: Detail) -> Option<String> {
    Some(match event {
        Event::StageReused { stage, summary } => format!("  ✓ {stage:<14} reused  {summary}"),
        Event::StageStarted { stage, attempt: 1, until } => {
            format!("  → {stage:<14} started · until {}", clock(*until))
        }
        Event::StageStarted { stage, attempt, until } => {
            format!("  → {stage:<14} started, attempt {attempt} · until {}", clock(*until))
        }
        Event::NodeProgress { stage, node, state: NodeState::Done | NodeState::Failed, text } => {
            format!("    {stage:<14} {node}: {text}")
        }
        Event::Progress { stage, text } if detail == Detail::Everything => format!("    {stage:<14} {text}"),
        Event::NodeProgress { stage, node, text, .. } if detail == Detail::Everything => {
            format!("    {stage:<14} {node}: {text}")
        }
        Event::Retry { stage, why, after, .. } => {
            format!("  ↻ {stage:<14} {why}; once more in {}", took(*after))
        }
        Event::StageSilent { stage, since, silent, last } => {
            format!("  … {stage:<14} silent since {} ({}) · last: {last}", clock(*since), ago(*silent))
        }
        Event::StageEnded { stage, outcome, took: time, summary } => ended(*stage, *outcome, *time, summary),
        Event::ToolStarted { slot, command } if detail == Detail::Everything => format!("    {slot} $ {command}"),
        Event::ToolSaid { slot, line } if detail == Detail::Everything => format!("    {slot} | {line}"),
        Event::ToolSaidMore { slot, lines } if detail == Detail::Everything => {
            format!("    {slot} | … {lines} lines left out: they stand in the log")
        }
        Event::Notice { text } => text.clone(),
        Event::RunStarted { run, environment } => {
            format!("run {run:04} of {environment} · Ctrl-C stops it, the same command resumes it")
        }
        Event::Progress { .. }
        | Event::NodeProgress { .. }
        | Event::ToolStarted { .. }
        | Event::ToolSaid { .. }
        | Event::ToolSaidMore { .. }
        | Event::RunEnded { .. } => return None,
    })
}

pub fn ended(stage: crate::artifact::Kind, outcome: Outcome, time: std::time::Duration, summary: &str) -> String {
    let time = took(time);
    match outcome {
        Outcome::Succeeded => format!("  ✓ {stage:<14} made in {time:<8} {summary}"),
        Outcome::Skipped => format!("  · {stage:<14} not started    {summary}"),
        Outcome::Failed | Outcome::Partial => format!("  ✗ {stage:<14} failed after {time}  {summary}"),
        Outcome::Interrupted | Outcome::Indeterminate | Outcome::Fenced => {
            format!("  ‖ {stage:<14} {} after {time}", outcome.name())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Kind;

    #[test]
    fn a_silent_stage_is_told_with_since_when_and_what_it_said_last() {
        let silent = Event::StageSilent {
            stage: Kind::Servers,
            since: "2026-11-24T14:20:09Z".parse().expect("a time"),
            silent: std::time::Duration::from_secs(372),
            last: "server-2: waiting for etcd".to_owned(),
        };

        assert_eq!(
            line(&silent, Detail::Settled).as_deref(),
            Some("  … servers        silent since 14:20:09 UTC (6 min) · last: server-2: waiting for etcd")
        );
    }

    #[test]
    fn what_passes_leaves_no_line_and_what_is_settled_leaves_one() {
        let passing = Event::Progress { stage: Kind::Nodes, text: "12 of 40".to_owned() };
        let settled = Event::StageReused { stage: Kind::Bundle, summary: "v1.35.4+rke2r1".to_owned() };

        let tool = Event::ToolSaid { slot: "nodes-apply".to_owned(), line: "Apply complete!".to_owned() };
        assert_eq!(line(&tool, Detail::Settled), None);
        assert_eq!(line(&tool, Detail::Everything).as_deref(), Some("    nodes-apply | Apply complete!"));
        assert_eq!(line(&passing, Detail::Settled), None);
        assert_eq!(line(&settled, Detail::Settled).as_deref(), Some("  ✓ bundle         reused  v1.35.4+rke2r1"));
        assert_eq!(line(&passing, Detail::Everything).as_deref(), Some("    nodes          12 of 40"));
    }
}
