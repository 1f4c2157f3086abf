//! OpenTofu's lock of a state in S3: whose it is, and what the next run does about that of a real one that was killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use sre_provision::artifact::Kind;
use sre_provision::event::{Event, Events};
use sre_provision::execute::Book;
use sre_provision::failure::Failure;
use sre_provision::journal::{Actor, Home, Shared, Writer};
use sre_provision::objects::{MemoryObjects, Objects};
use sre_provision::process::{Children, Witness};
use sre_provision::stop::Stop;
use sre_provision::tools::tofu::{self, Backend, Finder, Root};
use sre_provision::tools::{ToolCx, ToolEnvironment, Tools};
use sre_provision::workspace::{StateDir, Workspace};

use crate::World;
use crate::begun::Begun;
use crate::commands::parsed;

/// A platform on which nothing is found.
struct Nothing;

#[async_trait]
impl Finder for Nothing {
    async fn find(&self, _: &str, _: &Value) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn is_healthy(&self, _: &str, _: &str) -> Result<bool, Failure> {
        Ok(true)
    }
}

/// One run of the program.
struct Run {
    book: Arc<Book>,
    children: Children,
    events: Events,
    received: sre_provision::event::Received,
}

impl Run {
    async fn begin(home: &Home, spool: &Path) -> Self {
        let (events, received) = Events::channel();
        let lease = home.lease(Actor::here()).await.expect("free");
        let journal = home.journal(&parsed()).await.expect("intact");
        let writer = Writer::begin(journal, lease, "up dev", None).await.expect("begun");
        let book = Arc::new(Book::new(writer, &parsed(), BTreeMap::new()));
        let children = Children::new(home.state().children(), events.clone(), Stop::default(), book.clone())
            .with_spool(spool.to_owned())
            .with_supervisor(env!("CARGO_BIN_EXE_sre-provision").into());
        Self { book, children, events, received }
    }

    async fn apply(&self, tools: &Tools, state: &StateDir, root: &Root) -> Result<(), Failure> {
        let cx = ToolCx {
            children: &self.children,
            tools,
            state,
            run: 1,
            stage: Kind::Network,
            events: &self.events,
            redact: vec![],
        };
        tofu::apply(&cx, root, &Nothing).await.map(drop)
    }

    /// The lock that the journal knows.
    fn known(&self) -> Option<Value> {
        self.book.writer().look(|memory| memory.facts.get("tofu-lock/network-apply").cloned())
    }

    fn notices(&mut self) -> Vec<String> {
        let mut notices = vec![];
        while let Some(event) = self.received.try_recv() {
            if let Event::Notice { text } = event {
                notices.push(text);
            }
        }
        notices
    }
}

/// Kills a child with its supervisor, so that nobody writes down how it ended.
fn kill(state: &StateDir, child: &str) {
    let started = std::fs::read(state.children().join(child).join("started.json")).expect("it runs");
    let started: Value = serde_json::from_slice(&started).expect("JSON");
    let pid = i32::try_from(started["pid"].as_i64().expect("a process")).expect("small");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a supervisor");
    let process = |pid: i32| Pid::from_raw(pid).expect("a process");
    kill_process(process(parent.trim().parse().expect("a number")), Signal::KILL).expect("killed");
    kill_process_group(process(pid), Signal::KILL).expect("killed");
}

