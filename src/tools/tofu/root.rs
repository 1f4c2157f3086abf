//! The files of a root in the state directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::tools::tofu::state;
use crate::workspace::{RealDisk, remove, write_atomic};

/// Where the state of a root is, where several machines share it: an object of S3, with OpenTofu's own lock beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub bucket: String,
    pub key: String,
    pub region: String,
}

/// One root: what it consists of and where it lies.
#[derive(Clone, Debug)]
pub struct Root {
    /// `StateDir::tofu(stage)`.
    pub dir: PathBuf,
    /// `main.tf.json`. Strings in it are templates: nothing that comes from outside goes here.
    pub config: Value,
    /// `terraform.tfvars.json`, whose strings are taken literally.
    pub variables: Value,
    /// `.terraform.lock.hcl`: the providers that are accepted.
    pub lock: Option<String>,
    /// Resources that no apply may destroy or replace, by type or by type and name.
    pub protected: Vec<String>,
    /// Keys of what lives, where that is known: of the others, one that was broken off while it was made may be replaced.
    pub living: Option<BTreeSet<String>>,
    /// Nothing of it can exist: the environment got its id in this run.
    pub is_new: bool,
    /// Its state is in a [`Backend`].
    pub is_shared: bool,
}

impl Root {
    /// A root like the one in `template`, with the sources of its modules made absolute.
    ///
    /// # Errors
    /// The template is not there or is no JSON.
    pub fn of(template: &Path, dir: PathBuf, variables: Value) -> Result<Self, Failure> {
        let failure = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::NotDone, format!("root `{}` cannot be read", template.display())).because(error)
        };
        let text = std::fs::read(template.join("main.tf.json")).map_err(|error| failure(&error))?;
        let mut config: Value = serde_json::from_slice(&text).map_err(|error| failure(&error))?;
        let modules = config.get_mut("module").and_then(Value::as_object_mut);
        for module in modules.into_iter().flat_map(|modules| modules.values_mut()) {
            let source = module.get("source").and_then(Value::as_str).filter(|source| source.starts_with('.'));
            if let Some(source) = source.map(|source| template.join(source)) {
                module["source"] = source.canonicalize().map_err(|error| failure(&error))?.to_string_lossy().into();
            }
        }
        let lock = std::fs::read_to_string(template.join(".terraform.lock.hcl")).ok();
        Ok(Self { dir, config, variables, lock, protected: vec![], living: None, is_new: false, is_shared: false })
    }

    /// Keeps the state in S3 instead of in the root's directory.
    ///
    /// Source: "Backend Type: s3", OpenTofu's documentation; `use_lockfile` is there from 1.10.
    pub fn kept_in(mut self, backend: Option<Backend>) -> Self {
        let Some(Backend { bucket, key, region }) = backend else { return self };
        self.config["terraform"]["backend"] = json!({ "s3": {
            "bucket": bucket,
            "key": key,
            "region": region,
            "use_lockfile": true,
            "use_path_style": true,
            "skip_region_validation": true,
            "encrypt": true,
        }});
        self.is_shared = true;
        self
    }

    /// Tells what lives, by its key: a protected resource of another key may be replaced where it was broken off.
    pub fn with_living(mut self, keys: BTreeSet<String>) -> Self {
        self.living = Some(keys);
        self
    }

    /// Refuses every plan that would destroy or replace one of these: `aws_instance`, or `aws_instance.node`.
    pub fn protecting(mut self, names: &[&str]) -> Self {
        self.protected = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Looks for nothing that the state does not know, unless an apply was begun here.
    pub fn of_new_environment(mut self, is_new: bool) -> Self {
        self.is_new = is_new;
        self
    }

    /// Of everything that decides what an apply does.
    pub fn digest(&self) -> Digest {
        Digest::of_value(&(&self.config, &self.variables, &self.lock))
    }

    pub(super) fn write(&self) -> Result<(), Failure> {
        write_json(&self.dir.join("main.tf.json"), &self.config)?;
        write_json(&self.dir.join("terraform.tfvars.json"), &self.variables)?;
        if let Some(lock) = &self.lock {
            write_atomic(&self.dir.join(".terraform.lock.hcl"), lock.as_bytes(), 0o600)?;
        }
        remove(&RealDisk, &self.imports())
    }

    /// Whether something may exist that the state does not know: there is no state, or an apply has not been settled. Of one
    /// that several machines share nobody can say here whether another has begun an apply.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsettled().exists() || (!self.is_new && (self.is_shared || !self.state().exists()))
    }

    /// The state as a file: OpenTofu's own, or what was read of a shared one last.
    pub(super) fn state(&self) -> PathBuf {
        if self.is_shared { self.dir.join("pulled.tfstate") } else { state::path(&self.dir) }
    }

    /// Whether the directory was initialised for a state that is elsewhere; OpenTofu writes down which.
    pub(super) fn was_shared(&self) -> bool {
        self.dir.join(".terraform/terraform.tfstate").exists()
    }

    /// Notes that an apply begins; [`Root::settle`] takes the note back.
    pub(super) fn unsettle(&self) -> Result<(), Failure> {
        write_atomic(&self.unsettled(), b"an apply was begun and has not been seen to succeed\n", 0o600)
    }

    /// State and platform agree.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        remove(&RealDisk, &self.imports())?;
        remove(&RealDisk, &self.plan())?;
        remove(&RealDisk, &self.unsettled())
    }

    fn unsettled(&self) -> PathBuf {
        self.dir.join("unsettled")
    }

    pub(super) fn plan(&self) -> PathBuf {
        self.dir.join("plan.bin")
    }

    /// Import blocks, for the next plan only.
    pub(super) fn imports(&self) -> PathBuf {
        self.dir.join("imports.tf.json")
    }

    /// Which `init` the directory has seen.
    pub(super) fn initialised(&self) -> PathBuf {
        self.dir.join(".terraform/sre-initialised")
    }
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| Failure::bug("a root is no JSON").because(error))?;
    write_atomic(path, &text, 0o600)
}
