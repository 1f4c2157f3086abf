//! The built program without a cloud: what its commands print for people and for programs, and what they end with.
#![expect(
    clippy::disallowed_methods,
    reason = "the world of the test is a workspace, and the program is started in it"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sre_provision::artifact::Artifact;
use sre_provision::journal::{Entry, Record, load_identity};
use sre_provision::secrets::{KeySource, Secrets};
use sre_provision::workspace::{Workspace, forget_temporary};

/// The environment of the golden journal.
const ID: &str = "5b1e0000-0000-4000-8000-000000000001";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A workspace with `environments/dev.yaml`, and nothing of the caller's environment.
struct World {
    dir: tempfile::TempDir,
}

/// How the program ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// The one object that it printed.
    fn json(&self) -> Value {
        let [line] = self.out.lines().collect::<Vec<_>>()[..] else { panic!("not one line: {}", self.out) };
        serde_json::from_str(line).expect("JSON")
    }

    /// What stands in a table below its head, word by word.
    fn rows(&self) -> Vec<Vec<&str>> {
        self.out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory") };
        std::fs::create_dir(world.path("environments")).expect("made");
        std::fs::copy(root().join("environments/dev.yaml"), world.path("environments/dev.yaml")).expect("copied");
        world
    }

    /// An environment that was made, with the golden journal.
    fn made() -> Self {
        let world = Self::new();
        let state = world.path(".sre-provision/dev");
        std::fs::create_dir_all(state.join("journal")).expect("made");
        let identity = json!({
            "version": 1, "id": ID, "name": "dev", "platform": "aws", "class": "ephemeral", "account": "123456789012",
            "region": "us-gov-west-1", "created": "2026-11-20T14:02:11Z", "created_by": "a.operator",
        });
        std::fs::write(state.join("identity.json"), identity.to_string()).expect("written");
        for entry in golden() {
            std::fs::copy(&entry, state.join("journal").join(entry.file_name().expect("a name"))).expect("copied");
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sre-provision"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").expect("PATH")).env("HOME", self.dir.path());
        command.env("SRE_PROVISION_ASSETS", root()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        let output = self.command(args).output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ended { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self, args: &[&str]) -> (i32, Value) {
        let ended = self.run(&[args, &["--output", "json"]].concat());
        assert_eq!(ended.err, "", "a program reads standard output alone");
        (ended.code, ended.json())
    }
}

fn golden() -> Vec<PathBuf> {
    let dir = root().join("tests/golden/journal/1.0");
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).expect("golden files").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    entries
}

#[test]
fn validate_tells_what_a_good_file_describes() {
    let world = World::new();

    let ended = world.run(&["validate", "dev"]);

    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let said = "environments/dev.yaml is valid: 3 servers, 2 agents on aws, RKE2 v1.35.4+rke2r1\n";
    assert_eq!(ended.out, said);
    assert_eq!(world.json(&["validate", "dev"]), (0, json!({ "environment": "dev", "valid": true })));
}

#[test]
fn validate_without_a_name_tells_the_problems_of_every_file() {
    let world = World::new();
    let good = std::fs::read_to_string(world.path("environments/dev.yaml")).expect("a file");
    for (name, old, new) in [("one", "zones: 3", "zones: 4"), ("two", "count: 3", "count: 2")] {
        std::fs::write(world.path(&format!("environments/{name}.yaml")), good.replace(old, new)).expect("written");
    }

    let ended = world.run(&["validate"]);
    let (code, last) = world.json(&["validate", "two"]);

    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(ended.out.starts_with("environments/dev.yaml is valid"), "{}", ended.out);
    for told in ["environments/one.yaml has 1 problem", "network.zones", "environments/two.yaml has 1 problem"] {
        assert!(ended.err.contains(told), "{told}: {}", ended.err);
    }
    assert_eq!((code, &last["event"], &last["exit"]), (3, &json!("failed"), &json!(3)));
    assert!(last["error"].as_str().is_some_and(|error| error.contains("nodes.servers.count")), "{last}");
}

