//! Whether the journal on disk says that something was to be done, at the moment it is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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
            Self::Removal => is_intent && entry["deed"] == "remove",
        }
    }
}

/// The entries that were read: one that is published is never changed, and thousands of effects ask for them.
static READ: Mutex<BTreeMap<PathBuf, Value>> = Mutex::new(BTreeMap::new());

/// Another world begins, with other entries of the same names.
pub fn forget() {
    READ.lock().expect("alone").clear();
}

pub fn is_there(wanted: &Wanted) -> bool {
    let states = std::fs::read_dir(Path::new(WORKSPACE).join(".sre-provision")).into_iter().flatten().flatten();
    let mut read = READ.lock().expect("alone");
    let mut is_it = |file: PathBuf| {
        if !read.contains_key(&file) {
            let entry = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
            read.extend(entry.map(|entry| (file.clone(), entry)));
        }
        read.get(&file).is_some_and(|entry| wanted.is(entry))
    };
    states.flat_map(|state| files(&state.path())).any(&mut is_it)
}

/// The entries of an environment's journal, in order; half-written ones do not count.
fn files(state: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(state.join("journal")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files
}
