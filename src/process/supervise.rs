//! What `sre-provision __supervise DIR` does: one child from its start to its end.
//!
//! The supervisor leads a session of its own, so that neither a closed terminal nor a Ctrl-C reaches it or the child;
//! it swallows the signals that would end it. It writes the redacted log while the child runs and how the child ended
//! after that. What of the child's process group is left then is given a moment and killed.

mod log;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::crash_point;
use crate::failure::Failure;
use crate::process::follow::Tail;
use crate::process::launch::{Letter, Opened};
use crate::process::record::{End, Record, Started};
use crate::process::redact::Redactor;
use crate::process::spool;
use crate::process::starved::Kills;
use crate::process::supervise::log::Log;

/// How often the child's output is carried into the log.
const TICK: Duration = Duration::from_millis(200);
/// How many pieces of it at a time: the child's end is seen however much it prints.
const STEPS: usize = 256;
/// How long processes of the child's group may outlive it; packer's plugins need some of it after a crash.
const GRACE: Duration = Duration::from_secs(10);

/// Starts the child that standard input describes and stays until it has ended; `dir` is its record. Standard output
/// is the lock of the record, which the child inherits.
pub fn supervise(dir: &Path) -> ExitCode {
    let record = Record::new(dir);
    let carried = carry_out(&record);
    let is_carried = carried.is_ok();
    let end = carried.unwrap_or_else(|error| End { error: Some(error.to_string()), ..End::default() });
    // A disk that failed once is asked again. Where it cannot be written, whoever reads the record finds its lock free
    // and no end.
    let is_written = record.write_end(&end).or_else(|_| record.write_end(&end)).is_ok();
    crash_point!("supervisor.before-unlock", at & record.dir, b"");
    if is_carried && is_written { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn carry_out(record: &Record) -> Result<End, Box<dyn std::error::Error>> {
    detach()?;
    crash_point!("supervisor.detached", at & record.dir, b"");
    let mut letter = zeroize::Zeroizing::new(vec![]);
    std::io::stdin().lock().read_to_end(&mut letter)?;
    let letter = Letter::open(&letter).ok_or("the letter from sre-provision was cut off")?;
    // A copy of the lock that stays open over `exec`: nothing else is started from here.
    let _lock = rustix::io::dup(rustix::stdio::stdout())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(attend(record, &letter))
}

/// A session of its own, files for the owner only, no core dumps, and orphans of the child become ours.
fn detach() -> rustix::io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Starts the child, carries its output into the log, and waits for its end.
async fn attend(record: &Record, letter: &Opened) -> Result<End, Box<dyn std::error::Error>> {
    let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()];
    // As long as these live their signals do nothing; `exec` gives the child the defaults back.
    let _swallowed = kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>()?;
    let redactor = Redactor::new(&letter.redact);
    let mut log = Log::open(&letter.log)?;
    log.line(&redactor.text(&headline(letter)));
    let mut tails = Tail::all(&letter.here, &redactor);
    tails.retain(|tail| tail.stream != crate::process::Stream::Events);
    let mut freed = vec![0; tails.len()];

    let (begun, kills) = (Instant::now(), Kills::now());
    crash_point!("supervisor.before-start", at & record.dir, b"");
    let mut child = start(letter)?;
    crash_point!("supervisor.started", at & record.dir, b"");
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let mut untold = pid.and_then(Started::of);
    tell_start(record, &mut untold);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = tick.tick() => {
                tell_start(record, &mut untold);
                for _ in 0..STEPS {
                    if !carry(&mut tails, &mut freed, &letter.here, &mut log)? {
                        break;
                    }
                }
            }
        }
    };
    crash_point!("supervisor.child-ended", at & record.dir, b"");
    let took = begun.elapsed();
    let starved = (!status.success()).then(|| Kills::now().since(kills)).flatten();
    let left = match pid.and_then(Pid::from_raw) {
        Some(group) => sweep(group).await,
        None => 0,
    };
    while carry(&mut tails, &mut freed, &letter.here, &mut log)? {}
    for tail in &mut tails {
        tail.finish(&mut |line| log.line(line));
    }
    let mut end = End { starved: starved.map(str::to_owned), ..end_of(status, took, left) };
    log.line(&epilogue(&end));
    end.log = log.close().err().map(|error| error.to_string());
    Ok(end)
}

/// Writes down which process the child is. A disk that fails must not part it from its supervisor: it is tried again
/// with every tick, and until then a stop cannot reach the child.
fn tell_start(record: &Record, untold: &mut Option<Started>) {
    if untold.as_ref().is_some_and(|started| record.write_started(started).is_ok()) {
        *untold = None;
    }
}

fn start(letter: &Opened) -> Result<tokio::process::Child, Box<dyn std::error::Error>> {
    let program = letter.program.display();
    tokio::process::Command::new(&letter.program)
        .args(&letter.args)
        .current_dir(&letter.cwd)
        .env_clear()
        .envs(&letter.env)
        .stdin(Stdio::null())
        .stdout(spool::output(&letter.here, "stdout")?)
        .stderr(spool::output(&letter.here, "stderr")?)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("`{program}` cannot be started in `{}`: {error}", letter.cwd.display()).into())
}

/// Carries a piece of the output into the log and gives its memory back; whether there is more.
fn carry(tails: &mut [Tail], freed: &mut [u64], here: &Path, log: &mut Log) -> Result<bool, Failure> {
    let mut is_more = false;
    for (tail, freed) in tails.iter_mut().zip(freed) {
        is_more |= tail.advance(&mut |line| log.line(line))?;
        let name = if tail.stream == crate::process::Stream::Stdout { "stdout" } else { "stderr" };
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(here.join(name)) {
            spool::trim(&file, tail.read, freed);
        }
    }
    Ok(is_more)
}

/// Waits a moment for what is left of the child's group, then kills it; gives how many processes that were.
async fn sweep(group: Pid) -> usize {
    let until = Instant::now() + GRACE;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut is_asked = false;
    loop {
        // Orphans of the child are our children by now; those that have ended stay in the group until they are reaped.
        while let Ok(Some(_)) = rustix::process::waitpgid(group, WaitOptions::NOHANG) {}
        if rustix::process::test_kill_process_group(group).is_err() {
            return 0;
        }
        if Instant::now() > until {
            break;
        }
        if !is_asked {
            is_asked = true;
            // A packer whose outer process was killed would build on; an interrupt makes it clean up.
            rustix::process::kill_process_group(group, Signal::INT).ok();
        }
        tick.tick().await;
    }
    rustix::process::kill_process_group(group, Signal::KILL).ok();
    let mut killed = 0;
    while let Ok(Some(_)) = rustix::process::waitpgid(group, WaitOptions::empty()) {
        killed += 1;
    }
    killed
}

fn end_of(status: ExitStatus, took: Duration, left: usize) -> End {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    End { code: status.code(), signal: status.signal(), millis, left, ..End::default() }
}

fn headline(letter: &Opened) -> String {
    let args: Vec<_> = letter.args.iter().map(|arg| arg.to_string_lossy()).collect();
    format!("── {:.0} {} {}", jiff::Timestamp::now(), letter.program.display(), args.join(" "))
}

fn epilogue(end: &End) -> String {
    let how = match (end.code, end.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    };
    let why = end.starved.as_ref().map(|whose| format!(": the kernel killed for want of memory, {whose}"));
    let (took, why) = (Duration::from_millis(end.millis).as_secs_f64(), why.unwrap_or_default());
    format!("── {:.0} {how} after {took:.1} s{why}", jiff::Timestamp::now())
}