#[test]
fn schema_prints_what_lies_beside_the_environments() {
    let world = World::new();

    let ended = world.run(&["schema"]);

    let copy = std::fs::read_to_string(root().join("environments/environment.schema.json")).expect("the copy");
    assert_eq!((ended.code, ended.out.trim_end()), (0, copy.trim_end()));
    assert_eq!(world.json(&["schema"]), (0, serde_json::from_str(&copy).expect("JSON")));
}

#[test]
fn completions_know_every_command_and_an_unknown_shell_is_a_mistake_in_the_command_line() {
    let world = World::new();

    let bash = world.run(&["completions", "bash"]);
    let unknown = world.run(&["completions", "cmd"]);

    assert_eq!(bash.code, 0, "{}", bash.err);
    for command in ["up", "down", "plan", "kubeconfig", "history"] {
        assert!(bash.out.contains(&format!("sre__provision__subcmd__{command}")), "{command}: {}", bash.out);
    }
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert!(unknown.err.contains("possible values: bash,"), "{}", unknown.err);
}

#[test]
fn history_tells_every_run_and_the_stages_of_one() {
    let world = World::made();

    let all = world.run(&["history", "dev"]);
    let one = world.run(&["history", "dev", "--run", "1"]);
    let (code, data) = world.json(&["history", "dev"]);
    let (unknown, failure) = world.json(&["history", "dev", "--run", "9"]);

    assert_eq!((all.code, one.code, code), (0, 0, 0), "{}{}", all.err, one.err);
    assert_eq!(all.rows().iter().map(|row| row[0]).collect::<Vec<_>>(), ["0001", "0002"]);
    assert!(all.out.contains("partial") && all.out.contains("network: no answer"), "{}", all.out);
    assert_eq!(
        one.rows().iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>(),
        [
            ["nodes", "make", "succeeded"],
            ["bundle", "make", "succeeded"],
            ["network", "make", "failed"],
            ["access", "make", "skipped"],
        ]
    );
    assert_eq!((&data["environment"], &data["id"]), (&json!("dev"), &json!(ID)));
    assert_eq!(data["runs"][0]["command"], "up dev");
    assert_eq!((unknown, &failure["error"]), (1, &json!("`dev` has no run 9")));
}

#[test]
fn a_journal_that_was_changed_is_not_told_as_history() {
    let world = World::made();
    let entry = world.path(".sre-provision/dev/journal/0000000010.json");
    let text = std::fs::read_to_string(&entry).expect("an entry");
    std::fs::write(&entry, text.replace("i-0abc", "i-0abd")).expect("written");

    let ended = world.run(&["history", "dev"]);

    assert_eq!((ended.code, ended.out.as_str()), (20, ""), "{}", ended.err);
}

#[test]
fn logs_lists_those_of_the_last_run_and_prints_the_named_one() {
    let world = World::made();
    for (run, log, text) in
        [("0001", "network", "old\n"), ("0002", "nodes", "made\n"), ("0002", "servers-server-1", "ok\n")]
    {
        let dir = world.path(".sre-provision/dev/runs").join(run);
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join(format!("{log}.log")), text).expect("written");
    }

    let list = world.run(&["logs", "dev"]);
    let earlier = world.run(&["logs", "dev", "network", "--run", "1"]);
    let unknown = world.run(&["logs", "dev", "network"]);
    let (code, data) = world.json(&["logs", "dev", "nodes"]);

    let shown = ["nodes", "servers-server-1"].map(|name| format!(".sre-provision/dev/runs/0002/{name}.log\n"));
    assert_eq!((list.code, list.out), (0, shown.concat()));
    assert_eq!((earlier.code, earlier.out.as_str()), (0, "old\n"));
    assert_eq!(unknown.code, 1, "{}", unknown.err);
    assert!(unknown.err.contains("hint:  there are nodes, servers-server-1"), "{}", unknown.err);
    assert_eq!((code, &data["text"]), (0, &json!("made\n")));
}

