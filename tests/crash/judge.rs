//! What is seen of a world when nothing moves in it, without what differs from run to run: times, drawn ids, secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sre_provision::event::Outcome;
use sre_provision::fingerprint::Digest;
use sre_provision::journal::{Journal, LocalStore, Memory, load_identity};
use sre_provision::workspace::{StateDir, Workspace};

use crate::wire::WORKSPACE;
use crate::world::World;

/// A world, its journal and what lies beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// What the entries add up to.
    pub journal: Value,
    pub world: Value,
    /// Names of files that a later run may meet.
    pub files: Vec<String>,
    pub effects: Vec<String>,
    pub faults: Vec<String>,
}

impl Seen {
    /// Two worlds of the same key are the same to the program.
    pub fn key(&self) -> String {
        Digest::of_value(&(&self.journal, &self.world, &self.files)).to_string()
    }
}

pub fn look(environment: &str, world: &World) -> Seen {
    let workspace = Workspace::open(Path::new(WORKSPACE)).expect("a workspace");
    let state = workspace.state(environment);
    let gone = workspace.gone(environment).unwrap_or_default();
    let state = if state.identity().exists() { state } else { gone.last().cloned().unwrap_or(state) };
    let mut faults = world.faults.clone();
    let journal = journal(&state).unwrap_or_else(|why| {
        faults.push(format!("the journal cannot be read: {why}"));
        Value::Null
    });
    Seen { journal, world: shown(world), files: files(), effects: world.effects.clone(), faults }
}

/// Opens the journal as the program does, which verifies every entry.
fn journal(state: &StateDir) -> Result<Value, String> {
    let Some(identity) = load_identity(state).map_err(|failure| failure.to_string())? else { return Ok(Value::Null) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let opened = runtime.block_on(Journal::open(Box::new(LocalStore::new(state)), &identity));
    Ok(remembered(opened.map_err(|failure| failure.to_string())?.memory()))
}

fn remembered(memory: &Memory) -> Value {
    let stages: BTreeMap<String, Value> = memory
        .stages
        .iter()
        .map(|(kind, stage)| {
            let made = stage.made.as_ref().map(|made| &made.artifact);
            (kind.to_string(), json!({ "last": stage.last, "deed": stage.deed, "made": made }))
        })
        .collect();
    let steps: BTreeMap<String, Value> = memory
        .steps
        .iter()
        .map(|((stage, step), memory)| {
            let output = if step.starts_with("check") || step == "build" { Value::Null } else { json!(memory.output) };
            (format!("{stage}/{step}"), json!({ "outcome": memory.outcome, "output": output }))
        })
        .collect();
    let children: Vec<&String> = memory.open_children.values().map(|child| &child.slot).collect();
    let ended = memory.last_run.as_ref().is_some_and(|run| run.outcome == Some(Outcome::Succeeded));
    json!({ "stages": stages, "steps": steps, "facts": facts(memory), "children": children, "ended": ended })
}

fn facts(memory: &Memory) -> BTreeMap<&String, Value> {
    let steady = |name: &str, value: &Value| match name {
        "base-image/source" => value["id"].clone(),
        "secrets" => value.as_object().map_or(Value::Null, |secrets| {
            secrets.iter().map(|(name, recorded)| (name.clone(), recorded["version"].clone())).collect()
        }),
        _ if name.starts_with("tofu-state/") || name.starts_with("start/") => json!("there"),
        _ => value.clone(),
    };
    memory.facts.iter().map(|(name, value)| (name, steady(name, value))).collect()
}

fn shown(world: &World) -> Value {
    let things: BTreeMap<&String, Value> = world
        .things
        .iter()
        .map(|(id, thing)| {
            let told = json!({ "kind": thing.kind, "part_of": thing.part_of, "state": thing.tags.get("sre:state") });
            (id, told)
        })
        .collect();
    json!({ "things": things, "targets": world.targets, "members": world.cluster.members })
}

/// What a later run may find: all names under the state directory but journal and logs, and whether tofu's states are
/// whole.
fn files() -> Vec<String> {
    let mut names = Vec::new();
    let state = Path::new(WORKSPACE).join(".sre-provision");
    for root in [state, Path::new(WORKSPACE).join("inventories"), PathBuf::from("/dev/shm/sre-provision-0")] {
        walk(&root, &mut |path| {
            let shown = path.strip_prefix("/dev/shm").unwrap_or(path).to_string_lossy().into_owned();
            // Masters of a killed run stay for five idle minutes.
            // What others than the holder of the lease write too cannot be swept by it.
            if shown.contains("/.new-") && (shown.contains("/c-") || shown.contains("/store/")) {
                return;
            }
            if ["/journal/", "/runs/", "/kept/", "/secrets/", "/.ssh-connection"]
                .iter()
                .any(|part| shown.contains(part))
            {
                return;
            }
            let whole = match path.file_name().is_some_and(|name| name == "terraform.tfstate") {
                true => resources(path),
                false => String::new(),
            };
            names.push(format!("{}{whole}", steady(&shown)));
        });
    }
    names.sort();
    names
}

fn resources(path: &Path) -> String {
    let state: Option<Value> = std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    match state {
        Some(state) => {
            let names = state["resources"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
            format!(" with {}", names.collect::<Vec<_>>().join(" "))
        }
        None => " in pieces".to_owned(),
    }
}

fn walk(dir: &Path, found: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found);
        } else {
            found(&path);
        }
    }
}

/// Without the digits that were drawn.
fn steady(name: &str) -> String {
    // A file that is being written in memory is written again by whoever comes next.
    let is_drawn = |part: &str| part.len() >= 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split_inclusive(['-', '.', '/']).filter(|part| !is_drawn(part.trim_end_matches(['-', '.', '/']))).collect()
}
