//! Runs children, one per slot over all runs, and follows those that an earlier run has left.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::MissedTickBehavior;

use crate::crash_point;
use crate::event::{Event, Events};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::cancel;
use crate::process::follow::Tail;
use crate::process::launch::launch;
use crate::process::record::{Child, End, Record, Standing, Started, half_made, lost, records, running};
use crate::process::redact::Redactor;
use crate::process::spool;
use crate::process::{Ended, Invocation, Stream, Witness};
use crate::secret::Secret;
use crate::stop::{Level, Stop};

/// How often output and stops are looked for; a child's end is noticed at once.
const TICK: Duration = Duration::from_millis(100);

/// Gets each line of a child: redacted, without control characters.
pub type OnLine<'a> = &'a mut (dyn FnMut(Stream, &str) + Send);

/// The children of one environment.
pub struct Children {
    pub(super) dir: PathBuf,
    spool: PathBuf,
    supervisor: PathBuf,
    events: Events,
    stop: Stop,
    witness: Arc<dyn Witness>,
    slots: Arc<Mutex<BTreeSet<String>>>,
}

/// A slot that is in use by this program; free again when dropped.
struct Claim<'a> {
    children: &'a Children,
    slot: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Ok(mut slots) = self.children.slots.lock() {
            slots.remove(&self.slot);
        }
    }
}

impl Children {
    /// `dir` is the state directory's `children/`.
    pub fn new(dir: PathBuf, events: Events, stop: Stop, witness: Arc<dyn Witness>) -> Self {
        let supervisor = PathBuf::from("/proc/self/exe");
        // The supervisor and the child do not share our working directory.
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        Self { dir, spool: spool::default_spool(), supervisor, events, stop, witness, slots: Arc::default() }
    }

    /// The same children as a part of the work sees them, which may be stopped alone.
    pub fn under(&self, stop: &Stop) -> Self {
        Self {
            dir: self.dir.clone(),
            spool: self.spool.clone(),
            supervisor: self.supervisor.clone(),
            events: self.events.clone(),
            stop: stop.clone(),
            witness: self.witness.clone(),
            slots: self.slots.clone(),
        }
    }

    /// Keeps raw output in another directory on tmpfs; its path must be short, since tools put sockets there.
    pub fn with_spool(mut self, dir: PathBuf) -> Self {
        self.spool = dir;
        self
    }

    /// Starts another program than this one as supervisor; it must know `__supervise`.
    pub fn with_supervisor(mut self, program: PathBuf) -> Self {
        self.supervisor = program;
        self
    }

    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    pub fn witness(&self) -> &dyn Witness {
        self.witness.as_ref()
    }

    /// Runs a program to its end.
    ///
    /// A child of the same slot that still runs is followed first. Its result, or that of a child that has ended with
    /// code 0 since, is given if the fingerprint is the same; all its lines are given again from the first. In every
    /// other case the program is started, unless we were told to stop. Dropping the future leaves the child running.
    ///
    /// # Errors
    /// The program could not be started; a stop before the start. However a started program ends is an [`Ended`].
    pub async fn run(&self, invocation: Invocation, on_line: OnLine<'_>) -> Result<Ended, Failure> {
        let _claim = self.claim(&invocation.slot)?;
        let Invocation { slot, fingerprint, redact, .. } = &invocation;
        if let Some(ended) = self.earlier(slot, Some(fingerprint), redact, on_line).await? {
            return Ok(ended);
        }
        if self.stop.is_asked() {
            return Err(stopped_before(slot));
        }
        self.start(&invocation, on_line).await
    }

    /// Follows the child that an earlier run left in this slot to its end, if one still runs. One that has ended is
    /// discarded unread.
    pub async fn follow(&self, slot: &str, redact: &[Secret], on_line: OnLine<'_>) -> Result<Option<Ended>, Failure> {
        let _claim = self.claim(slot)?;
        self.earlier(slot, None, redact, on_line).await
    }

    /// The slots in which a child of an earlier run still runs, for a person who asks.
    pub fn running(&self) -> Result<Vec<String>, Failure> {
        running(&self.dir)
    }

    /// Removes the raw output and the record of a child whose result was taken over.
    pub fn discard(&self, ended: &Ended) -> Result<(), Failure> {
        self.remove(&Record::new(self.dir.join(&ended.id)), &ended.here)
    }

