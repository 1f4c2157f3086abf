//! OpenTofu: what is applied, imported, mended, refused and destroyed, and how an apply outlives its caller.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use sre_provision::artifact::Kind;
use sre_provision::event::{Event, Events};
use sre_provision::failure::{Class, Exit, Failure};
use sre_provision::process::Children;
use sre_provision::stop::Stop;
use sre_provision::tools::ToolCx;
use sre_provision::tools::tofu::{self, Finder, Root};
use sre_provision::workspace::Workspace;

use crate::notes::{Notes, until};
use crate::{World, tools};

impl World {
    fn root(&self, config: Value) -> Root {
        let (dir, variables) = (self.state.tofu(Kind::Network), json!({}));
        Root { dir, config, variables, lock: None, protected: vec![], living: None, is_new: false, is_shared: false }
    }

    /// The id of a resource in the state.
    fn id(&self, name: &str) -> String {
        let text = std::fs::read(self.state.tofu(Kind::Network).join("terraform.tfstate")).expect("a state");
        let state: Value = serde_json::from_slice(&text).expect("a state");
        let resources = state["resources"].as_array().expect("resources");
        let resource = resources.iter().find(|resource| resource["name"] == name).expect("the resource");
        resource["instances"][0]["attributes"]["id"].as_str().expect("an id").to_owned()
    }

    /// The slots that children were started in, in order.
    fn started(&self) -> Vec<String> {
        self.notes.all().iter().filter_map(|note| Some(note.split_once(" started")?.0.to_owned())).collect()
    }

    fn tofu_by_hand(&self, args: &[&str]) {
        let tofu = &self.tools.get("tofu").expect("tofu").path;
        let status = Command::new(tofu)
            .args(args)
            .current_dir(self.state.tofu(Kind::Network))
            .env_remove("TF_CLI_CONFIG_FILE")
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("tofu").success());
    }
}

/// A platform where things are found by their `input`.
#[derive(Default)]
struct Platform {
    exists: Vec<(&'static str, &'static str)>,
    is_healthy: bool,
}

#[async_trait]
impl Finder for Platform {
    async fn find(&self, resource_type: &str, values: &Value) -> Result<Option<String>, Failure> {
        assert_eq!(resource_type, "terraform_data");
        let input = values["input"].as_str().unwrap_or_default();
        Ok(self.exists.iter().find(|(name, _)| *name == input).map(|(_, id)| (*id).to_owned()))
    }

    async fn is_healthy(&self, _resource_type: &str, _id: &str) -> Result<bool, Failure> {
        Ok(self.is_healthy)
    }
}

fn two() -> Value {
    json!({
        "resource": { "terraform_data": { "one": { "input": "first" }, "two": { "for_each": { "a b": "second" }, "input": "${each.value}" } } },
        "output": { "one": { "value": "${terraform_data.one.output}" } }
    })
}

#[tokio::test]
async fn what_is_applied_tells_its_outputs_and_a_second_apply_changes_nothing() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()));

    let outputs = tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");
    let again = tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");

    assert_eq!(outputs.get::<String>("one").expect("an output"), "first");
    assert_eq!(outputs, again);
    assert_eq!(world.started(), ["network-init", "network-plan", "network-apply", "network-plan"]);
    assert!(world.notes.all().contains(&"network-apply kept".to_owned()));
    assert_eq!(std::fs::read_dir(root.dir.join("kept")).expect("copies").count(), 1);
    let log = std::fs::read_to_string(cx.log()).expect("a log");
    assert!(log.contains("Apply complete! Resources: 2 added"), "{log}");
}

#[tokio::test]
async fn what_exists_but_is_in_no_state_is_imported() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()));

    let platform = Platform { exists: vec![("first", "id-one"), ("second", "id-two")], is_healthy: true };
    tofu::apply(&cx, &root, &platform).await.expect("applied");

    assert_eq!((world.id("one"), world.id("two")), ("id-one".to_owned(), "id-two".to_owned()));
    assert!(!root.dir.join("imports.tf.json").exists());
}

#[tokio::test]
async fn of_a_new_environment_nothing_is_looked_for_until_an_apply_was_begun() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()).of_new_environment(true));
    let platform = Platform { exists: vec![("first", "id-one"), ("second", "id-two")], is_healthy: true };

    tofu::apply(&cx, &root, &platform).await.expect("applied");
    let made = world.id("one");
    std::fs::remove_file(root.dir.join("terraform.tfstate")).expect("removed");
    std::fs::write(root.dir.join("unsettled"), "").expect("written");
    tofu::apply(&cx, &root, &platform).await.expect("applied");

    assert_ne!(made, "id-one");
    assert_eq!(world.id("one"), "id-one");
}

#[tokio::test]
async fn a_whole_resource_loses_its_mark_and_a_broken_one_is_replaced() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()));
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");
    let before = world.id("one");

    world.tofu_by_hand(&["taint", "terraform_data.one"]);
    tofu::apply(&cx, &root, &Platform { is_healthy: true, ..Platform::default() }).await.expect("applied");
    let kept = world.id("one");
    world.tofu_by_hand(&["taint", "terraform_data.one"]);
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");

    assert_eq!(kept, before);
    assert_ne!(world.id("one"), before);
}

