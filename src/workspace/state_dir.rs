//! What is kept about one environment, and where: `.sre-provision/<name>/`, 0700.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{RealDisk, make_dir, put_aside};
use crate::artifact::Kind;
use crate::failure::Failure;

/// The paths of one environment's state. Asking for a path creates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Creates the directory, closed to others.
    pub fn create(&self) -> Result<(), Failure> {
        make_dir(&RealDisk, &self.0, 0o700)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts the directory of an environment that is gone aside, where its journal and logs stay readable.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn retire(&self, id: Uuid) -> Result<PathBuf, Failure> {
        let aside = self.0.with_file_name(super::GONE);
        make_dir(&RealDisk, &aside, 0o700)?;
        // What was gone before, and of which images were removed later, is there already.
        let names = (2_u32..).map(|time| format!("{}-{id}.{time}", self.name()));
        let names = std::iter::once(format!("{}-{id}", self.name())).chain(names);
        let mut free = names.map(|name| aside.join(name)).filter(|to| !to.exists());
        let to = free.next().ok_or_else(|| Failure::bug("there is no end of names"))?;
        put_aside(&RealDisk, &self.0, &to)?;
        Ok(to)
    }

    /// The environment's name.
    pub fn name(&self) -> &str {
        self.0.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The numbered entries.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// The sealed store.
    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }

    /// One directory per supervised child.
    pub fn children(&self) -> PathBuf {
        self.0.join("children")
    }

    pub fn identity(&self) -> PathBuf {
        self.0.join("identity.json")
    }

    /// The file whose lock is the lease.
    pub fn writer(&self) -> PathBuf {
        self.0.join("writer")
    }

    /// Who holds the lease, for people.
    pub fn holder(&self) -> PathBuf {
        self.0.join("writer.json")
    }

    /// The logs of one run: `runs/0007`.
    pub fn run(&self, number: u32) -> PathBuf {
        self.0.join("runs").join(format!("{number:04}"))
    }

    /// The OpenTofu root of a stage, in which a person can run `tofu`.
    pub fn tofu(&self, stage: Kind) -> PathBuf {
        self.0.join("tofu").join(stage.name())
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }
}
