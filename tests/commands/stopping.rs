//! `up` is told to stop, or dies, while tools work: the real program, its real supervisors, scripted tools.
//!
//! Two stages work at the same time: `network` with tofu, `base-image` with packer. Both tools work until the file `go` is
//! there, and write down each signal that reaches them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::World;

/// Makes a network when told to go; one SIGINT ends it, unless the file `deaf` is there.
const TOFU: &str = r#"#!/bin/bash
dir=${0%/bin/*}
[ "$1" = version ] && { echo '{"terraform_version":"1.12.6"}'; exit; }
stage=${PWD##*/}
for arg; do case $arg in -json-into=*) events=${arg#*=} ;; esac; done
summary() { echo '{"type":"change_summary","changes":{"add":1,"change":0,"remove":0,"operation":"'$1'"}}' >>"$events"; }
vpc='{"addr":"aws_vpc.this","resource_type":"aws_vpc","resource_name":"this"}'
case $1 in
plan)
  [ -e terraform.tfstate ] || echo '{"type":"planned_change","change":{"resource":'$vpc',"action":"create"}}' >>"$events"
  summary plan; : >plan.bin ;;
apply)
  [ "$stage" = network ] || exit 1
  for signal in HUP TERM QUIT TSTP; do trap "echo tofu $signal >>'$dir/signals'" $signal; done
  trap 'echo tofu INT >>"$dir/signals"; [ -e "$dir/deaf" ] || exit 1' INT
  echo $$ >"$dir/tofu.pid"; echo 'aws_vpc.this: Creating...'; echo tofu >>"$dir/began"
  until [ -e "$dir/go" ]; do sleep 0.05; done
  cat "$dir/state" >terraform.tfstate; summary apply ;;
-chdir=*) echo '{"resource_changes":[]}' ;;
esac
"#;

