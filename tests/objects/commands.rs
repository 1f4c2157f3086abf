//! Commands on an environment whose state is in S3: found from any machine, taken over.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sre_provision::identity::Identity;
use sre_provision::journal::{
    Actor, Here, Journal, Lease, LocalStore, Record, Shared, SharedStore, Word, share_identity,
};
use sre_provision::objects::Object;
use sre_provision::secret::Secret;
use sre_provision::secrets::{KeySource, Secrets};
use sre_provision::workspace::{StateDir, Workspace};

use crate::World;

pub const ID: &str = "5b1e0000-0000-4000-8000-000000000001";

/// A workspace of one machine.
pub struct Machine {
    dir: tempfile::TempDir,
    port: u16,
}

impl Machine {
    pub fn new(world: &World) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("environments")).expect("made");
        let machine = Self { dir, port: world.proxy.port };
        machine.keep_in_s3(true);
        machine
    }

    /// With the golden journal and a secret, in the workspace.
    pub async fn made(world: &World) -> Self {
        Self::made_of(world, usize::MAX).await
    }

    /// With the first entries of the golden journal.
    pub async fn made_of(world: &World, entries: usize) -> Self {
        let machine = Self::new(world);
        machine.keep_in_s3(false);
        let state = machine.path(".sre-provision/dev");
        std::fs::create_dir_all(state.join("journal")).expect("made");
        std::fs::create_dir_all(state.join("tofu/network")).expect("made");
        std::fs::write(state.join("tofu/network/terraform.tfstate"), r#"{"version":4,"serial":7}"#).expect("written");
        std::fs::write(state.join("identity.json"), identity().to_string()).expect("written");
        let golden = std::fs::read_dir(root().join("tests/golden/journal/1.0")).expect("golden files");
        let mut golden: Vec<PathBuf> = golden.map(|entry| entry.expect("an entry").path()).collect();
        golden.sort();
        for entry in golden.into_iter().take(entries) {
            std::fs::copy(&entry, state.join("journal").join(entry.file_name().expect("a name"))).expect("copied");
        }
        let key = KeySource::usual(&machine.path(".config"), &parsed());
        let secrets = Secrets::open(&machine.state(), &parsed(), key).expect("a store");
        secrets.put("server-token", &Secret::new("hunter2-hunter2")).expect("kept");
        machine.come_to_rest().await;
        machine
    }

    /// What the golden journal left running has ended.
    async fn come_to_rest(&self) {
        let state = self.state();
        let mut journal = Journal::open(Box::new(LocalStore::new(&state)), &parsed()).await.expect("intact");
        let lease = Lease::take(&state, Actor::here()).expect("free");
        for id in journal.memory().open_children.clone().into_keys() {
            let ended = Record::ChildEnded { id, code: Some(0), took: None };
            journal.append(&lease, 2, ended).await.expect("written");
        }
    }

    pub fn keep_in_s3(&self, is_shared: bool) {
        let text = std::fs::read_to_string(root().join("environments/dev.yaml")).expect("a file");
        let state = if is_shared { "state: {s3: {bucket: state, prefix: team/dev, region: us-east-1}}\n" } else { "" };
        std::fs::write(self.path("environments/dev.yaml"), format!("{text}\n{state}")).expect("written");
    }

    pub fn state(&self) -> StateDir {
        Workspace::open(self.dir.path()).expect("a workspace").state("dev")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, ready to start.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sre-provision"));
        command.args(args).args(["--output", "json"]).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").expect("PATH")).env("HOME", self.dir.path());
        command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
        command.env("AWS_ENDPOINT_URL_S3", format!("http://127.0.0.1:{}", self.port));
        command
    }

    /// Runs the program: its code, and the object that it printed.
    pub async fn json(&self, args: &[&str]) -> (i32, Value) {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("run").expect("started");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let data = text.lines().last().map(|line| serde_json::from_str(line).expect("JSON"));
        (output.status.code().expect("a code"), data.unwrap_or_default())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn identity() -> Value {
    json!({
        "version": 1, "id": ID, "name": "dev", "platform": "aws", "class": "ephemeral", "account": "123456789012",
        "region": "eu-central-1", "created": "2026-11-20T14:02:11Z", "created_by": "a.operator",
    })
}

pub fn parsed() -> Identity {
    serde_json::from_value(identity()).expect("an identity")
}

/// Another machine's program, which holds the lease for two seconds at a time.
async fn elsewhere(world: &World, record: Option<Record>) -> (tempfile::TempDir, Lease) {
    let dir = tempfile::tempdir().expect("a directory");
    let state = Workspace::open(dir.path()).expect("a workspace").state("dev");
    let objects = world.objects("state").await;
    share_identity(&*objects, &parsed()).await.expect("kept");
    let shared = Shared { objects: Arc::clone(&objects), vantage: Arc::new(Here), ttl: Duration::from_secs(2) };
    let actor = Actor { user: "ann".to_owned(), login: None, host: "far".to_owned(), ..Actor::here() };
    let lease = Lease::take_shared(&state, &shared, actor, Word::None).await.expect("free");
    if let Some(record) = record {
        let mut journal =
            Journal::open(Box::new(SharedStore::new(objects, parsed().id)), &parsed()).await.expect("new");
        journal.append(&lease, 1, record).await.expect("written");
    }
    (dir, lease)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_on_another_machine_is_named_and_keeps_its_lease_while_it_lives() {
    let world = World::new().await;
    let machine = Machine::new(&world);
    let held = elsewhere(&world, None).await;

    let (code, told) = machine.json(&["unlock", "dev", "--take-over"]).await;

    assert_eq!((code, &told["error"]), (8, &json!("`dev` is held by ann on far")));
    held.1.give_back().await.expect("given back");
    let (code, told) = machine.json(&["unlock", "dev"]).await;
    assert_eq!((code, &told["how"]), (0, &json!("free")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_holder_left_open_is_named_and_taken_over_only_by_a_persons_word() {
    let world = World::new().await;
    let machine = Machine::new(&world);
    let child = Record::ChildStarted {
        id: "network-apply-1".to_owned(),
        slot: "network-apply".to_owned(),
        lock: "/nowhere/lock".to_owned(),
    };
    let (_dir, lease) = elsewhere(&world, Some(child)).await;
    let objects = world.objects("state").await;
    // Gone without a word: its lease stays as it was.
    let Object { bytes, .. } = objects.get("lease.json").await.expect("an answer").expect("held");
    let mut deed: Value = serde_json::from_slice(&bytes).expect("JSON");
    lease.give_back().await.expect("given back");
    let Object { tag, .. } = objects.get("lease.json").await.expect("an answer").expect("free");
    deed["held"]["space"] = json!("another boot");
    deed["held"]["holder"]["actor"]["boot"] = json!("another boot");
    objects.replace("lease.json", deed.to_string().as_bytes(), &tag).await.expect("an answer").expect("replaced");

    let (refused, told) = machine.json(&["unlock", "dev"]).await;
    let (taken, how) = machine.json(&["unlock", "dev", "--take-over"]).await;
    let (_, history) = machine.json(&["history", "dev"]).await;

    assert_eq!((refused, &told["error"]), (8, &json!("`dev` may still be being changed: `network-apply` on far")));
    assert_eq!((taken, &how["gone"]), (0, &json!(["network-apply"])), "{how}");
    assert!(how["how"].as_str().is_some_and(|how| how.ends_with("taken over by `--take-over`")), "{how}");
    assert_eq!(history["runs"][0]["command"], "unlock dev --take-over", "{history}");
}
