//! Children under a real supervisor: what they print, how they are stopped, and that they outlive us.
#![expect(clippy::disallowed_methods, reason = "the world of the test is made of files and programs")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sre_provision::event::{Event, Events};
use sre_provision::failure::{Exit, Failure};
use sre_provision::fingerprint::Digest;
use sre_provision::process::{Cancel, Children, Ended, HERE, Invocation, attach};
use sre_provision::secret::Secret;
use sre_provision::stop::Stop;
use tokio::sync::mpsc::UnboundedReceiver;

mod notes;

use notes::{Notes, until};

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

    fn children(&self) -> (Children, UnboundedReceiver<Event>) {
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

fn children(dir: &Path, spool: &Path, stop: Stop, notes: Arc<Notes>) -> (Children, UnboundedReceiver<Event>) {
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

fn notices(received: &mut UnboundedReceiver<Event>) -> Vec<String> {
    let mut texts = vec![];
    while let Ok(event) = received.try_recv() {
        if let Event::Notice { text } = event {
            texts.push(text);
        }
    }
    texts
}

/// The next notice; `None` when there will be none.
async fn notice(received: &mut UnboundedReceiver<Event>) -> Option<String> {
    loop {
        if let Event::Notice { text } = received.recv().await? {
            return Some(text);
        }
    }
}

#[tokio::test]
async fn a_child_sees_its_own_environment_only_and_its_end_is_told_as_it_was() {
    let world = World::new();
    let (children, _events) = world.children();

    let (ended, mut lines) = run(&children, world.invocation("echo out; echo err >&2; env | wc -l; exit 3")).await;

    let ended = ended.expect("an end");
    lines.sort();
    // PATH, and PWD, SHLVL and _ that bash itself sets
    assert_eq!(lines, ["Stderr err", "Stdout 4", "Stdout out"]);
    assert_eq!((ended.code, ended.signal, ended.adopted), (Some(3), None, false));
    assert!(ended.how().ends_with("with exit code 3"), "{}", ended.how());
    assert_eq!(world.notes.all(), ["network-apply started, lock true", "ended Some(3), timed"]);
    children.discard(&ended).expect("discarded");
    assert_eq!(world.leftovers(), 0);
}

#[tokio::test]
async fn a_secret_reaches_no_log_no_line_and_no_file() {
    let world = World::new();
    let (children, mut events) = world.children();
    let mut invocation = world.invocation(
        r#"echo "token=$TOKEN"; printf %s "$TOKEN" | base64; echo '{"t":"'$TOKEN'"}' >"$SPOOL/events"; tr '\0' ' ' </proc/$PPID/environ; tr '\0' ' ' </proc/$PPID/cmdline"#,
    );
    invocation.env.insert("TOKEN".to_owned(), "K10abc::server:s3cr3t-t0ken".into());
    invocation.env.insert("SPOOL".to_owned(), HERE.into());
    // As an argument of the script, which is the one place where no secret of ours ever stands.
    invocation.args.push("# K10abc::server:s3cr3t-t0ken".into());
    invocation.redact = vec![Secret::new("K10abc::server:s3cr3t-t0ken")];

    let (ended, lines) = run(&children, invocation).await;

    let ended = ended.expect("an end");
    assert_eq!(lines[..2], ["Stdout token=‹redacted›", "Stdout ‹redacted›"]);
    assert!(lines.contains(&"Events {\"t\":\"‹redacted›\"}".to_owned()), "{lines:?}");
    assert!(!lines.concat().contains("s3cr3t"), "{lines:?}");
    let shown: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).filter(Event::is_of_a_tool).collect();
    assert!(matches!(&shown[0], Event::ToolStarted { command, .. } if command.ends_with("# ‹redacted›")), "{shown:?}");
    let said = Event::ToolSaid { slot: "network-apply".to_owned(), line: "token=‹redacted›".to_owned() };
    assert!(shown.contains(&said) && !format!("{shown:?}").contains("s3cr3t"), "{shown:?}");
    children.discard(&ended).expect("discarded");
    let found = Command::new("grep")
        .args(["-rl", "s3cr3t"])
        .arg(world.dir.path())
        .arg(world.spool.path())
        .output()
        .expect("grep");
    // The script itself does not hold it; nothing else may.
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert!(world.log().contains("token=‹redacted›"), "{}", world.log());
}

#[tokio::test]
async fn a_process_that_keeps_the_output_open_holds_nobody_up() {
    let world = World::new();
    let (children, _events) = world.children();

    let begun = Instant::now();
    let (ended, lines) = run(
        &children,
        world.invocation(
            "setsid bash -c 'echo $$ >out; exec sleep 30' & while [ ! -s out ]; do sleep 0.05; done; cat out",
        ),
    )
    .await;

    assert_eq!(ended.expect("an end").code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let left = lines[0].strip_prefix("Stdout ").expect("a line");
    assert!(Command::new("kill").arg(left).status().expect("kill").success());
}

#[tokio::test]
async fn what_a_child_leaves_of_its_group_is_interrupted() {
    let world = World::new();
    let (children, _events) = world.children();
    let script = r#"(trap 'echo cleaned >>left; exit' INT; echo ready >left; while :; do sleep 0.05; done) &
        while [ ! -s left ]; do sleep 0.05; done; kill -9 $$"#;

    let (ended, _) = run(&children, world.invocation(script)).await;

    assert_eq!(ended.expect("an end").signal, Some(9));
    assert_eq!(std::fs::read_to_string(world.path("left")).expect("left"), "ready\ncleaned\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_and_leaves_nothing() {
    let world = World::new();
    let (children, _events) = world.children();

    let (ended, _) = run(&children, Invocation { program: "/nowhere/tofu".into(), ..world.invocation("") }).await;

    let failure = ended.expect_err("not started");
    assert_eq!((failure.what(), failure.exit()), ("`/nowhere/tofu` was not started", Exit::Tool));
    assert!(failure.causes()[0].contains("No such file or directory"), "{failure}");
    assert_eq!(world.leftovers(), 0);
}

/// Not a test: the caller that the next ones kill.
#[tokio::test]
#[ignore = "started by other tests"]
async fn caller() {
    let dir = PathBuf::from(std::env::var_os("WORLD").expect("WORLD"));
    let spool = PathBuf::from(std::env::var_os("SPOOL").expect("SPOOL"));
    let (children, _events) = children(&dir, &spool, Stop::default(), Arc::default());
    let script = std::env::var("SCRIPT").expect("SCRIPT");
    let (ended, _) = run(&children, invocation(&dir, &script)).await;
    ended.expect("an end");
}

impl World {
    /// Starts a caller in a process of its own, waits for the file `begun` and kills it with SIGKILL.
    fn killed_caller(&self, script: &str) {
        let mut caller = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "caller", "--ignored"])
            .env("WORLD", self.dir.path())
            .env("SPOOL", self.spool())
            .env("SCRIPT", script)
            .stdout(Stdio::null())
            .spawn()
            .expect("a caller");
        until("the child has begun", || self.path("begun").exists());
        caller.kill().expect("killed");
        caller.wait().expect("reaped");
    }
}

const SLOW: &str = "echo one; echo $$ >begun; while [ ! -e go ]; do sleep 0.05; done; echo two; echo x >>effects";

#[tokio::test]
async fn the_next_run_follows_a_child_whose_caller_was_killed() {
    let world = World::new();
    world.killed_caller(SLOW);
    let (children, mut events) = world.children();
    assert_eq!(children.running().expect("slots"), ["network-apply"]);

    std::fs::write(world.path("go"), "").expect("go");
    let (ended, lines) = run(&children, world.invocation(SLOW)).await;

    let ended = ended.expect("an end");
    assert_eq!((ended.code, ended.adopted), (Some(0), true));
    assert_eq!(lines, ["Stdout one", "Stdout two"]);
    assert_eq!(std::fs::read_to_string(world.path("effects")).expect("effects"), "x\n");
    assert!(notices(&mut events)[0].starts_with("network-apply: still running since "));
    children.discard(&ended).expect("discarded");
    assert_eq!(world.leftovers(), 0);
}

#[tokio::test]
async fn a_child_that_ended_after_its_callers_death_is_not_started_again() {
    let world = World::new();
    world.killed_caller(SLOW);
    std::fs::write(world.path("go"), "").expect("go");
    let (children, _events) = world.children();
    until("the child has ended", || children.running().expect("slots").is_empty());

    let (ended, lines) = run(&children, world.invocation(SLOW)).await;

    assert!(ended.expect("an end").adopted);
    assert_eq!(lines, ["Stdout one", "Stdout two"]);
    assert_eq!(std::fs::read_to_string(world.path("effects")).expect("effects"), "x\n");
}

#[tokio::test]
async fn another_invocation_waits_for_the_slot_and_is_then_started() {
    let world = World::new();
    world.killed_caller(SLOW);
    std::fs::write(world.path("go"), "").expect("go");
    let (children, _events) = world.children();

    let (ended, lines) = run(&children, world.invocation("cat effects; echo mine")).await;

    assert!(!ended.expect("an end").adopted);
    // The first two are of the child that was there before.
    assert_eq!(lines[lines.len() - 2..], ["Stdout x", "Stdout mine"]);
}

#[tokio::test]
async fn a_failure_of_an_earlier_run_is_not_taken_for_ones_own() {
    let world = World::new();
    let script = "echo x >>effects; echo 1 >begun; while [ ! -e go ]; do sleep 0.05; done; [ -e good ]";
    world.killed_caller(script);
    std::fs::write(world.path("go"), "").expect("go");
    let (children, _events) = world.children();
    until("the child has ended", || children.running().expect("slots").is_empty());

    std::fs::write(world.path("good"), "").expect("good");
    let (ended, _) = run(&children, world.invocation(script)).await;

    let ended = ended.expect("an end");
    assert_eq!((ended.code, ended.adopted), (Some(0), false));
    assert_eq!(std::fs::read_to_string(world.path("effects")).expect("effects"), "x\nx\n");
}

#[tokio::test]
async fn a_child_goes_on_without_its_supervisor_and_ends_without_a_witness() {
    let world = World::new();
    let (children, _events) = world.children();
    let script = "echo $PPID >begun; while [ ! -e go ]; do sleep 0.05; done; echo done";
    let killer = {
        let (begun, go, children) = (world.path("begun"), world.path("go"), world.path("children"));
        std::thread::spawn(move || {
            until("the child has begun", || std::fs::read_to_string(&begun).is_ok_and(|text| text.ends_with('\n')));
            // The child runs a moment before its supervisor has noted that it does.
            until("its start is noted", || {
                let records = std::fs::read_dir(&children).expect("children").flatten();
                records.map(|record| record.path().join("started.json")).any(|started| started.exists())
            });
            let supervisor = std::fs::read_to_string(&begun).expect("its id");
            assert!(Command::new("kill").args(["-9", supervisor.trim()]).status().expect("kill").success());
            std::fs::write(go, "").expect("go");
        })
    };

    let (ended, lines) = run(&children, world.invocation(script)).await;

    killer.join().expect("killed");
    let ended = ended.expect("an end");
    assert_eq!((ended.code, ended.signal), (None, None));
    assert_eq!(lines, ["Stdout done"]);
    assert_eq!(world.notes.all()[1], "ended None, not timed");
}

/// Counts SIGINTs in the file `ints`, in the child and in a process of its group.
const COUNTS: &str =
    "trap 'echo child >>ints' INT; (trap 'echo other >>ints' INT; while [ ! -e go ]; do sleep 0.05; done) &
    echo 1 >begun; while [ ! -e go ]; do sleep 0.05; done; wait";

impl World {
    /// Runs a child and raises the stop `levels` times, each after the one before has been told.
    async fn stopped(&self, cancel: Cancel, levels: usize) -> (Ended, Vec<String>) {
        let (children, mut events) = self.children();
        let mut told = vec![];
        let invocation = Invocation { cancel, ..self.invocation(COUNTS) };
        let child = run(&children, invocation);
        let stops = async {
            let begun = self.path("begun");
            tokio::task::spawn_blocking(move || until("begun", || begun.exists())).await.expect("begun");
            for _ in 0..levels {
                self.stop.raise();
                let notice = tokio::time::timeout(Duration::from_millis(600), notice(&mut events)).await;
                told.extend(notice.ok().flatten());
            }
            std::fs::write(self.path("go"), "").expect("go");
        };
        let ((ended, _), ()) = tokio::join!(child, stops);
        (ended.expect("an end"), told)
    }

    fn ints(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("ints")).unwrap_or_default();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

#[tokio::test]
async fn the_first_stop_cancels_a_group_once_and_the_second_adds_nothing() {
    let world = World::new();

    let (ended, told) = world.stopped(Cancel::Group, 2).await;

    assert_eq!(ended.code, Some(0));
    assert_eq!(world.ints(), ["child", "other"]);
    assert_eq!(told, ["network-apply: cancelled; waiting for it to clean up"]);
}

#[tokio::test]
async fn the_first_stop_lets_a_child_finish_and_the_second_interrupts_it_alone_once() {
    let world = World::new();

    let (ended, told) = world.stopped(Cancel::Finish, 2).await;

    assert_eq!(ended.code, Some(0));
    assert_eq!(world.ints(), ["child"]);
    assert!(told[0].starts_with("network-apply: finishes first; "), "{told:?}");
    assert_eq!(told[1], "network-apply: interrupted");
}

#[tokio::test]
async fn the_first_stop_makes_the_stop_file_that_the_child_looks_for() {
    let world = World::new();

    let (_, told) = world.stopped(Cancel::StopFile(world.path("stop")), 1).await;

    assert!(world.path("stop").exists());
    assert_eq!(world.ints(), Vec::<String>::new());
    assert_eq!(told, ["network-apply: ends before its next task"]);
}

#[tokio::test]
async fn the_third_stop_kills_the_group() {
    let world = World::new();

    let (ended, told) = world.stopped(Cancel::Finish, 3).await;

    assert_eq!(ended.signal, Some(9));
    assert!(told[2].starts_with("network-apply: killed; "), "{told:?}");
}

#[tokio::test]
async fn after_a_stop_nothing_is_started() {
    let world = World::new();
    let (children, _events) = world.children();
    world.stop.raise();

    let (ended, _) = run(&children, world.invocation("touch begun")).await;

    assert!(ended.expect_err("cancelled").is_cancelled());
    assert!(!world.path("begun").exists());
}

#[tokio::test]
async fn a_part_that_is_stopped_interrupts_its_own_child_and_no_other() {
    let world = World::new();
    let (children, _events) = world.children();
    let part = world.stop.part();
    let (mine, other) = (children.under(&part), children.under(&world.stop.part()));
    let script = |name: &str| {
        format!("trap 'echo {name} >>ints' INT; echo 1 >begun-{name}; while [ ! -e go ]; do sleep 0.05; done")
    };
    let invocation = |name: &str| Invocation {
        slot: format!("{name}-apply"),
        cancel: Cancel::Group,
        ..world.invocation(&script(name))
    };

    let stop = async {
        let begun = ["mine", "other"].map(|name| world.path(&format!("begun-{name}")));
        let ints = world.path("ints");
        let both = move || begun.iter().all(|file| file.exists());
        tokio::task::spawn_blocking(move || until("both have begun", both)).await.expect("begun");
        part.raise();
        tokio::task::spawn_blocking(move || until("one is interrupted", || ints.exists())).await.expect("interrupted");
        std::fs::write(world.path("go"), "").expect("go");
    };
    let ((first, _), (second, _), ()) =
        tokio::join!(run(&mine, invocation("mine")), run(&other, invocation("other")), stop);

    assert_eq!((first.expect("an end").code, second.expect("an end").code), (Some(0), Some(0)));
    assert_eq!(world.ints(), ["mine"]);
}

#[tokio::test]
async fn a_supervisor_that_a_ctrl_c_reached_before_its_child_began_is_no_fault_of_the_tool() {
    let world = World::new();
    let supervisor = world.path("supervisor");
    let script = format!(
        "#!/bin/sh\ncat >/dev/null; cd {}; touch begun\nwhile [ ! -e go ]; do sleep 0.05; done\n",
        world.dir.path().display()
    );
    std::fs::write(&supervisor, script).expect("written");
    std::fs::set_permissions(&supervisor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let (children, _events) = world.children();
    let children = children.with_supervisor(supervisor);

    let stop = async {
        let begun = world.path("begun");
        tokio::task::spawn_blocking(move || until("begun", || begun.exists())).await.expect("begun");
        world.stop.raise();
        std::fs::write(world.path("go"), "").expect("go");
    };
    let ((ended, _), ()) = tokio::join!(run(&children, world.invocation("true")), stop);

    let failure = ended.expect_err("not started");
    assert!(failure.is_cancelled(), "{failure}");
    assert_eq!(failure.what(), "stopped before `network-apply` was started");
    assert_eq!(world.leftovers(), 0);
}

#[tokio::test]
async fn a_child_whose_result_nobody_takes_over_is_swept_once_it_has_ended() {
    let world = World::new();
    world.killed_caller(SLOW);
    let (children, _events) = world.children();

    std::fs::create_dir(world.path("children/half-made")).expect("made");
    children.sweep().await.expect("swept");
    let still = children.running().expect("slots");
    std::fs::write(world.path("go"), "").expect("go");
    until("the child has ended", || children.running().expect("slots").is_empty());
    children.sweep().await.expect("swept");

    assert_eq!(still, ["network-apply"]);
    assert_eq!(world.leftovers(), 0);
    assert_eq!(world.notes.all(), ["ended Some(0), timed"]);
}

/// Not a test: what becomes another program in the next one.
#[test]
#[ignore = "started by another test"]
fn attached() {
    panic!("{}", attach(&["/bin/sh".into(), "-c".into(), "echo shell $$; exec sleep 60".into()]));
}

#[test]
fn a_program_that_takes_over_the_terminal_has_our_process_and_dies_with_it() {
    use std::io::{BufRead, BufReader};
    let mut caller = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "attached", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a caller");

    let output = BufReader::new(caller.stdout.take().expect("its output"));
    let shell = output.lines().find_map(|line| line.expect("text").strip_prefix("shell ").map(str::to_owned));
    caller.kill().expect("killed");
    caller.wait().expect("reaped");

    assert_eq!(shell, Some(caller.id().to_string()));
}
