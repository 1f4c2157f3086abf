//! `sre-provision logs`: what the tools of a run said, without its secrets.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Common;
use super::desk::last_state;
use crate::failure::{Exit, Failure};
use crate::report::Screen;
use crate::workspace::check_name;

#[derive(Debug, clap::Args)]
pub struct Logs {
    /// The environment
    environment: String,
    /// A stage or a node; the names of all logs without it
    name: Option<String>,
    /// The run; the last one without it
    #[arg(long, value_name = "NUMBER")]
    run: Option<u32>,
}

impl Logs {
    pub fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        check_name(&self.environment)?;
        let workspace = common.open()?;
        let none = || Failure::new(Exit::NotDone, format!("`{}` has no run with logs", self.environment));
        let state = last_state(&workspace, &self.environment)?.ok_or_else(none)?;
        let runs = state.path().join("runs");
        let dir = match self.run {
            Some(number) => state.run(number),
            None => entries(&runs).pop().ok_or_else(none)?,
        };
        let logs: Vec<PathBuf> =
            entries(&dir).into_iter().filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
        let Some(name) = self.name else {
            let shown: Vec<String> = logs.iter().map(|log| workspace.shown(log).display().to_string()).collect();
            screen.result(&shown.join("\n"), &json!({ "logs": logs }));
            return Ok(());
        };
        let log = logs.iter().find(|log| stem(log) == name).ok_or_else(|| {
            let names: Vec<String> = logs.iter().map(|log| stem(log)).collect();
            Failure::new(Exit::NotDone, format!("{} holds no log of `{name}`", workspace.shown(&dir).display()))
                .hint(format!("there are {}", names.join(", ")))
        })?;
        let text = std::fs::read(log).map_err(|error| {
            Failure::new(Exit::NotDone, format!("cannot read `{}`", workspace.shown(log).display())).because(error)
        })?;
        let text = String::from_utf8_lossy(&text);
        screen.result(text.trim_end(), &json!({ "log": log, "text": text }));
        Ok(())
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is in a directory, by name; nothing where there is none.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = read.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