#[tokio::test]
async fn a_plan_that_would_replace_what_is_protected_is_not_carried_out() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()).protecting(&["terraform_data"]));
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");
    let before = world.id("one");

    let mut changed = root.clone();
    changed.config["resource"]["terraform_data"]["one"]["triggers_replace"] = "x".into();
    let failure = tofu::apply(&cx, &changed, &Platform::default()).await.expect_err("refused");

    assert_eq!(failure.exit(), Exit::Approval);
    assert!(failure.what().ends_with("`terraform_data.one`"), "{failure}");
    assert_eq!(world.id("one"), before);
}

#[tokio::test]
async fn what_tofu_could_not_do_is_told_in_its_words_and_made_good_by_the_next_apply() {
    let world = World::new();
    let cx = world.cx(Kind::Network);
    let command = format!("test -e {}", world.path("good").display());
    let root = world.root(json!({ "resource": { "terraform_data": { "one": { "provisioner": { "local-exec": { "command": command } } } } } }));

    let failure = tofu::apply(&cx, &root, &Platform::default()).await.expect_err("refused");
    std::fs::write(world.path("good"), "").expect("good");
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");

    assert_eq!(failure.exit(), Exit::Tool);
    assert!(failure.what().contains("with exit code 1, 0 of 1 changes made"), "{failure}");
    assert!(failure.causes()[0].starts_with("`terraform_data.one`: local-exec provisioner error: "), "{failure}");
    assert_eq!(failure.log_path(), Some(cx.log().as_path()));
}

#[tokio::test]
async fn a_state_whose_copy_could_not_be_written_is_copied_and_told_by_the_next_apply() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()));
    let kept = root.dir.join("kept");
    std::fs::create_dir_all(&root.dir).expect("the root");
    std::fs::write(&kept, "no directory").expect("in the way");

    let failure = tofu::apply(&cx, &root, &Platform::default()).await.expect_err("not copied");
    let told = world.notes.all();
    std::fs::remove_file(&kept).expect("out of the way");
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");

    assert!(failure.what().starts_with(&format!("cannot write `{}/", kept.display())), "{failure}");
    assert!(!told.contains(&"network-apply kept".to_owned()), "{told:?}");
    assert!(world.notes.all().contains(&"network-apply kept".to_owned()));
    assert_eq!(std::fs::read_dir(kept).expect("copies").count(), 1);
}