/// One resource that waits until the file `go` is there.
fn slow(dir: &Path) -> Value {
    let command = format!("while [ ! -e {}/go ]; do sleep 0.05; done", dir.display());
    json!({ "resource": { "terraform_data": { "one": { "provisioner": { "local-exec": { "command": command } } } } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_tofu_that_was_killed_with_its_supervisor_is_released_by_the_next_run() {
    let world = World::new().await;
    let dir = tempfile::tempdir().expect("a directory");
    let name = dir.path().file_name().expect("a name").to_string_lossy().trim_start_matches('.').to_owned();
    let spool = PathBuf::from(format!("/dev/shm/sre-test-{name}"));
    let state = Workspace::open(dir.path()).expect("a workspace").state("dev");
    state.create().expect("a state directory");
    let objects = world.objects("state").await;
    let home = Home::new(state.clone(), Some(Shared::new(objects.clone())));
    home.keep_identity(&parsed()).await.expect("kept");
    let key = format!("{}/tofu/network.tfstate", parsed().id);
    let backend =
        Backend { bucket: "state".to_owned(), key: format!("team/dev/{key}"), region: "us-east-1".to_owned() };
    let root = Root {
        dir: state.tofu(Kind::Network),
        config: slow(dir.path()),
        variables: json!({}),
        lock: None,
        protected: vec![],
        living: None,
        is_new: false,
        is_shared: false,
    };
    let root = root.kept_in(Some(backend));
    let path = std::env::var_os("PATH").expect("PATH");
    let endpoint = format!("http://127.0.0.1:{}", world.proxy.port);
    let variables = [
        ("HOME", dir.path().as_os_str().to_owned()),
        ("PATH", path.clone()),
        ("AWS_ACCESS_KEY_ID", "a".into()),
        ("AWS_SECRET_ACCESS_KEY", "b".into()),
        ("AWS_ENDPOINT_URL", endpoint.into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
    ];
    let tools = Tools::new(&path, ToolEnvironment::of(variables.map(|(name, value)| (name.into(), value))));
    let lock = format!("{key}.tflock");

    let first = Run::begin(&home, &spool).await;
    let known = {
        let apply = first.apply(&tools, &state, &root);
        let seen = async {
            let deadline = Instant::now() + Duration::from_secs(60);
            while first.known().is_none() {
                assert!(Instant::now() < deadline, "the lock was never written down");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            first.known().expect("a lock")
        };
        // The program dies in the middle of the apply.
        tokio::select! {
            applied = apply => panic!("it waits for `go`: {applied:?}"),
            known = seen => known,
        }
    };
    kill(&state, known["child"].as_str().expect("a child"));
    drop(first);
    let stayed = objects.get(&lock).await.expect("read").expect("tofu's lock");
    std::fs::write(dir.path().join("go"), "").expect("go");
    let mut second = Run::begin(&home, &spool).await;
    second.apply(&tools, &state, &root).await.expect("applied");

    let stayed: Value = serde_json::from_slice(&stayed.bytes).expect("JSON");
    assert_eq!((&known["id"], &known["is_left"]), (&stayed["ID"], &json!(false)));
    assert_eq!(objects.get(&lock).await.expect("read"), None);
    let id = stayed["ID"].as_str().expect("an id");
    let told = format!("network: released the lock {id} that a tofu which was killed has left");
    let notices = second.notices();
    assert!(notices.contains(&told), "{notices:?}");
    // A tofu that ends at once may have given its lock back before it was looked at.
    let last = second.known();
    assert!(last.as_ref().is_none_or(|last| last["id"] != known["id"] && last["is_left"] == json!(false)), "{last:?}");
    drop(std::fs::remove_dir_all(spool));
}

const SLOT: &str = "network-apply";
const CHILD: &str = "network-apply-1";

/// A run in which a child works, with the state in memory.
struct Working {
    _dir: tempfile::TempDir,
    objects: Arc<MemoryObjects>,
    book: Book,
}

impl Working {
    async fn new() -> Self {
        let Begun { _dir, objects, book, .. } = Begun::new("up dev").await;
        book.started(CHILD, SLOT, Path::new("/lock")).await.expect("told");
        Self { _dir, objects, book }
    }

    fn key() -> String {
        format!("{}/tofu/network.tfstate.tflock", parsed().id)
    }

    /// Somebody's lock, in the place of the one that is there.
    async fn lock(&self, id: &str) {
        self.lock_by(id, &Actor::here().host).await;
    }

    async fn lock_by(&self, id: &str, host: &str) {
        self.objects.delete(&Self::key()).await.expect("removed");
        let text = json!({ "ID": id, "Who": format!("root@{host}"), "Created": Timestamp::now() }).to_string();
        self.objects.create(&Self::key(), text.as_bytes()).await.expect("made");
    }

    async fn see(&self) -> bool {
        self.book.state_locked(Kind::Network, SLOT).await.expect("looked")
    }

    async fn left(&self, stage: Kind) -> Option<String> {
        self.book.lock_left(stage).await.expect("looked")
    }

    fn is_known(&self) -> bool {
        self.book.writer().look(|memory| memory.facts.keys().any(|name| name.starts_with("tofu-lock/")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_released_only_when_it_was_seen_with_a_child_whose_end_is_proven() {
    let run = Working::new().await;
    run.lock("ours").await;

    let unseen = run.left(Kind::Network).await;
    let seen = run.see().await;
    let working = run.left(Kind::Network).await;
    run.book.ended(CHILD, None, None).await.expect("told");
    let (dead, elsewhere) = (run.left(Kind::Network).await, run.left(Kind::Nodes).await);

    assert!(seen);
    assert_eq!([unseen, working, dead, elsewhere], [None, None, Some("ours".to_owned()), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_with_another_id_stays_and_the_dead_child_is_forgotten() {
    let run = Working::new().await;
    run.lock("ours").await;
    assert!(run.see().await);
    run.book.ended(CHILD, None, None).await.expect("told");
    run.lock("another's").await;

    let left = run.left(Kind::Network).await;
    let there = run.objects.get(&Working::key()).await.expect("read").expect("a lock");

    assert_eq!((left, run.is_known()), (None, false));
    assert!(String::from_utf8_lossy(&there.bytes).contains("another's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_here_knows_the_child_or_tofu_ended_well_nothing_is_proven() {
    let (vanished, well) = (Working::new().await, Working::new().await);
    for run in [&vanished, &well] {
        run.lock("ours").await;
        assert!(run.see().await);
    }

    vanished.book.vanished(CHILD).await.expect("told");
    well.book.ended(CHILD, Some(0), None).await.expect("told");

    assert_eq!((vanished.left(Kind::Network).await, well.left(Kind::Network).await), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_when_no_child_of_ours_works_is_nobodys_that_we_know() {
    let run = Working::new().await;
    run.book.ended(CHILD, None, None).await.expect("told");
    run.lock("another's").await;

    assert_eq!((run.see().await, run.is_known()), (false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_machine_is_not_taken_for_that_of_a_child_that_works_here() {
    let run = Working::new().await;
    run.lock_by("another's", "elsewhere.example").await;

    assert_eq!((run.see().await, run.is_known()), (false, false));
}
