//! An environment that is up in the same account and workspace as the one that is worked at, and is to stay as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sre_provision::fingerprint::Digest;

use crate::cluster::Cluster;
use crate::wire::WORKSPACE;
use crate::world::{Thing, World};

/// What is known of it but its things, which are in the world with all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// Its name and id.
    name: String,
    id: String,
    cluster: Cluster,
    keys: BTreeSet<String>,
}

impl World {
    /// Puts the environment that is up beside: whatever is made from now on is another one's.
    pub fn put_beside(&mut self) {
        let tag = |name: &str| self.things.values().find_map(|thing| thing.tags.get(name).cloned()).expect("it is up");
        let (name, id, keys) = (tag("sre:name"), tag("sre:environment"), self.keys.clone());
        self.beside = Some(Beside { name, id, cluster: std::mem::take(&mut self.cluster), keys });
        self.effects.clear();
    }

    pub fn is_beside(&self, thing: &Thing) -> bool {
        self.beside.as_ref().is_some_and(|beside| thing.tags.get("sre:environment") == Some(&beside.id))
    }

    /// All that there is of it, to be compared as a whole; and the ids of what is not its.
    pub fn seen_beside(&self) -> Value {
        let beside = self.beside.as_ref().expect("an environment beside");
        let own = |id: &String| self.things.get(id).is_some_and(|thing| self.is_beside(thing));
        let is_its = |id: &String, thing: &Thing| own(id) || thing.part_of.as_ref().is_some_and(own);
        let (its, others): (BTreeMap<&String, &Thing>, BTreeMap<_, _>) =
            self.things.iter().partition(|(id, thing)| is_its(id, thing));
        let targets: BTreeMap<_, _> = self.targets.iter().filter(|(group, _)| its.contains_key(group)).collect();
        let workspace = Path::new(WORKSPACE);
        let places = [
            workspace.join(".sre-provision").join(&beside.name),
            workspace.join("inventories").join(&beside.name),
            workspace.join("environments").join(format!("{}.yaml", beside.name)),
        ];
        let mut files = BTreeMap::new();
        places.iter().for_each(|place| read(place, &mut files));
        let others: BTreeMap<_, _> = others.into_iter().map(|(id, thing)| (id, &thing.kind)).collect();
        json!({ "its": { "things": its, "targets": targets, "known": beside, "files": files }, "others": others })
    }
}

/// Every file below a path with its content, mode and the time at which it was written.
fn read(path: &Path, found: &mut BTreeMap<String, Value>) {
    let meta = path.symlink_metadata().expect("there");
    let content = match meta.is_file().then(|| std::fs::read(path).expect("read")) {
        Some(bytes) => json!(Digest::of(&bytes)),
        None => Value::Null,
    };
    let written = (meta.mtime(), meta.mtime_nsec());
    let told = json!({ "content": content, "mode": meta.permissions().mode(), "written": written });
    found.insert(path.display().to_string(), told);
    if meta.is_dir() {
        std::fs::read_dir(path).expect("listed").flatten().for_each(|entry| read(&entry.path(), found));
    }
}
