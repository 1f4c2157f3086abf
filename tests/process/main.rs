//! Children under a real supervisor: what they print, how they are stopped, and that they outlive us.
#![expect(clippy::disallowed_methods, reason = "the world of the test is made of files and programs")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sre_provision::event::{Event, Events, Received};
use sre_provision::failure::Failure;
use sre_provision::fingerprint::Digest;
use sre_provision::process::{Cancel, Children, Ended, Invocation};
use sre_provision::stop::Stop;

mod faults;
#[path = "../notes/mod.rs"]
mod notes;
mod outliving;
mod running;
mod starving;
mod stopping;

use notes::Notes;

/// A state directory on disk and a spool on tmpfs.
struct World {
    dir: tempfile::TempDir,
    spool: tempfile::TempDir,
    notes: Arc<Notes>,
    stop: Stop,
}

impl World {
    fn new() -> Self {
        let spool = tempfile::tempdir_in("/dev/shm").expect("a spool");
        Self { dir: tempfile::tempdir().expect("a directory"), spool, notes: Arc::default(), stop: Stop::default() }
    }

    /// Made by the first child, so that nobody else may enter it.
    fn spool(&self) -> PathBuf {
        self.spool.path().join("spool")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn children(&self) -> (Children, Received) {
        children(self.dir.path(), &self.spool(), self.stop.clone(), self.notes.clone())
    }

    fn invocation(&self, script: &str) -> Invocation {
        invocation(self.dir.path(), script)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("runs/0001/network.log")).expect("a log")
    }

    /// What lies about in the records and the spool.
    fn leftovers(&self) -> usize {
        let count = |dir: &Path| std::fs::read_dir(dir).map_or(0, Iterator::count);
        count(&self.path("children")) + count(&self.spool())
    }
}

fn children(dir: &Path, spool: &Path, stop: Stop, notes: Arc<Notes>) -> (Children, Received) {
    let (events, received) = Events::channel();
    let children = Children::new(dir.join("children"), events, stop, notes)
        .with_spool(spool.to_owned())
        .with_supervisor(env!("CARGO_BIN_EXE_sre-provision").into());
    (children, received)
}

fn invocation(dir: &Path, script: &str) -> Invocation {
    Invocation {
        slot: "network-apply".to_owned(),
        fingerprint: Digest::of(script.as_bytes()),
        program: "/bin/bash".into(),
        args: vec!["-c".into(), script.into()],
        cwd: dir.to_owned(),
        env: BTreeMap::from([("PATH".to_owned(), OsString::from("/usr/bin:/bin"))]),
        log: dir.join("runs/0001/network.log"),
        redact: vec![],
        cancel: Cancel::Finish,
    }
}

async fn run(children: &Children, invocation: Invocation) -> (Result<Ended, Failure>, Vec<String>) {
    let mut lines = vec![];
    let ended = children.run(invocation, &mut |stream, line| lines.push(format!("{stream:?} {line}"))).await;
    (ended, lines)
}

fn notices(received: &mut Received) -> Vec<String> {
    let mut texts = vec![];
    while let Some(event) = received.try_recv() {
        if let Event::Notice { text } = event {
            texts.push(text);
        }
    }
    texts
}

/// The next notice; `None` when there will be none.
async fn notice(received: &mut Received) -> Option<String> {
    loop {
        if let Event::Notice { text } = received.recv().await? {
            return Some(text);
        }
    }
}
