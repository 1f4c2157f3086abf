//! What a want of memory does to children, and what they cost: a kill by the kernel is named, and what a tool prints
//! takes no memory of the program that follows it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use sre_provision::stop::Stop;

use crate::{World, children, invocation};

/// Not a test: runs a script as a child and tells how it ended.
#[tokio::test]
#[ignore = "started by other tests"]
#[expect(clippy::disallowed_macros, reason = "a process that is started tells by what it prints")]
async fn caller() {
    let place = |name: &str| PathBuf::from(std::env::var_os(name).expect(name));
    let (children, mut events) = children(&place("WORLD"), &place("SPOOL"), Stop::default(), Arc::default());
    let listens = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let before = highest();
    let ended = children
        .run(invocation(&place("WORLD"), &std::env::var("SCRIPT").expect("SCRIPT")), &mut |_, _| {})
        .await
        .expect("an end");
    drop(children);
    listens.await.expect("no more events");
    println!("how {}\nhint {}\ngrew {}", ended.how(), ended.hint().unwrap_or_default(), highest() - before);
}

/// The memory of this process at its highest, in KiB.
fn highest() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

impl World {
    /// Runs a script in a process of its own, whose shell begins with these words.
    fn called(&self, first: &str, script: &str) -> Output {
        let caller = std::env::current_exe().expect("this program");
        let line = format!("{first} exec \"$0\" --exact starving::caller --ignored --nocapture");
        Command::new("bash")
            .args(["-c", &line])
            .arg(caller)
            .env("WORLD", self.dir.path())
            .env("SPOOL", self.spool())
            .env("SCRIPT", script)
            .stderr(Stdio::inherit())
            .output()
            .expect("a caller")
    }
}

/// What a caller told under this name.
fn told(output: &Output, name: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{name}` in:\n{text}")).to_owned()
}

/// A control group whose processes may have 96 MiB together, with what a shell does to enter it.
struct Group {
    dir: Option<PathBuf>,
    enter: String,
}

impl Group {
    fn new() -> Self {
        let groups = std::fs::read_to_string("/proc/self/cgroup").expect("control groups");
        let own = groups.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path.to_owned()));
        let Some(own) = own else {
            // Version 2: systemd hands out what may have a limit.
            let scope = "systemd-run --quiet --scope -p MemoryMax=96M -p MemorySwapMax=0".to_owned();
            return Self { dir: None, enter: format!("exec() {{ command exec {scope} \"$@\"; }};") };
        };
        let dir = Path::new("/sys/fs/cgroup/memory")
            .join(own.trim_start_matches('/'))
            .join(format!("sre-test-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("root may make a control group");
        std::fs::write(dir.join("memory.limit_in_bytes"), (96 << 20).to_string()).expect("a limit");
        let enter = format!("echo $$ >{}/tasks;", dir.display());
        Self { dir: Some(dir), enter }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.dir.as_ref().map(std::fs::remove_dir);
    }
}

#[test]
fn a_tool_that_the_kernel_killed_for_want_of_memory_is_told_so() {
    let (world, group) = (World::new(), Group::new());

    // The last command keeps a line without an end in memory.
    let output = world.called(&group.enter, "head -c 400M /dev/zero | tail -n 1 >/dev/null; exit ${PIPESTATUS[1]}");

    let how = told(&output, "how");
    assert!(how.ends_with("with exit code 137: the kernel killed for want of memory, of its control group"), "{how}");
    assert!(told(&output, "hint").starts_with("give it more memory: "), "{how}");
    assert!(world.log().trim_end().ends_with(": the kernel killed for want of memory, of its control group"));
}

#[test]
fn a_tool_that_prints_two_hundred_mebibytes_costs_the_program_little_and_the_log_counts_every_line() {
    let world = World::new();

    let output = world.called("", "seq 1 2000000 | sed 's/$/ of a hundred letters that nobody reads, and so on until the line is as long as that: ....../'; echo last");

    let grew: u64 = told(&output, "grew").parse().expect("a number");
    assert!(grew < 24 << 10, "the program grew by {grew} KiB");
    let log = world.log();
    let lines: Vec<_> = log.lines().collect();
    let left_out =
        lines.iter().find_map(|line| line.strip_prefix("── ")?.strip_suffix(" lines left out: the log is full"));
    let left_out: usize = left_out.expect("a full log").parse().expect("a number");
    // The command, how many were left out, the last word and how it ended are no numbered lines.
    assert_eq!(lines.len() - 4 + left_out, 2_000_000);
    assert!(lines[lines.len() - 3].starts_with("2000000 of a hundred") && lines[lines.len() - 2] == "last");
}
