//! What several tests share: a witness that remembers, and waiting for another process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sre_provision::artifact::Kind;
use sre_provision::failure::Failure;
use sre_provision::fingerprint::Digest;
use sre_provision::process::Witness;

/// Remembers what it was told.
#[derive(Default)]
pub struct Notes {
    told: Mutex<Vec<String>>,
    open: Mutex<BTreeSet<String>>,
}

impl Notes {
    fn add(&self, note: String) {
        self.told.lock().expect("notes").push(note);
    }

    pub fn all(&self) -> Vec<String> {
        self.told.lock().expect("notes").clone()
    }
}

#[async_trait]
impl Witness for Notes {
    async fn started(&self, id: &str, slot: &str, lock: &Path) -> Result<(), Failure> {
        self.open.lock().expect("notes").insert(id.to_owned());
        self.add(format!("{slot} started, lock {}", lock.exists()));
        Ok(())
    }

    async fn ended(&self, id: &str, code: Option<i32>, took: Option<Duration>) -> Result<(), Failure> {
        self.open.lock().expect("notes").remove(id);
        let timed = if took.is_some() { "timed" } else { "not timed" };
        self.add(format!("ended {code:?}, {timed}"));
        Ok(())
    }

    async fn vanished(&self, id: &str) -> Result<(), Failure> {
        self.ended(id, None, None).await
    }

    fn open(&self) -> Vec<String> {
        self.open.lock().expect("notes").iter().cloned().collect()
    }

    async fn state_kept(&self, slot: &str, _copy: &Path, _digest: &Digest) -> Result<(), Failure> {
        self.add(format!("{slot} kept"));
        Ok(())
    }

    async fn state_locked(&self, _stage: Kind, slot: &str) -> Result<bool, Failure> {
        self.add(format!("{slot} locks its state"));
        Ok(true)
    }

    async fn lock_left(&self, _stage: Kind) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}

/// Waits for a condition that another process brings about.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