#[tokio::test]
async fn what_was_made_is_destroyed() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()));
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");

    tofu::destroy(&cx, &root).await.expect("destroyed");

    let state = std::fs::read_to_string(root.dir.join("terraform.tfstate")).expect("a state");
    assert!(state.contains(r#""resources": []"#), "{state}");
    assert_eq!(world.started().last().map(String::as_str), Some("network-destroy"));
}

/// One resource that waits until the file `go` is there.
#[tokio::test]
async fn what_is_looked_up_and_gone_keeps_nothing_from_being_destroyed() {
    let world = World::new();
    let elsewhere = world.state.tofu(Kind::Nodes).join("elsewhere.tfstate");
    std::fs::create_dir_all(elsewhere.parent().expect("a directory")).expect("made");
    std::fs::write(
        &elsewhere,
        r#"{"version":4,"terraform_version":"1.12.6","serial":1,"lineage":"x","outputs":{},"resources":[]}"#,
    )
    .expect("written");
    let mut config = two();
    config["data"] = json!({ "terraform_remote_state": { "template": {
        "backend": "local", "config": { "path": elsewhere }
    } } });
    let (cx, root) = (world.cx(Kind::Network), world.root(config));
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");
    std::fs::remove_file(&elsewhere).expect("removed");

    tofu::destroy(&cx, &root).await.expect("destroyed");

    let state = std::fs::read_to_string(world.state.tofu(Kind::Network).join("terraform.tfstate")).expect("a state");
    assert!(state.contains(r#""resources": []"#), "{state}");
    assert_eq!(world.started().iter().filter(|slot| *slot == "network-plan").count(), 3, "{:?}", world.started());
}

fn slow(dir: &Path) -> Value {
    let command = format!("echo x >>{0}/effects; while [ ! -e {0}/go ]; do sleep 0.05; done", dir.display());
    json!({ "resource": { "terraform_data": { "one": { "provisioner": { "local-exec": { "command": command } } } } } })
}

/// Not a test: the caller that the next one kills.
#[tokio::test]
#[ignore = "started by other tests"]
async fn caller() {
    let dir = PathBuf::from(std::env::var_os("WORLD").expect("WORLD"));
    // Keeps the directory: it belongs to the test that started us.
    let state = Workspace::open(&dir).expect("a workspace").state("dev");
    let (events, _received) = Events::channel();
    let children = Children::new(state.children(), events.clone(), Stop::default(), Arc::<Notes>::default())
        .with_spool(std::env::var_os("SPOOL").expect("SPOOL").into())
        .with_supervisor(env!("CARGO_BIN_EXE_sre-provision").into());
    let tools = tools();
    let cx = ToolCx {
        children: &children,
        tools: &tools,
        state: &state,
        run: 1,
        stage: Kind::Network,
        events: &events,
        redact: vec![],
    };
    let root = Root {
        dir: state.tofu(Kind::Network),
        config: slow(&dir),
        variables: json!({}),
        lock: None,
        protected: vec![],
        living: None,
        is_new: false,
        is_shared: false,
    };
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");
}

#[tokio::test]
async fn an_apply_whose_caller_was_killed_is_followed_and_nothing_is_made_twice() {
    let mut world = World::new();
    let mut caller = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "tofu::caller", "--ignored"])
        .env("WORLD", world.dir.path())
        .env("SPOOL", &world.spool)
        .stdout(Stdio::null())
        .spawn()
        .expect("a caller");
    until("the apply has begun", || world.path("effects").exists());
    caller.kill().expect("killed");
    caller.wait().expect("reaped");

    let (go, mut received) = (world.path("go"), std::mem::replace(&mut world.received, Events::channel().1));
    let (cx, root, platform) = (world.cx(Kind::Network), world.root(slow(world.dir.path())), Platform::default());
    let notice = async {
        while let Some(event) = received.recv().await {
            if let Event::Notice { text } = event {
                std::fs::write(&go, "").expect("go");
                return text;
            }
        }
        String::new()
    };
    let (applied, notice) = tokio::join!(tofu::apply(&cx, &root, &platform), notice);

    applied.expect("applied");
    assert!(notice.starts_with("network-apply: still running since "), "{notice}");
    assert_eq!(std::fs::read_to_string(world.path("effects")).expect("effects"), "x\n");
    assert_eq!(world.started(), ["network-plan"]);
}

#[tokio::test]
async fn a_stop_lets_tofu_finish() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(slow(world.dir.path())));
    let (effects, go, stop) = (world.path("effects"), world.path("go"), world.stop.clone());

    let stops = tokio::task::spawn_blocking(move || {
        until("the apply has begun", || effects.exists());
        stop.raise();
        std::fs::write(go, "").expect("go");
    });
    let platform = Platform::default();
    let (applied, stopped) = tokio::join!(tofu::apply(&cx, &root, &platform), stops);

    stopped.expect("stopped");
    applied.expect("applied");
    assert!(!world.id("one").is_empty());
}

#[tokio::test]
async fn a_state_that_tofu_could_not_write_is_taken_over_and_nothing_is_made_again() {
    let world = World::new();
    let (cx, root) = (world.cx(Kind::Network), world.root(two()));
    tofu::apply(&cx, &root, &Platform::default()).await.expect("applied");
    let mut more = root.clone();
    more.config["resource"]["terraform_data"]["three"] = json!({ "input": "third" });
    // Where tofu keeps a backup before it writes: it makes the third and cannot say so.
    let backup = root.dir.join("terraform.tfstate.backup");
    drop(std::fs::remove_file(&backup));
    std::fs::create_dir(&backup).expect("made");

    let failure = tofu::apply(&cx, &more, &Platform::default()).await.expect_err("not written");
    let errored = std::fs::read_to_string(root.dir.join("errored.tfstate")).expect("tofu left its state");
    std::fs::remove_dir(&backup).expect("removed");
    tofu::apply(&cx, &more, &Platform::default()).await.expect("applied");

    assert!(failure.to_string().contains("Failed to save state"), "{failure}");
    assert!(errored.contains(&world.id("three")), "{errored}");
    assert!(!root.dir.join("errored.tfstate").exists());
    assert_eq!(world.started().iter().filter(|slot| *slot == "network-apply").count(), 2, "{:?}", world.started());
}

#[tokio::test]
async fn a_name_that_is_taken_by_what_is_ours_ends_no_apply() {
    let taken = "echo 'creating target group: api error DuplicateTargetGroupName: it exists already'; false";
    let config = json!({ "resource": { "terraform_data": { "one": { "provisioner": { "local-exec": { "command": taken } } } } } });
    let (ours, foreign) = (World::new(), World::new());
    let applies = |world: &World| world.started().iter().filter(|slot| *slot == "network-apply").count();

    let whole = Platform { is_healthy: true, ..Platform::default() };
    tofu::apply(&ours.cx(Kind::Network), &ours.root(config.clone()), &whole).await.expect("it is ours");
    let nothing = Platform::default();
    let failure =
        tofu::apply(&foreign.cx(Kind::Network), &foreign.root(config), &nothing).await.expect_err("it is not ours");

    assert!(!ours.id("one").is_empty());
    assert_eq!((failure.exit(), failure.kind()), (Exit::Platform, Class::Conflict), "{failure}");
    assert_eq!((applies(&ours), applies(&foreign)), (1, 1), "nothing is tried once more");
}
