//! Reads declared inputs into digests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::failure::Failure;
use crate::fingerprint::{Digest, Input, Inputs, Reading};
use crate::tools::Tools;
use crate::workspace::{Workspace, tree_digest};

/// Reads inputs; a tree that several stages declare is read once.
pub struct Reader<'a> {
    workspace: &'a Workspace,
    tools: &'a Tools,
    trees: Mutex<BTreeMap<PathBuf, Digest>>,
}

impl<'a> Reader<'a> {
    pub fn new(workspace: &'a Workspace, tools: &'a Tools) -> Self {
        Self { workspace, tools, trees: Mutex::default() }
    }

    /// # Errors
    /// A tree that is missing or holds a symbolic link, a tool that is missing or of a wrong version.
    pub fn read(&self, inputs: &Inputs) -> Result<Reading, Failure> {
        let mut reading = Reading::default();
        for (name, input) in inputs.iter() {
            let digest = match input {
                Input::Value(value) => Digest::of_value(value),
                Input::Tool(tool) => self.tools.get(tool)?.digest.clone(),
                Input::Tree(path) => self.tree(path)?,
            };
            reading.insert(name, digest);
        }
        Ok(reading)
    }

    fn tree(&self, path: &PathBuf) -> Result<Digest, Failure> {
        if let Some(digest) = self.known(path) {
            return Ok(digest);
        }
        let digest = tree_digest(&self.workspace.asset(path))?;
        if let Ok(mut trees) = self.trees.lock() {
            trees.insert(path.clone(), digest.clone());
        }
        Ok(digest)
    }

    fn known(&self, path: &PathBuf) -> Option<Digest> {
        self.trees.lock().ok()?.get(path).cloned()
    }
}
