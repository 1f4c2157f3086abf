//! Whether the journal on disk says that something was to be done, at the moment it is done.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::wire::WORKSPACE;

/// What must stand in the journal.
#[derive(Clone, Debug)]
pub enum Wanted {
    Stage(String),
    Step(String, String),
    /// That anything is taken away.
    Removal,
}

impl Wanted {
    pub fn stage(stage: &str) -> Self {
        Self::Stage(stage.to_owned())
    }

    pub fn step(stage: &str, step: &str) -> Self {
        Self::Step(stage.to_owned(), step.to_owned())
    }

    pub fn removal() -> Self {
        Self::Removal
    }

    fn is(&self, entry: &Value) -> bool {
        let is_intent = entry["kind"] == "intent";
        match self {
            Self::Stage(stage) => is_intent && entry["stage"] == stage.as_str(),
            Self::Step(stage, step) => is_intent && entry["stage"] == stage.as_str() && entry["step"] == step.as_str(),
            Self::Removal => {
                let is_down = entry["command"].as_str().is_some_and(|command| command.starts_with("down "));
                is_intent && entry["deed"] == "remove" || is_down
            }
        }
    }
}

pub fn is_there(wanted: &Wanted) -> bool {
    let states = std::fs::read_dir(Path::new(WORKSPACE).join(".sre-provision")).into_iter().flatten().flatten();
    states.flat_map(|state| entries(&state.path())).any(|entry| wanted.is(&entry))
}

/// The entries of an environment's journal, in order; half-written ones do not count.
pub fn entries(state: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(state.join("journal")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files.iter().filter_map(|file| serde_json::from_slice(&std::fs::read(file).ok()?).ok()).collect()
}
