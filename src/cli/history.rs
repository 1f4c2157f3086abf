//! `sre-provision history`: what was run, by whom, and what came of it.

use serde_json::json;

use super::Common;
use super::desk::last_state;
use crate::failure::{Exit, Failure};
use crate::journal::{Deed, Journal, LocalStore, PastRun, history, load_identity};
use crate::report::{Screen, table, took};
use crate::workspace::check_name;

#[derive(Debug, clap::Args)]
pub struct History {
    /// The environment
    environment: String,
    /// Every stage of one run
    #[arg(long, value_name = "NUMBER")]
    run: Option<u32>,
}

impl History {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        check_name(&self.environment)?;
        let workspace = common.open()?;
        let name = &self.environment;
        let none = || Failure::new(Exit::NotDone, format!("`{name}` has no history here"));
        let state = last_state(&workspace, name)?.ok_or_else(none)?;
        let identity = load_identity(&state)?.ok_or_else(none)?;
        // Opening verifies the whole chain: what is shown is what was written.
        let journal = Journal::open(Box::new(LocalStore::new(&state)), &identity).await?;
        let runs = history(journal.entries());
        let (text, shown): (String, Vec<&PastRun>) = match self.run {
            None => (all(&runs), runs.iter().collect()),
            Some(number) => {
                let run = runs
                    .iter()
                    .find(|run| run.number == number)
                    .ok_or_else(|| Failure::new(Exit::NotDone, format!("`{name}` has no run {number}")))?;
                (one(run), vec![run])
            }
        };
        if state != workspace.state(name) {
            screen.remark(&format!("{name} is gone; this is kept in {}", workspace.shown(state.path()).display()));
        }
        screen.result(&text, &json!({ "environment": name, "id": identity.id, "runs": shown }));
        Ok(())
    }
}

fn all(runs: &[PastRun]) -> String {
    let mut rows = vec![["RUN", "STARTED", "COMMAND", "BY", "OUTCOME", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|run| {
        vec![
            format!("{:04}", run.number),
            run.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            run.command.clone(),
            run.actor.to_string(),
            run.outcome.name().to_owned(),
            run.why.clone().unwrap_or_default(),
        ]
    }));
    table(&rows)
}

fn one(run: &PastRun) -> String {
    let mut rows = vec![["STAGE", "DEED", "OUTCOME", "TRIES", "STEPS", "TOOK", "MADE"].map(str::to_owned).to_vec()];
    rows.extend(run.stages.iter().map(|stage| {
        vec![
            stage.stage.to_string(),
            match stage.deed {
                Deed::Make => "make".to_owned(),
                Deed::Remove => "remove".to_owned(),
            },
            stage.outcome.name().to_owned(),
            stage.attempts.to_string(),
            stage.steps.to_string(),
            stage.took.map(took).unwrap_or_default(),
            stage.made.clone().or_else(|| stage.why.clone()).unwrap_or_default(),
        ]
    }));
    table(&rows)
}
