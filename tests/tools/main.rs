//! The real Packer, OpenTofu and Ansible, on things that need no platform.
//!
//! They are looked for on PATH and among what `lab/lab setup` has made.
#![expect(clippy::disallowed_methods, reason = "tests build worlds of files and scripted programs")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use sre_provision::artifact::Kind;
use sre_provision::event::{Events, Received};
use sre_provision::process::Children;
use sre_provision::stop::Stop;
use sre_provision::tools::{ToolCx, ToolEnvironment, Tools};
use sre_provision::workspace::{StateDir, Workspace};

mod ansible;
#[path = "../notes/mod.rs"]
mod notes;
mod packer;
mod tofu;

use notes::Notes;

/// PATH, and after it the directories of the lab's cache.
fn search_path() -> OsString {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    let cache = std::env::var_os("SRE_LAB_CACHE").map_or_else(|| home.join(".cache/sre-provision/lab"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    let made = std::fs::read_dir(&cache).into_iter().flatten().flatten().map(|entry| entry.path());
    for dir in made.filter(|dir| dir.extension().is_none_or(|end| end != "partial")) {
        dirs.extend([dir.join("bin"), dir]);
    }
    std::env::join_paths(dirs).expect("a search path")
}

fn tools() -> Tools {
    let path = search_path();
    let variables = [("HOME", std::env::var_os("HOME").expect("HOME")), ("PATH", path.clone())];
    let environment = ToolEnvironment::of(variables.map(|(name, value)| (name.into(), value)));
    Tools::new(&path, environment)
}

struct World {
    dir: tempfile::TempDir,
    spool: PathBuf,
    tools: Tools,
    state: StateDir,
    events: Events,
    received: Received,
    notes: Arc<Notes>,
    stop: Stop,
    children: Children,
}

impl World {
    fn new() -> Self {
        Self::at(tempfile::tempdir().expect("a directory"))
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let state = Workspace::open(dir.path()).expect("a workspace").state("dev");
        state.create().expect("a state directory");
        let (events, received) = Events::channel();
        let (notes, stop) = (Arc::new(Notes::default()), Stop::default());
        let name = dir.path().file_name().expect("a name").to_string_lossy().trim_start_matches('.').to_owned();
        let spool = PathBuf::from(format!("/dev/shm/sre-test-{name}"));
        let children = Children::new(state.children(), events.clone(), stop.clone(), notes.clone())
            .with_spool(spool.clone())
            .with_supervisor(env!("CARGO_BIN_EXE_sre-provision").into());
        Self { dir, spool, tools: tools(), state, events, received, notes, stop, children }
    }

    fn cx(&self, stage: Kind) -> ToolCx<'_> {
        ToolCx {
            children: &self.children,
            tools: &self.tools,
            state: &self.state,
            run: 1,
            stage,
            events: &self.events,
            redact: vec![],
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.spool));
    }
}
