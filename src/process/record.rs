//! What is known of a child on disk, and how it stands.
//!
//! Each file is written whole under a temporary name first, by the program and by the supervisor alike. Whether the child lives is told by `lock`: the supervisor
//! and the child hold it as long as either of them runs.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crash_point;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::Cancel;
use crate::workspace::{Disk, RealDisk, make_dir, remove_tree, write_atomic};

/// Clock ticks in a second, as `/proc` has them on every machine.
const TICKS: u64 = 100;

/// Written by us before the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Child {
    pub version: u32,
    pub id: String,
    pub slot: String,
    pub fingerprint: Digest,
    pub program: PathBuf,
    pub log: PathBuf,
    /// Its own directory on tmpfs.
    pub here: PathBuf,
    pub cancel: Cancel,
    pub started: Timestamp,
}

/// Written by the supervisor once the child runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Started {
    pub pid: i32,
    /// Clock ticks since boot at which the process began; with the boot it tells a process from a later one.
    pub since: u64,
    pub boot: String,
}

/// Written by the supervisor when the child has ended and its log is complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct End {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub millis: u64,
    /// Processes of its group that were still there and were killed.
    #[serde(default)]
    pub left: usize,
    /// Whose memory was used up when it ended badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starved: Option<String>,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why its log is not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// How a child stands.
#[derive(Debug)]
pub(super) enum Standing {
    Running,
    Ended(End),
    /// Its lock is free and nobody wrote how it ended.
    Lost,
}

/// The directory of one child.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub dir: PathBuf,
}

impl Record {
    pub(super) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn is_whole(&self) -> bool {
        self.dir.join("child.json").is_file()
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Makes the directory with its description and takes its lock.
    pub(super) fn create(&self, child: &Child) -> Result<File, Failure> {
        crash_point!("child.before-record", child.slot);
        make_dir(&RealDisk, &self.dir, 0o700)?;
        crash_point!("child.before-lock", child.slot);
        let lock = RealDisk.create(&self.lock(), 0o600).and_then(|lock| lock.lock().map(|()| lock));
        let lock = lock.map_err(|error| self.failure("cannot be made", error))?;
        self.write("child.json", child)?;
        Ok(lock)
    }

    /// `None` where it was removed since it was listed: stages that run side by side each discard their own.
    pub(super) fn child(&self) -> Result<Option<Child>, Failure> {
        self.read("child.json")
    }

    pub(super) fn started(&self) -> Result<Option<Started>, Failure> {
        self.read("started.json")
    }

    pub(super) fn write_started(&self, started: &Started) -> Result<(), Failure> {
        self.write("started.json", started)
    }

    pub(super) fn end(&self) -> Result<Option<End>, Failure> {
        self.read("exit.json")
    }

    pub(super) fn write_end(&self, end: &End) -> Result<(), Failure> {
        self.write("exit.json", end)
    }

    /// Notes that the child is sent its one SIGINT; `false` if it was sent before, by this run or an earlier one.
    pub(super) fn claim_interrupt(&self) -> Result<bool, Failure> {
        match RealDisk.create(&self.dir.join("interrupted"), 0o600) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failure("cannot be written", error)),
        }
    }

    pub(super) fn standing(&self) -> Result<Standing, Failure> {
        // The lock is asked first: the end is written before it is given up.
        let is_held = self.is_held()?;
        Ok(match self.end()? {
            Some(end) => Standing::Ended(end),
            None if is_held => Standing::Running,
            None => Standing::Lost,
        })
    }

    fn is_held(&self) -> Result<bool, Failure> {
        let lock = match File::open(self.lock()) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.failure("cannot be read", error)),
        };
        // Shared, so that two that look at the same time do not take each other for the child.
        match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(self.failure("cannot be locked", error)),
        }
    }

    pub(super) fn remove(&self) -> Result<(), Failure> {
        remove_tree(&self.dir)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        match std::fs::read(self.dir.join(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| self.failure(&format!("has a bad {name}"), error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failure("cannot be read", error)),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_vec_pretty(value).map_err(|error| Failure::bug("a record is no JSON").because(error))?;
        write_atomic(&self.dir.join(name), &text, 0o600)
    }

    fn failure(&self, what: &str, error: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::NotDone, format!("record of a child `{}` {what}", self.dir.display())).because(error)
    }
}

/// The records in `dir`, in order of their names; none when it does not exist.
pub(super) fn records(dir: &Path) -> Result<Vec<Record>, Failure> {
    Ok(all(dir)?.into_iter().filter(Record::is_whole).collect())
}

/// What a program that was killed while it made a record has left of it; no child was started from it.
pub(super) fn half_made(dir: &Path) -> Result<Vec<Record>, Failure> {
    Ok(all(dir)?.into_iter().filter(|record| !record.is_whole()).collect())
}

/// Whether anything is left of children, be it half a record.
pub fn has_records(dir: &Path) -> Result<bool, Failure> {
    Ok(!all(dir)?.is_empty())
}

fn all(dir: &Path) -> Result<Vec<Record>, Failure> {
    let failure = |error| Failure::new(Exit::NotDone, format!("`{}` cannot be read", dir.display())).because(error);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(failure(error)),
    };
    let mut dirs =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failure)?;
    dirs.sort();
    Ok(dirs.into_iter().map(Record::new).collect())
}

