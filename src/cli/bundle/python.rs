//! Ansible out of the wheels that were loaded, so that a machine with nothing but Python can go on from there.

use std::path::{Path, PathBuf};

use super::apart;
use crate::bundle::{FileKind, Manifest, wheel_projects};
use crate::cli::desk::Desk;
use crate::cli::loaded_tools::{self, PYTHON, PYTHON_DONE};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::tools::pip::Installer;
use crate::workspace::{RealDisk, remove, remove_tree, write_atomic};

/// What makes such an environment worth having.
const ANSIBLE: &str = "ansible-core";
/// pip is what installs, and is not called afterwards.
const PIP: &str = "pip";

/// Installs what the bundle has of Ansible, unless that is there. `None` where it has none.
///
/// # Errors
/// There is no Python that can; the environment is gone then.
pub async fn install(desk: &Desk, manifest: &Manifest) -> Result<Option<PathBuf>, Failure> {
    let loaded = desk.state.loaded();
    let into = loaded.join(PYTHON);
    let projects = wheel_projects(manifest);
    if !projects.contains(ANSIBLE) {
        remove_tree(&into)?;
        return Ok(None);
    }
    let tools = loaded_tools::tools(&loaded, |set| set);
    let python = tools.other("python3", "install Python 3 from the packages of your system").ok();
    let wheels: Vec<(&str, &Digest)> =
        manifest.of_kind(FileKind::Wheel).map(|file| (file.name.as_str(), &file.sha256)).collect();
    let state = Digest::of_value(&(wheels, python)).to_string();
    let done = into.join(PYTHON_DONE);
    if std::fs::read_to_string(&done).is_ok_and(|last| last == state) {
        return Ok(Some(into));
    }
    remove(&RealDisk, &done)?;
    let place = into.clone();
    let made = apart(move || {
        let names: Vec<&str> = projects.iter().map(String::as_str).filter(|name| *name != PIP).collect();
        Installer { tools: &tools, wheels: &loaded.join("wheels"), into: &place }.install(&names)
    });
    if let Err(failure) = made.await {
        remove_tree(&into)?;
        return Err(failure);
    }
    if !is_there(&into) {
        remove_tree(&into)?;
        return Err(Failure::new(Exit::NotDone, "Ansible of the bundle has no `ansible-playbook`"));
    }
    // It counts from here on.
    write_atomic(&done, state.as_bytes(), 0o644)?;
    Ok(Some(into))
}

fn is_there(into: &Path) -> bool {
    into.join("bin/ansible-playbook").is_file()
}