    /// Discards every child that has ended and whose result nobody took over: what it made was found otherwise. Called
    /// while this program runs none.
    pub async fn sweep(&self) -> Result<(), Failure> {
        for half_made in half_made(&self.dir)? {
            half_made.remove()?;
        }
        for record in records(&self.dir)? {
            let Some(child) = record.child()? else { continue };
            match record.standing()? {
                Standing::Running => continue,
                Standing::Ended(end) => {
                    let took = Duration::from_millis(end.millis);
                    self.witness.ended(&child.id, end.code, Some(took)).await?;
                }
                Standing::Lost => self.witness.ended(&child.id, None, None).await?,
            }
            self.remove(&record, &child.here)?;
        }
        // One whose start could not be written down for certain was never started, and has no record.
        for id in self.witness.open() {
            if !self.dir.join(&id).exists() {
                self.witness.vanished(&id).await?;
            }
        }
        Ok(())
    }

    fn remove(&self, record: &Record, here: &Path) -> Result<(), Failure> {
        crash_point!("child.before-discarding-output", at here, b"");
        if let Err(error) = std::fs::remove_dir_all(here)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Failure::new(Exit::NotDone, format!("raw output `{}` cannot be removed", here.display()))
                .because(error));
        }
        crash_point!("child.before-discarding-record", at here, b"");
        record.remove()?;
        crash_point!("child.discarded", at here, b"");
        Ok(())
    }

    fn claim(&self, slot: &str) -> Result<Claim<'_>, Failure> {
        let is_free = self.slots.lock().is_ok_and(|mut slots| slots.insert(slot.to_owned()));
        if !is_free {
            return Err(Failure::bug(format!("`{slot}` was started twice at the same time")));
        }
        Ok(Claim { children: self, slot: slot.to_owned() })
    }

    /// What earlier runs left in a slot: followed, taken over or discarded.
    async fn earlier(
        &self,
        slot: &str,
        wanted: Option<&Digest>,
        redact: &[Secret],
        on_line: OnLine<'_>,
    ) -> Result<Option<Ended>, Failure> {
        for record in records(&self.dir)? {
            let Some(child) = record.child()?.filter(|child| child.slot == slot) else { continue };
            let standing = record.standing()?;
            let is_running = matches!(standing, Standing::Running);
            let is_wanted = wanted.is_none_or(|wanted| *wanted == child.fingerprint);
            let is_done = matches!(&standing, Standing::Ended(end) if end.code == Some(0)) && child.here.is_dir();
            if is_running {
                self.events
                    .notice(format!("{slot}: still running since {:.0}; following it to its end", child.started));
            }
            if is_running || (is_done && is_wanted && wanted.is_some()) {
                let ended = self.watch(&record, &child, None, redact, on_line).await?;
                if is_wanted {
                    return Ok(Some(Ended { adopted: true, ..ended }));
                }
            } else {
                if matches!(standing, Standing::Lost) {
                    self.events.notice(lost(&record, slot)?);
                }
                let (code, took) = match &standing {
                    Standing::Ended(end) => (end.code, Some(Duration::from_millis(end.millis))),
                    Standing::Running | Standing::Lost => (None, None),
                };
                self.witness.ended(&child.id, code, took).await?;
            }
            self.remove(&record, &child.here)?;
        }
        Ok(None)
    }

    async fn start(&self, invocation: &Invocation, on_line: OnLine<'_>) -> Result<Ended, Failure> {
        let id = format!("{}-{}", invocation.slot, &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let record = Record::new(self.dir.join(&id));
        let child = Child {
            version: 1,
            id: id.clone(),
            slot: invocation.slot.clone(),
            fingerprint: invocation.fingerprint.clone(),
            program: invocation.program.clone(),
            log: std::path::absolute(&invocation.log).unwrap_or_else(|_| invocation.log.clone()),
            here: self.spool.join(&id),
            cancel: invocation.cancel.clone(),
            started: Timestamp::now(),
        };
        let lock = record.create(&child)?;
        let command = Redactor::new(&invocation.redact).text(&invocation.command_line(&child.here));
        self.events.send(Event::ToolStarted { slot: child.slot.clone(), command });
        match self.begin(&record, &child, invocation, lock).await {
            Ok(process) => self.watch(&record, &child, Some(process), &invocation.redact, on_line).await,
            Err(failure) => {
                self.remove(&record, &child.here)?;
                Err(self.not_started(&child, failure))
            }
        }
    }

    /// Makes room for the output and tells the witness before the child is started; the record is there already, so that
    /// the next run knows of both.
    async fn begin(
        &self,
        record: &Record,
        child: &Child,
        invocation: &Invocation,
        lock: File,
    ) -> Result<tokio::process::Child, Failure> {
        crash_point!("child.before-spool", child.slot);
        spool::create(&self.spool, &child.id)?;
        self.witness.started(&child.id, &child.slot, &record.lock()).await?;
        let launched = launch(&self.supervisor, record, child, invocation, lock).await;
        if launched.is_err() {
            // Its record goes; nobody would ever tell that it has ended.
            self.witness.ended(&child.id, None, None).await?;
        }
        launched
    }

    /// Why a child was not started: a Ctrl-C at the terminal also reaches a supervisor that has no session yet.
    fn not_started(&self, child: &Child, failure: Failure) -> Failure {
        if self.stop.is_asked() { stopped_before(&child.slot) } else { failure }
    }

    /// Follows a child to its end. `process` is its supervisor, if this run started it.
    async fn watch(
        &self,
        record: &Record,
        child: &Child,
        mut process: Option<tokio::process::Child>,
        redact: &[Secret],
        on_line: OnLine<'_>,
    ) -> Result<Ended, Failure> {
        let mut tails = Tail::all(&child.here, &Redactor::new(redact));
        let mut raised = Level::Go;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_behind = false;
        let standing = loop {
            match &mut process {
                None => {
                    let standing = record.standing()?;
                    if !matches!(standing, Standing::Running) {
                        break standing;
                    }
                    if !is_behind {
                        tick.tick().await;
                    }
                }
                Some(supervisor) => tokio::select! {
                    biased;
                    // However it ended: the record says how the child did.
                    _ = supervisor.wait() => process = None,
                    () = std::future::ready(()), if is_behind => {}
                    _ = tick.tick() => {}
                },
            }
            is_behind = self.carry(&mut tails, child, on_line).await?;
            raised = self.raise(raised, record, child)?;
        };
        while self.carry(&mut tails, child, on_line).await? {}
        for tail in &mut tails {
            let stream = tail.stream;
            tail.finish(&mut |line| self.pass_on(&child.slot, stream, line, on_line));
        }
        self.events.tool_ended(&child.slot);
        self.end(record, child, standing).await
    }

    /// Reads a piece of what a child has said and lets others go on; whether there is more.
    async fn carry(&self, tails: &mut [Tail], child: &Child, on_line: OnLine<'_>) -> Result<bool, Failure> {
        let mut is_more = false;
        for tail in tails {
            let stream = tail.stream;
            is_more |= tail.advance(&mut |line| self.pass_on(&child.slot, stream, line, on_line))?;
        }
        tokio::task::yield_now().await;
        Ok(is_more)
    }

    /// Gives a line to whoever reads it, and to whoever wants to see everything.
    fn pass_on(&self, slot: &str, stream: Stream, line: &str, on_line: &mut (dyn FnMut(Stream, &str) + Send)) {
        if stream != Stream::Events {
            self.events.send(Event::ToolSaid { slot: slot.to_owned(), line: line.to_owned() });
        }
        on_line(stream, line);
    }

    /// Brings a child to the level that we were told to stop at, one level after the other.
    fn raise(&self, from: Level, record: &Record, child: &Child) -> Result<Level, Failure> {
        let mut level = from;
        // A child that is only being started is told with the next tick.
        while level < self.stop.level() && record.started()?.is_some() {
            level = match level {
                Level::Go => Level::Finish,
                Level::Finish => Level::Interrupt,
                Level::Interrupt | Level::Kill => Level::Kill,
            };
            cancel::raise(level, record, child, &self.events)?;
        }
        Ok(level)
    }

    async fn end(&self, record: &Record, child: &Child, standing: Standing) -> Result<Ended, Failure> {
        let is_seen = matches!(standing, Standing::Ended(_));
        let end = match standing {
            Standing::Ended(end) => end,
            Standing::Running | Standing::Lost => {
                let started = record.started()?;
                let millis = started.as_ref().and_then(Started::age).map_or(0, |age| age.as_millis());
                let error = started.is_none().then(|| "its supervisor ended before it started".to_owned());
                End { millis: u64::try_from(millis).unwrap_or(0), error, ..End::default() }
            }
        };
        let took = Duration::from_millis(end.millis);
        crash_point!("child.ended", child.slot);
        self.witness.ended(&child.id, end.code, is_seen.then_some(took)).await?;
        if let Some(error) = end.error {
            self.remove(record, &child.here)?;
            let failure = Failure::new(Exit::Tool, format!("`{}` was not started", child.program.display()));
            return Err(self.not_started(child, failure.because(error)));
        }
        if end.left > 0 {
            self.events.notice(format!("{}: {} processes that it left were killed", child.slot, end.left));
        }
        if let Some(why) = end.log {
            self.events.notice(format!("{}: its log `{}` is not whole: {why}", child.slot, child.log.display()));
        }
        Ok(Ended {
            id: child.id.clone(),
            code: end.code,
            signal: end.signal,
            starved: end.starved,
            took,
            adopted: false,
            stdout: child.here.join("stdout"),
            stderr: child.here.join("stderr"),
            here: child.here.clone(),
            log: child.log.clone(),
        })
    }
}

fn stopped_before(slot: &str) -> Failure {
    Failure::cancelled(format!("stopped before `{slot}` was started"))
}