impl Started {
    /// Of a process that runs now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, since: began(pid)?, boot: boot()? })
    }

    /// Whether the process of this id is still the one that was started.
    pub(super) fn is_same(&self) -> bool {
        self.is_of_this_boot() && began(self.pid) == Some(self.since)
    }

    /// Whether the machine still runs as it did then.
    pub(super) fn is_of_this_boot(&self) -> bool {
        boot().is_some_and(|boot| boot == self.boot)
    }

    /// How long ago it began, by the clock that counts from the boot: no setting of the time changes it, and a suspended
    /// machine does not stop it.
    pub(super) fn age(&self) -> Option<Duration> {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let now: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
        let began = Duration::from_millis(self.since.checked_mul(1_000)? / TICKS);
        self.is_of_this_boot().then(|| Duration::from_secs_f64(now).saturating_sub(began))
    }
}

fn boot() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

fn began(pid: i32) -> Option<u64> {
    began_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/<pid>/stat`; the name before it may hold anything, so counting begins at its last bracket.
pub(super) fn began_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What became of a child whose end nobody saw, as far as can be told.
pub(super) fn lost(record: &Record, slot: &str) -> Result<String, Failure> {
    let why = match record.started()? {
        Some(started) if !started.is_of_this_boot() => "the machine was restarted while it ran",
        Some(_) => "it was killed with its supervisor",
        None => return Ok(format!("{slot}: was not begun when its supervisor ended")),
    };
    Ok(format!("{slot}: {why}; what it had made by then is looked for"))
}

/// The slots of the children below a directory that still run.
pub fn running(dir: &Path) -> Result<Vec<String>, Failure> {
    Ok(alive(dir)?.into_iter().map(|child| child.slot).collect())
}

/// The children below a directory that still run.
pub(super) fn alive(dir: &Path) -> Result<Vec<Child>, Failure> {
    let mut alive = vec![];
    for record in records(dir)? {
        if let (Standing::Running, Some(child)) = (record.standing()?, record.child()?) {
            alive.push(child);
        }
    }
    Ok(alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (tempfile::TempDir, Record, File) {
        let dir = tempfile::tempdir().expect("a directory");
        let record = Record::new(dir.path().join("network-apply-1"));
        let child = Child {
            version: 1,
            id: "network-apply-1".to_owned(),
            slot: "network-apply".to_owned(),
            fingerprint: Digest::of(b"x"),
            program: "/bin/true".into(),
            log: "/dev/null".into(),
            here: "/dev/shm/x".into(),
            cancel: Cancel::Finish,
            started: Timestamp::UNIX_EPOCH,
        };
        let lock = record.create(&child).expect("a record");
        (dir, record, lock)
    }

    #[test]
    fn a_child_runs_while_its_lock_is_held_and_is_lost_when_nobody_wrote_its_end() {
        let (_dir, record, lock) = record();

        let held = record.standing().expect("a standing");
        drop(lock);
        let free = record.standing().expect("a standing");

        assert!(matches!(held, Standing::Running), "{held:?}");
        assert!(matches!(free, Standing::Lost), "{free:?}");
    }

    #[test]
    fn an_end_counts_even_while_something_still_holds_the_lock() {
        let (_dir, record, _lock) = record();

        record.write_end(&End { code: Some(3), ..End::default() }).expect("written");

        assert!(matches!(record.standing().expect("a standing"), Standing::Ended(End { code: Some(3), .. })));
    }

    #[test]
    fn a_child_is_interrupted_once_over_all_runs() {
        let (_dir, record, _lock) = record();

        let claims = [record.claim_interrupt().expect("a claim"), record.claim_interrupt().expect("a claim")];

        assert_eq!(claims, [true, false]);
    }

    #[test]
    fn a_process_id_that_was_used_again_is_not_taken_for_the_child() {
        let mine = Started::of(i32::try_from(std::process::id()).expect("small")).expect("this process");
        let earlier = Started { since: mine.since - 1, ..mine.clone() };
        let other_boot = Started { boot: "another".to_owned(), ..mine.clone() };

        assert_eq!((mine.is_same(), earlier.is_same(), other_boot.is_same()), (true, false, false));
        let ages = [mine.clone(), Started { since: mine.since.saturating_sub(500), ..mine }].map(|one| one.age());
        let [Some(age), Some(older)] = ages else { panic!("{ages:?}") };
        assert!(older > age + Duration::from_secs(4), "{ages:?}");
        assert_eq!(other_boot.age(), None);
    }

    #[test]
    fn a_record_that_was_discarded_since_it_was_listed_describes_nobody() {
        let (dir, record, _lock) = record();
        let listed = records(dir.path()).expect("records");

        record.remove().expect("removed");

        assert_eq!(listed.len(), 1);
        assert!(listed[0].child().expect("read").is_none());
    }

    #[test]
    fn directories_without_a_description_are_no_records() {
        let (dir, record, _lock) = record();
        let half = dir.path().join("half-made");
        std::fs::create_dir(&half).expect("made");
        let dirs = |found: Vec<Record>| found.into_iter().map(|found| found.dir).collect::<Vec<_>>();

        assert_eq!(dirs(records(dir.path()).expect("records")), [record.dir]);
        assert_eq!(dirs(half_made(dir.path()).expect("the rest")), [half]);
        assert_eq!(records(Path::new("/nowhere")).expect("none").len(), 0);
    }
}