/// Builds nothing: ends when it is told to go, or with the SIGINT that makes it clean up.
const PACKER: &str = r#"#!/bin/bash
dir=${0%/bin/*}
[ "$1" = -machine-readable ] && { echo '1763726000,,version,1.16.0'; exit; }
[ "$1" = build ] || exit 0
trap 'echo packer INT >>"$dir/signals"; exit 1' INT
echo packer >>"$dir/began"
until [ -e "$dir/go" ]; do sleep 0.05; done
exit 1
"#;

const ANSIBLE: &str = "#!/bin/sh\necho 'ansible-playbook [core 2.21.5]'\n";

const PROGRAM: &str = env!("CARGO_BIN_EXE_sre-provision");
/// Who holds the lease.
const HOLDER: &str = ".sre-provision/dev/writer.json";
/// What the program says when it has heard a stop.
const HEARD: &str = "stopping: nothing new is started";
/// How long is waited for what another process does, and how often it is looked at.
const MOST: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Further apart than signals that count as one.
const APART: Duration = Duration::from_millis(350);

/// A program that works until `go`.
struct Up<'a> {
    world: &'a World,
    /// Of the program itself.
    pid: u32,
    child: Child,
}

impl World {
    /// Whose tools are scripted.
    fn scripted() -> Self {
        let world = Self::new().on_a_platform();
        std::fs::create_dir(world.path("bin")).expect("made");
        for (name, script) in [("tofu", TOFU), ("packer", PACKER), ("ansible-playbook", ANSIBLE)] {
            let path = world.path("bin").join(name);
            std::fs::write(&path, script).expect("written");
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("mode");
        }
        std::fs::write(world.path("state"), state().to_string()).expect("written");
        world.describe(
            "  region: eu-central-1\n",
            "  region: eu-central-1\nimage:\n  build: {vpc: vpc-0123456789abcdef0, subnet: subnet-0123456789abcdef0}\n",
        );
        release(&world.path("release"));
        world
    }

    /// Starts what this line says in a shell, which becomes it, with the scripted tools before all others.
    fn start(&self, line: &str) -> Up<'_> {
        drop(std::fs::remove_file(self.path(HOLDER)));
        let own: Vec<_> =
            self.command(&[]).get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        let path = std::env::var_os("PATH").expect("PATH");
        let path = std::env::join_paths(std::iter::once(self.path("bin")).chain(std::env::split_paths(&path)));
        let told = std::fs::File::create(self.path("told")).expect("a file");
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec {line}")]).current_dir(self.dir.path()).env_clear();
        command.envs(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", path.expect("a path")).env("INSTALL_RKE2_ARTIFACT_PATH", self.path("release"));
        command.stdin(Stdio::piped()).stdout(told.try_clone().expect("a second handle")).stderr(told);
        let mut up = Up { world: self, pid: 0, child: command.spawn().expect("it starts") };
        up.wait_for("it holds the lease", |world| world.holder().is_some());
        up.pid = self.holder().expect("a holder");
        up
    }

    /// `up` behind these words, once both tools work.
    fn up_behind(&self, before: &str) -> Up<'_> {
        self.working(&format!("{before} {PROGRAM} up dev --yes"))
    }

    fn up(&self) -> Up<'_> {
        self.up_behind("")
    }

    /// `up` as the leader of a session with a terminal of its own; who kills `script` closes it.
    fn up_in_a_terminal(&self) -> Up<'_> {
        self.working(&format!("script -qefc 'exec {PROGRAM} up dev --yes' /dev/null"))
    }

    /// `up` in the foreground of a shell with job control, which goes on when it is suspended, and resumes it when the file
    /// `resume` is there.
    fn up_in_a_shell(&self) -> Up<'_> {
        let shell = format!(
            "set -m\nexport TERM=xterm\nstty rows 40 cols 120\n{PROGRAM} up dev --yes\necho suspended with $?\nuntil [ -e resume ]; do sleep 0.05; done\nfg >/dev/null\n"
        );
        std::fs::write(self.path("shell"), shell).expect("written");
        self.working("script -qefc 'bash shell' /dev/null")
    }

    fn working(&self, line: &str) -> Up<'_> {
        let mut up = self.start(line);
        up.wait_for("both tools work", |world| world.text("began").lines().count() == 2);
        up
    }

    /// `up` after one that died; some of its tools may still work.
    fn up_again(&self) -> Up<'_> {
        self.start(&format!("{PROGRAM} up dev --yes"))
    }

    /// The process that holds the lease.
    fn holder(&self) -> Option<u32> {
        let holder: Value = serde_json::from_str(&self.text(HOLDER)).ok()?;
        u32::try_from(holder["actor"]["pid"].as_u64()?).ok()
    }

    /// Ends everything that works, and makes its records those of an earlier boot: memory is empty then.
    fn restart_the_machine(&self) {
        for record in std::fs::read_dir(self.path(".sre-provision/dev/children")).expect("records") {
            let dir = record.expect("a record").path();
            let read = |name: &str| -> Value {
                serde_json::from_slice(&std::fs::read(dir.join(name)).expect("read")).expect("JSON")
            };
            let (child, mut started) = (read("child.json"), read("started.json"));
            let pid = started["pid"].as_u64().expect("a process");
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
            let supervisor =
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).expect("its parent");
            for process in [supervisor.to_owned(), format!("-{pid}")] {
                assert!(Command::new("kill").args(["-9", "--", &process]).status().expect("kill").success());
            }
            let lock = std::fs::File::open(dir.join("lock")).expect("a lock");
            let until = Instant::now() + MOST;
            while lock.try_lock_shared().is_err() {
                assert!(Instant::now() < until, "somebody holds the lock of {}", dir.display());
                std::thread::sleep(LOOK);
            }
            started["boot"] = json!("00000000-0000-0000-0000-000000000000");
            std::fs::write(dir.join("started.json"), started.to_string()).expect("written");
            std::fs::remove_dir_all(child["here"].as_str().expect("a path")).expect("memory is empty");
        }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn go(&self) {
        std::fs::write(self.path("go"), "").expect("written");
    }

    /// The signals that reached the tools, sorted: they work side by side.
    fn signals(&self) -> Vec<String> {
        let mut signals: Vec<_> = self.text("signals").lines().map(str::to_owned).collect();
        signals.sort();
        signals
    }

    fn tofu_runs(&self) -> bool {
        runs(self.text("tofu.pid").trim())
    }

    /// How the last attempt at a stage ended, as the journal tells it.
    fn outcome(&self, stage: &str) -> Value {
        self.outcomes(stage).last().map_or(Value::Null, |last| last["outcome"].clone())
    }

    /// What the journal tells of each attempt at a stage.
    fn outcomes(&self, stage: &str) -> Vec<Value> {
        let mut entries: Vec<_> = std::fs::read_dir(self.path(".sre-provision/dev/journal"))
            .expect("a journal")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        let entries =
            entries.iter().map(|path| serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON"));
        let of_stage = |entry: &Value| entry["stage"] == stage && entry["step"].is_null() && entry["kind"] == "outcome";
        entries.filter(of_stage).collect()
    }
}

impl Up<'_> {
    fn wait_for(&mut self, what: &str, mut holds: impl FnMut(&World) -> bool) {
        let until = Instant::now() + MOST;
        while !holds(self.world) {
            assert!(Instant::now() < until, "never came true: {what}; it said:\n{}", self.world.text("told"));
            std::thread::sleep(LOOK);
        }
    }

    fn signal(&self, signal: &str) {
        kill(signal, self.pid);
    }

    fn hears(&mut self, words: &str) {
        self.wait_for(words, |world| world.text("told").contains(words));
    }

    fn ends(mut self) -> ExitStatus {
        let until = Instant::now() + MOST;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end; it said:\n{}", self.world.text("told"));
            std::thread::sleep(LOOK);
        }
    }
}

/// What a test that failed left running must not outlive it.
impl Drop for Up<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.go();
            drop(self.child.kill());
        }
    }
}

/// Whether there is such a process, and it has not ended.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().expect("kill");
    assert!(status.success(), "no process {pid}");
}

/// What tofu writes down of the network.
fn state() -> Value {
    let three = |name: &str| (1..=3).map(|number| format!("{name}-{number}")).collect::<Vec<_>>();
    let outputs = [
        ("vpc_id", json!("vpc-1")),
        ("vpc_cidr", json!("10.20.0.0/16")),
        ("zones", json!(three("zone"))),
        ("private_subnet_ids", json!(three("private"))),
        ("private_subnet_cidrs", json!(three("private-range"))),
        ("balancer_subnet_ids", json!(three("balancer"))),
        ("balancer_subnet_cidrs", json!(three("balancer-range"))),
        ("public_subnet_ids", json!(three("public"))),
        ("public_subnet_cidrs", json!(three("public-range"))),
        ("nat_gateway_ids", json!({})),
    ];
    let outputs: serde_json::Map<_, _> =
        outputs.into_iter().map(|(name, value)| (name.to_owned(), json!({ "value": value }))).collect();
    json!({ "version": 4, "serial": 1, "lineage": "a", "outputs": outputs, "resources": [] })
}

/// A release of files that hold nothing.
fn release(dir: &Path) {
    std::fs::create_dir(dir).expect("made");
    let names =
        ["rke2.linux-amd64.tar.gz", "rke2-images-core.linux-amd64.tar.zst", "rke2-images-canal.linux-amd64.tar.zst"];
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let sums: String = names.iter().map(|name| format!("{nothing}  {name}\n")).collect();
    for (name, text) in names.iter().map(|name| (*name, "")).chain([("sha256sum-amd64.txt", sums.as_str())]) {
        std::fs::write(dir.join(name), text).expect("written");
    }
}

#[test]
fn one_ctrl_c_cancels_packer_once_and_lets_tofu_finish() {
    let world = World::scripted();
    let mut up = world.up();

    up.signal("INT");
    up.hears(HEARD);
    up.wait_for("packer is cancelled", |world| world.signals() == ["packer INT"]);
    assert!(world.tofu_runs(), "it is waited for");
    world.go();

    assert_eq!(up.ends().code(), Some(130), "{}", world.text("told"));
    assert_eq!(world.signals(), ["packer INT"]);
    assert_eq!((world.outcome("network"), world.outcome("base-image")), (json!("succeeded"), json!("interrupted")));
    let hint = world.text("told").lines().last().unwrap_or_default().to_owned();
    assert_eq!(hint, "hint:  sre-provision up dev   goes on where this run stopped");
}

#[test]
fn a_second_ctrl_c_interrupts_tofu_once() {
    let world = World::scripted();
    let mut up = world.up();

    up.signal("INT");
    up.hears(HEARD);
    std::thread::sleep(APART);
    up.signal("INT");

    assert_eq!(up.ends().code(), Some(130), "{}", world.text("told"));
    assert_eq!(world.signals(), ["packer INT", "tofu INT"]);
    assert_eq!(world.outcome("network"), "interrupted");
}

#[test]
fn a_third_ctrl_c_kills_a_tool_that_ignores_the_second() {
    let world = World::scripted();
    std::fs::write(world.path("deaf"), "").expect("written");
    let mut up = world.up();

    up.signal("INT");
    up.hears(HEARD);
    std::thread::sleep(APART);
    up.signal("INT");
    up.wait_for("tofu is interrupted", |world| world.signals() == ["packer INT", "tofu INT"]);
    std::thread::sleep(APART);
    up.signal("INT");

    assert_eq!(up.ends().code(), Some(130), "{}", world.text("told"));
    assert!(!world.tofu_runs(), "it is killed");
    assert!(
        world.text("told").contains("network-apply: killed; what it was making may be left behind"),
        "{}",
        world.text("told")
    );
    assert_eq!(world.outcome("network"), "interrupted");
}

#[test]
fn what_timeout_does_counts_as_one_stop_and_what_it_leaves_running_is_followed_by_the_next_up() {
    let world = World::scripted();
    let mut up = world.up_behind("timeout -k 2 -s TERM 600");
    let (timeout, program) = (up.child.id(), up.pid);
    assert_ne!(timeout, program);

    kill("TERM", timeout);
    up.hears(HEARD);
    let status = up.ends();

    assert_eq!(status.signal().map_or(status.code(), |signal| Some(128 + signal)), Some(137), "timeout killed it");
    assert!(world.tofu_runs(), "it outlives the program");
    assert_eq!(world.signals(), ["packer INT"], "one SIGTERM and its echo are one stop");

    let mut next = world.up_again();
    next.hears("network-apply: still running since ");
    world.go();
    next.ends();
    assert_eq!(world.text("began").lines().filter(|line| *line == "tofu").count(), 1, "it is not started again");
    assert_eq!(world.outcome("network"), "succeeded");
}

#[test]
fn a_sigterm_alone_ends_with_143() {
    let world = World::scripted();
    let mut up = world.up();

    up.signal("TERM");
    up.hears(HEARD);
    world.go();

    assert_eq!(up.ends().code(), Some(143), "{}", world.text("told"));
    assert_eq!(world.outcome("network"), "succeeded");
}

#[test]
fn a_closed_terminal_is_one_stop_and_interrupts_no_tofu() {
    let world = World::scripted();
    let mut up = world.up_in_a_terminal();
    let program = up.pid;

    up.child.kill().expect("the terminal is closed");
    up.wait_for("packer is cancelled", |world| world.signals() == ["packer INT"]);
    std::thread::sleep(APART);
    // A shell that ends tells it once more.
    kill("HUP", program);
    world.go();
    up.wait_for("the program ends", |_| !runs(&program.to_string()));

    assert_eq!(world.signals(), ["packer INT"]);
    assert_eq!((world.outcome("network"), world.outcome("base-image")), (json!("succeeded"), json!("interrupted")));
    up.child.wait().expect("reaped");
}

#[test]
fn a_ctrl_c_at_the_terminal_reaches_the_program_and_none_of_its_tools() {
    use std::io::Write;
    let world = World::scripted();
    let mut up = world.up_in_a_terminal();

    up.child.stdin.as_mut().expect("the keyboard").write_all(&[3]).expect("Ctrl-C is typed");
    up.wait_for("packer is cancelled", |world| world.signals() == ["packer INT"]);
    world.go();

    assert_eq!(up.ends().code(), Some(130), "{}", world.text("told"));
    assert_eq!(world.signals(), ["packer INT"]);
    // This terminal has no name, so nothing can be redrawn on it: what happens is told line by line all the same.
    for line in ["→ network        started", HEARD, "✓ network        made in"] {
        assert!(world.text("told").contains(line), "no `{line}`: {}", world.text("told"));
    }
}

#[test]
fn a_program_that_was_started_with_nohup_outlives_its_terminal() {
    let world = World::scripted();
    let mut up = world.up_behind("nohup");

    up.signal("HUP");
    std::thread::sleep(APART);
    up.signal("TERM");
    up.hears(HEARD);
    up.wait_for("packer is cancelled", |world| world.signals() == ["packer INT"]);
    world.go();

    // Had the first one counted, the second would have interrupted tofu.
    assert_eq!(up.ends().code(), Some(143), "{}", world.text("told"));
    assert_eq!(world.signals(), ["packer INT"]);
    assert_eq!(world.outcome("network"), "succeeded");
}

#[test]
fn tools_go_on_while_the_program_is_suspended_and_it_goes_on_with_what_they_did() {
    let world = World::scripted();
    let mut up = world.up();

    up.signal("STOP");
    let stat = format!("/proc/{}/stat", up.pid);
    up.wait_for("it stands still", |_| std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    world.go();
    up.wait_for("tofu has ended", |world| !world.tofu_runs());
    up.signal("CONT");
    up.ends();

    assert_eq!((world.outcome("network"), world.signals()), (json!("succeeded"), vec![]));
}

#[test]
fn a_ctrl_z_suspends_the_program_and_no_tool_and_in_the_foreground_again_it_shows_what_was_done() {
    use std::io::Write;
    let world = World::scripted();
    let mut up = world.up_in_a_shell();

    up.child.stdin.as_mut().expect("the keyboard").write_all(&[0x1a]).expect("Ctrl-Z is typed");
    up.hears("suspended with 148");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", up.pid)).expect("it is there");
    let tofu = std::fs::read_to_string(format!("/proc/{}/stat", world.text("tofu.pid").trim())).expect("it is there");
    world.go();
    up.wait_for("tofu has ended", |world| !world.tofu_runs());
    std::fs::write(world.path("resume"), "").expect("written");
    up.ends();

    assert!(stat.contains(") T ") && !tofu.contains(") T "), "{stat}{tofu}");
    assert_eq!((world.outcome("network"), world.signals()), (json!("succeeded"), vec![]));
    let told = world.text("told");
    let (before, after) = told.split_once("suspended with 148").expect("it was suspended");
    assert!(!before.contains("network        made in"), "{told}");
    // What it settled is told once, and then in the closing table; nothing that moved stays below it.
    assert_eq!(after.matches("✓ network        made in").count(), 1, "{told}");
    let table = after.split_once("✓ network        made   ").expect("a closing table").1;
    assert!(!["⠁", "⠋", "⠙"].iter().any(|spinner| table.contains(spinner)), "{told}");
    assert!(!told.contains("\u{1b}[?25l"), "the cursor is never hidden, so the shell has it: {told}");
}

#[test]
fn a_stage_that_says_nothing_is_told_with_since_when_and_its_last_line_and_goes_on() {
    let world = World::scripted();
    world.describe("  region: eu-central-1\n", "  region: eu-central-1\ndeadlines: {network: 45s}\n");
    let mut up = world.working(&format!("{PROGRAM} up dev --yes --output json"));
    let begun = jiff::Timestamp::now();

    up.hears("stage-silent");
    world.go();
    up.ends();

    let told = world.text("told");
    let silent = told.lines().find(|line| line.contains("stage-silent")).expect("a line");
    let silent: Value = serde_json::from_str(silent).expect("JSON");
    assert_eq!((&silent["stage"], &silent["last"]), (&json!("network"), &json!("aws_vpc.this: Creating...")));
    let since: jiff::Timestamp = silent["since"].as_str().and_then(|since| since.parse().ok()).expect("a time");
    let apart = since.duration_since(begun).abs();
    assert!(apart < jiff::SignedDuration::from_secs(15), "silent since {since}, and tofu began to wait at {begun}");
    assert_eq!((world.outcome("network"), world.signals()), (json!("succeeded"), vec![]));
}

#[test]
fn a_program_that_was_killed_is_followed_by_one_that_goes_on_with_its_tools() {
    let world = World::scripted();
    let up = world.up();

    up.signal("KILL");
    up.ends();
    let mut next = world.up_again();
    next.hears("network-apply: still running since ");
    world.go();
    next.ends();

    assert_eq!((world.outcome("network"), world.signals()), (json!("succeeded"), vec![]));
    assert_eq!(world.text("began").lines().filter(|line| *line == "tofu").count(), 1);
}

#[test]
fn a_call_without_an_answer_is_looked_after_before_it_is_repeated_and_each_attempt_is_journaled() {
    let world = World::scripted();
    world.describe("image:\n  build: {vpc: vpc-0123456789abcdef0, subnet: subnet-0123456789abcdef0}\n", "");
    let platform = world.platform.as_ref().expect("one");
    platform.loses_an_answer_to("CreateVpc");
    world.go();

    let ended = world.up_again().ends();

    // The subnet that comes next is made and not named: that ends it.
    assert_eq!(ended.code(), Some(6), "{}", world.text("told"));
    let asked = platform.in_order();
    let about: Vec<_> =
        asked.iter().filter(|action| ["CreateVpc", "DescribeVpcs"].contains(&action.as_str())).collect();
    let made = about.iter().position(|action| *action == "CreateVpc").expect("it was asked");
    assert_eq!(about.iter().filter(|action| **action == "CreateVpc").count(), 1, "{about:?}");
    assert!(about[made + 1..].iter().any(|action| *action == "DescribeVpcs"), "{about:?}");
    let attempts: Vec<_> =
        world.outcomes("base-image").iter().map(|outcome| json!([outcome["attempt"], outcome["class"]])).collect();
    assert_eq!(attempts, [json!([1, "transient"]), json!([2, "permanent"])]);
    let why = world.outcomes("base-image")[0]["why"].to_string();
    assert!(why.contains("making the VPC for the build: AWS cannot be reached, or did not answer"), "{why}");
}

#[test]
fn after_a_restart_of_the_machine_what_was_made_by_then_is_looked_for() {
    let world = World::scripted();
    let up = world.up();
    up.signal("KILL");
    up.ends();
    world.restart_the_machine();

    let mut next = world.up_again();
    next.hears("network-apply: the machine was restarted while it ran; what it had made by then is looked for");
    world.go();
    next.ends();

    assert_eq!(world.text("began").lines().filter(|line| *line == "tofu").count(), 2, "it is started again");
    assert_eq!(world.outcome("network"), "succeeded");
}