#[test]
fn of_an_environment_that_was_never_made_there_is_nothing_to_tell() {
    let world = World::new();

    for (args, told) in [
        (["history", "dev"], "`dev` has no history here"),
        (["logs", "dev"], "`dev` has no run with logs"),
        (["nodes", "dev"], "`dev` was never made here"),
    ] {
        let ended = world.run(&args);
        let (code, failure) = world.json(&args);

        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{args:?}");
        assert!(ended.err.starts_with(&format!("error: {told}\n")), "{}", ended.err);
        assert_eq!((code, &failure["error"]), (1, &json!(told)));
    }
    assert!(!world.path(".sre-provision/dev").exists(), "a look makes nothing");
}

#[test]
fn nodes_tells_a_machine_that_does_not_answer_in_its_own_line() {
    let world = World::made();
    let state = Workspace::open(world.dir.path()).expect("a workspace").state("dev");
    let identity = load_identity(&state).expect("readable").expect("an identity");
    let key = KeySource::usual(&world.path(".config"), &identity);
    Secrets::open(&state, &identity, key).expect("a store").ssh_key().expect("a key");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let access = json!({ "kind": "access", "nodes": { "server-1": {
        "machine": "i-0abc", "role": "server", "address": "127.0.0.1", "port": closed, "user": "rocky",
        "host_keys": ["ecdsa-sha2-nistp256 AAAA"],
    } } });
    append(&world, &serde_json::from_value(access).expect("an artifact"));

    let (code, data) = world.json(&["nodes", "dev"]);

    forget_temporary(&format!("c-{}", identity.short())).expect("the way to the nodes is removed");
    assert_eq!((code, data.as_array().map(Vec::len)), (0, Some(1)), "{data}");
    let line = &data[0];
    for (key, value) in [("node", "server-1"), ("role", "server"), ("machine", "i-0abc"), ("version", "")] {
        assert_eq!(line[key], value, "{line}");
    }
    let state = line["state"].as_str().unwrap_or_default();
    assert!(state.starts_with("no SSH connection to `server-1` (127.0.0.1): "), "{line}");
}

/// Appends an artifact to the journal as its stage would: an intent and its outcome.
fn append(world: &World, artifact: &Artifact) {
    let entries = golden().into_iter().map(|path| std::fs::read(path).expect("an entry"));
    let entries: Vec<Entry> = entries.map(|bytes| serde_json::from_slice(&bytes).expect("an entry")).collect();
    let of_nodes = |entry: &&Entry| match &entry.record {
        Record::Intent(intent) => intent.stage.name() == "nodes" && intent.step.is_none(),
        Record::Outcome(settled) => settled.stage.name() == "nodes" && settled.step.is_none(),
        _ => false,
    };
    let mut last = entries.last().expect("entries").clone();
    for model in entries.iter().filter(of_nodes) {
        let mut entry = Entry { number: last.number + 1, previous: Some(last.digest.clone()), ..last.clone() };
        entry.record = model.record.clone();
        match &mut entry.record {
            Record::Intent(intent) => intent.stage = artifact.kind(),
            Record::Outcome(settled) => {
                (settled.stage, settled.artifact) = (artifact.kind(), Some(artifact.clone()));
            }
            _ => panic!("neither intent nor outcome"),
        }
        let bytes = entry.seal().expect("sealed");
        let path = world.path(&format!(".sre-provision/dev/journal/{:010}.json", entry.number));
        std::fs::write(path, bytes).expect("written");
        last = entry;
    }
}

#[test]
fn the_second_up_is_told_who_holds_the_environment_and_ends_with_8() {
    let world = World::new();
    // A platform that hears and never answers: the first one holds the environment while it waits.
    let platform = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", platform.local_addr().expect("an address"));
    let up = || {
        let mut command = world.command(&["up", "dev", "--yes"]);
        let own = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        command.envs(own).env("AWS_EC2_METADATA_DISABLED", "true");
        command
    };
    let mut first = up().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let _asked = platform.accept().expect("it asks the platform");

    let second = up().output().expect("the program starts");

    first.kill().expect("killed");
    first.wait().expect("reaped");
    let said = String::from_utf8(second.stderr).expect("UTF-8");
    assert_eq!(second.status.code(), Some(8), "{said}");
    assert!(said.starts_with("error: `dev` is held by "), "{said}");
    assert!(said.contains(&format!("process {}\n", first.id())), "{said}");
    assert!(said.contains("hint:  sre-provision status dev"), "{said}");
}
