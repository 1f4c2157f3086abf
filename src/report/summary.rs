//! The closing table of a run: every stage and what came of it.

use std::time::Duration;

use serde::Serialize;

use crate::artifact::Kind;
use crate::event::Outcome;
use crate::report::{table, took};

/// A stage's line.
#[derive(Clone, Debug, Serialize)]
pub struct StageLine {
    pub stage: Kind,
    pub outcome: Outcome,
    pub reused: bool,
    pub took: Duration,
    pub summary: String,
}

/// A line a stage, with its time.
pub fn closing_table(lines: &[StageLine]) -> String {
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    table(&rows)
}

fn row(line: &StageLine) -> Vec<String> {
    let (mark, word) = match (line.outcome, line.reused) {
        (Outcome::Succeeded, true) => ("✓", "reused"),
        (Outcome::Succeeded, false) => ("✓", "made"),
        (Outcome::Skipped, _) => ("·", "not started"),
        (Outcome::Failed | Outcome::Partial, _) => ("✗", line.outcome.name()),
        (Outcome::Interrupted | Outcome::Indeterminate | Outcome::Fenced, _) => ("‖", line.outcome.name()),
    };
    let time = if line.took.is_zero() { String::new() } else { took(line.took) };
    vec![format!("  {mark} {}", line.stage), word.to_owned(), time, line.summary.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_named_with_its_outcome() {
        let line = |stage, outcome, reused, seconds, summary: &str| StageLine {
            stage,
            outcome,
            reused,
            took: Duration::from_secs(seconds),
            summary: summary.to_owned(),
        };

        let text = closing_table(&[
            line(Kind::Bundle, Outcome::Succeeded, true, 0, "v1.35.4+rke2r1"),
            line(Kind::Network, Outcome::Succeeded, false, 118, "vpc-1"),
            line(Kind::Nodes, Outcome::Failed, false, 61, "server-2 did not start"),
            line(Kind::Access, Outcome::Skipped, false, 0, "needs nodes"),
        ]);

        insta::assert_snapshot!(text, @r"
          ✓ bundle   reused               v1.35.4+rke2r1
          ✓ network  made         1m 58s  vpc-1
          ✗ nodes    failed       1m 01s  server-2 did not start
          · access   not started          needs nodes
        ");
    }
}
