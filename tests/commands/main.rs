//! The built program without a cloud: what its commands print for people and for programs, and what they end with.
//!
//! One file a command. Where a command asks its platform, a scripted one answers that knows the caller and has nothing.
#![expect(
    clippy::disallowed_methods,
    reason = "the world of the test is a workspace, and the program is started in it"
)]

mod bundle;
mod completions;
mod day2;
mod down;
mod expiry;
mod history;
mod images;
mod kubeconfig;
mod logs;
mod nodes;
mod plan;
mod platform;
mod reap;
mod schema;
mod secrets;
mod sources;
mod ssh;
mod state;
mod status;
mod stopping;
mod unlock;
mod up;
mod validate;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sre_provision::artifact::Artifact;
use sre_provision::identity::Identity;
use sre_provision::journal::{Entry, Record, load_identity};
use sre_provision::secrets::{KeySource, Secrets};
use sre_provision::workspace::{StateDir, Workspace, forget_temporary};

use platform::Platform;

/// The environment of the golden journal.
const ID: &str = "5b1e0000-0000-4000-8000-000000000001";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A workspace with `environments/dev.yaml`, and nothing of the caller's environment.
struct World {
    dir: tempfile::TempDir,
    platform: Option<Platform>,
    /// The way to the nodes lies in memory by the id of the environment, which all golden journals share: whoever may walk
    /// it has its turn for as long as this file is locked.
    turn: Option<File>,
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

    /// That it printed this as its failure, whole, and nothing else.
    #[track_caller]
    fn fails(&self, code: i32, told: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (code, "", format!("{told}\n").as_str()));
    }
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory"), platform: None, turn: None };
        std::fs::create_dir(world.path("environments")).expect("made");
        std::fs::copy(root().join("environments/dev.yaml"), world.path("environments/dev.yaml")).expect("copied");
        world
    }

    /// An environment that was made, with the golden journal.
    fn made() -> Self {
        let world = Self::new();
        let state = world.path(".sre-provision/dev");
        std::fs::create_dir_all(state.join("journal")).expect("made");
        world.identity(json!({}));
        for entry in golden() {
            std::fs::copy(&entry, state.join("journal").join(entry.file_name().expect("a name"))).expect("copied");
        }
        world
    }

    /// As [`made`](Self::made), with a way to `server-1`, which does not answer.
    fn reached() -> Self {
        let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden.lock")).expect("a file");
        turn.lock().expect("locked");
        let world = Self { turn: Some(turn), ..Self::made() };
        world.secrets().ssh_key().expect("a key");
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
        let access = json!({ "kind": "access", "nodes": { "server-1": {
            "machine": "i-0abc", "role": "server", "address": "127.0.0.1", "port": closed, "user": "rocky",
            "host_keys": ["ecdsa-sha2-nistp256 AAAA"],
        } } });
        append(&world, &serde_json::from_value(access).expect("an artifact"));
        world
    }

    /// As [`reached`](Self::reached), on a platform, where `server-1` is the cluster.
    fn clustered() -> Self {
        let world = Self::reached().on_a_platform();
        let balancer = json!({ "kind": "load-balancer", "id": "api", "address": "api.dev.example" });
        let joined = json!({ "server-1": { "machine": "i-0abc", "version": "v1.34.4+rke2r1" } });
        let servers = json!({ "kind": "servers", "ca": "a".repeat(64), "join_address": "127.0.0.1", "joined": joined });
        for artifact in [balancer, servers] {
            append(&world, &serde_json::from_value(artifact).expect("an artifact"));
        }
        world
    }

    /// An operation that was begun and has not come to its end.
    fn with_open(self, command: &str) -> Self {
        let value = json!({ "command": command, "run": 1, "details": null });
        append_record(&self, Record::Fact { name: "upkeep/open".to_owned(), value });
        self
    }

    /// The number of entries in the journal.
    fn entries(&self) -> usize {
        std::fs::read_dir(self.path(".sre-provision/dev/journal")).expect("a journal").count()
    }

    /// With a platform that answers and has nothing.
    fn on_a_platform(self) -> Self {
        Self { platform: Some(Platform::start()), ..self }
    }

    /// Writes the identity of `dev`, with these members otherwise.
    fn identity(&self, other: Value) {
        let mut identity = json!({
            "version": 1, "id": ID, "name": "dev", "platform": "aws", "class": "ephemeral", "account": "123456789012",
            "region": "eu-central-1", "created": "2026-11-20T14:02:11Z", "created_by": "a.operator",
        });
        identity.as_object_mut().expect("an object").extend(other.as_object().cloned().expect("an object"));
        std::fs::write(self.path(".sre-provision/dev/identity.json"), identity.to_string()).expect("written");
    }

    fn state(&self) -> (StateDir, Identity) {
        let state = Workspace::open(self.dir.path()).expect("a workspace").state("dev");
        let identity = load_identity(&state).expect("readable").expect("an identity");
        (state, identity)
    }

    fn secrets(&self) -> Secrets {
        let (state, identity) = self.state();
        let key = KeySource::usual(&self.path(".config"), &identity);
        Secrets::open(&state, &identity, key).expect("a store")
    }

    /// Removes the way to the nodes, which lies in memory outside of the workspace.
    fn forget_the_way(&self) {
        assert!(self.turn.is_some(), "somebody else may walk it");
        let (_, identity) = self.state();
        forget_temporary(&format!("c-{}", identity.short())).expect("the way to the nodes is removed");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the environment file.
    fn describe(&self, old: &str, new: &str) {
        let file = self.path("environments/dev.yaml");
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(text.contains(old), "{old}");
        std::fs::write(&file, text.replace(old, new)).expect("written");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sre-provision"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").expect("PATH")).env("HOME", self.dir.path());
        command.env("SRE_PROVISION_ASSETS", root()).env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
        if let Some(platform) = &self.platform {
            command.envs(platform.variables());
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        ended(&mut self.command(args))
    }

    fn json(&self, args: &[&str]) -> (i32, Value) {
        let ended = self.run(&[args, &["--output", "json"]].concat());
        assert_eq!(ended.err, "", "a program reads standard output alone");
        (ended.code, ended.json())
    }
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
}

