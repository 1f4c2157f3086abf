//! What may still change something though nobody holds the lease: children that outlived their program, and what a holder
//! that is only silent has begun.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::taking::Word;
use super::vantage::Vantage;
use super::{Actor, Entry, Journal, Record};
use crate::failure::{Class, Exit, Failure};
use crate::workspace::StateDir;

/// What stands in the way of taking a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// Children that run on this machine, outside of the state directory that would follow them.
    pub living: Vec<String>,
    /// Children of which this machine cannot know whether they have ended.
    pub unknown: Vec<String>,
    /// What the last holder has begun and not ended.
    pub open: Vec<String>,
}

impl Obstacles {
    pub(super) fn of(journal: &Journal, state: &StateDir, vantage: &dyn Vantage) -> Self {
        let mut obstacles = Self { open: open(journal.entries()), ..Self::default() };
        for (id, child) in &journal.memory().open_children {
            // Whoever has its record follows it, or finds that it has ended.
            if state.children().join(id).exists() {
                continue;
            }
            let actor = starter(journal.entries(), id);
            let told = |actor: &Actor| format!("`{}` on {}", child.slot, actor.host);
            match actor {
                Some(actor) if vantage.is_here(actor) => {
                    if is_locked(Path::new(&child.lock)) {
                        obstacles.living.push(format!("{} ({})", told(actor), child.lock));
                    }
                }
                Some(actor) => obstacles.unknown.push(told(actor)),
                None => obstacles.unknown.push(format!("`{}`", child.slot)),
            }
        }
        obstacles
    }

    /// # Errors
    /// Exit 8: something lives, or nobody knows whether it does and nobody has given their word.
    pub(super) fn refuse(&self, name: &str, is_expired: bool, word: Word) -> Result<(), Failure> {
        if let [first, ..] = &self.living[..] {
            return Err(Failure::new(Exit::Held, format!("`{name}` is still being changed: {first} runs"))
                .class(Class::Conflict)
                .hint("wait until it ends, or go on in the workspace that started it"));
        }
        let open = if is_expired { &self.open[..] } else { &[] };
        let unsure: Vec<&str> = self.unknown.iter().chain(open).map(String::as_str).collect();
        if unsure.is_empty() || word == Word::Given {
            return Ok(());
        }
        Err(Failure::new(Exit::Held, format!("`{name}` may still be being changed: {}", unsure.join(", ")))
            .class(Class::NeedsPerson)
            .because("whoever began it was not heard to end it, and from here nobody can see whether it lives")
            .hint(format!("sre-provision up {name}   on the machine that began it follows it to its end"))
            .hint(format!("sre-provision unlock {name} --take-over   if that machine or job is gone for certain")))
    }
}

/// Intents without an outcome, since the lease last changed hands.
fn open(entries: &[Entry]) -> Vec<String> {
    let mut open = BTreeMap::new();
    for entry in entries {
        match &entry.record {
            Record::Lease(_) => open.clear(),
            Record::Intent(intent) => {
                let key = (intent.stage, intent.step.clone());
                let step = intent.step.as_ref().map(|step| format!("/{step}")).unwrap_or_default();
                open.insert(key, format!("`{}{step}`", intent.stage));
            }
            Record::Outcome(settled) => drop(open.remove(&(settled.stage, settled.step.clone()))),
            Record::Fact { .. }
            | Record::ChildStarted { .. }
            | Record::ChildEnded { .. }
            | Record::Approval { .. }
            | Record::RunStarted { .. }
            | Record::RunEnded { .. }
            | Record::Unrecognised => {}
        }
    }
    open.into_values().collect()
}

fn starter<'a>(entries: &'a [Entry], child: &str) -> Option<&'a Actor> {
    let started = entries.iter().rev().find(|entry| match &entry.record {
        Record::ChildStarted { id, .. } => id == child,
        _ => false,
    });
    started.map(|entry| &entry.actor)
}

/// Whether somebody holds a child's lock; a file that is not there has been taken over and removed.
fn is_locked(lock: &Path) -> bool {
    let Ok(file) = std::fs::File::open(lock) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}