fn golden() -> Vec<PathBuf> {
    let dir = root().join("tests/golden/journal/1.0");
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).expect("golden files").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    entries
}

/// Appends an artifact to the journal as its stage would: an intent and its outcome.
fn append(world: &World, artifact: &Artifact) {
    let entries: Vec<Entry> = golden().into_iter().map(read_entry).collect();
    let of_nodes = |entry: &&Entry| match &entry.record {
        Record::Intent(intent) => intent.stage.name() == "nodes" && intent.step.is_none(),
        Record::Outcome(settled) => settled.stage.name() == "nodes" && settled.step.is_none(),
        _ => false,
    };
    for model in entries.iter().filter(of_nodes) {
        let mut record = model.record.clone();
        match &mut record {
            Record::Intent(intent) => intent.stage = artifact.kind(),
            Record::Outcome(settled) => {
                (settled.stage, settled.artifact) = (artifact.kind(), Some(artifact.clone()));
            }
            _ => panic!("neither intent nor outcome"),
        }
        append_record(world, record);
    }
}

fn read_entry(path: PathBuf) -> Entry {
    serde_json::from_slice(&std::fs::read(path).expect("an entry")).expect("an entry")
}

/// Appends an entry behind the last one.
fn append_record(world: &World, record: Record) {
    let journal = world.path(".sre-provision/dev/journal");
    let entries = std::fs::read_dir(&journal).expect("a journal").map(|entry| entry.expect("an entry").path());
    let last = read_entry(entries.max().expect("entries"));
    let mut entry = Entry { number: last.number + 1, previous: Some(last.digest.clone()), record, ..last };
    let bytes = entry.seal().expect("sealed");
    std::fs::write(journal.join(format!("{:010}.json", entry.number)), bytes).expect("written");
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
fn an_unknown_environment_is_told_with_the_nearest_name_and_nobody_is_asked() {
    let world = World::new().on_a_platform();

    for args in [
        &["validate", "dav"][..],
        &["plan", "dav"],
        &["up", "dav"],
        &["down", "dav"],
        &["nodes", "dav"],
        &["kubeconfig", "dav"],
        &["ssh", "dav", "server-1"],
        &["expiry", "show", "dav"],
        &["expiry", "extend", "dav", "24h"],
    ] {
        let ended = world.run(args);

        ended.fails(
            3,
            "error: there is no environment `dav`\n\
             cause: environments/dav.yaml does not exist\n\
             hint:  did you mean `dev`?",
        );
    }
    assert_eq!(world.platform.as_ref().expect("one").asked(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_a_name_is_a_mistake_in_the_command_line_for_every_command() {
    let world = World::new();

    for args in [
        &["validate", "../dev"][..],
        &["plan", "../dev"],
        &["up", "../dev"],
        &["down", "../dev"],
        &["status", "../dev"],
        &["logs", "../dev"],
        &["history", "../dev"],
        &["nodes", "../dev"],
        &["kubeconfig", "../dev"],
        &["ssh", "../dev", "server-1"],
        &["expiry", "show", "../dev"],
    ] {
        let (code, failure) = world.json(args);

        let told = (code, &failure["error"], &failure["exit"]);
        assert_eq!(told, (2, &json!("`../dev` cannot be the name of an environment"), &json!(2)), "{args:?}");
    }
}

#[test]
fn a_command_without_its_environment_or_with_a_word_too_many_tells_its_usage() {
    let world = World::new();

    for command in ["plan", "up", "down", "nodes", "kubeconfig", "ssh", "logs", "history"] {
        let without = world.run(&[command]);
        let unknown = world.run(&[command, "dev", "--no-such-option"]);

        assert_eq!((without.code, without.out.as_str()), (2, ""), "{command}");
        let usage = format!("Usage: sre-provision {command} ");
        assert!(without.err.contains(&usage), "{}", without.err);
        assert_eq!((unknown.code, unknown.out.as_str()), (2, ""), "{command}");
        assert!(unknown.err.contains("unexpected argument '--no-such-option' found"), "{}", unknown.err);
    }
}
