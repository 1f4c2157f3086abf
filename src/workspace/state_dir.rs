//! What is kept about one environment, and where: `.sre-provision/<name>/`, 0700.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{RealDisk, failed, make_dir, put_aside, remove, write_atomic};
use crate::artifact::Kind;
use crate::failure::{Exit, Failure};

/// The paths of one environment's state. Asking for a path creates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Creates the directory, closed to others.
    ///
    /// # Errors
    /// One that is there is a link, somebody else's, or others may write to it: then anybody decides what we remember.
    pub fn create(&self) -> Result<(), Failure> {
        make_dir(&RealDisk, &self.0, 0o700)?;
        let shown = self.0.display();
        let refused = |why: &str, hint: String| {
            Err(Failure::new(Exit::NotDone, format!("the state in `{shown}` cannot be trusted"))
                .because(why)
                .hint(hint))
        };
        let meta = std::fs::symlink_metadata(&self.0).map_err(|error| failed("cannot look at", &self.0, &error))?;
        if !meta.is_dir() {
            return refused(
                "it is no directory but leads elsewhere",
                format!("rm {shown}   and move what it leads to here"),
            );
        }
        let we = rustix::process::getuid();
        if meta.uid() != we.as_raw() && !we.is_root() {
            return refused("it belongs to another user", format!("chown -R $(id -u) {shown}"));
        }
        if meta.mode() & 0o022 != 0 {
            return refused("others may write to it", format!("chmod 0700 {shown}"));
        }
        Ok(())
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

    /// Puts aside what several machines share from now on, and notes where. Stopped anywhere, it is done again.
    pub fn move_out(&self, place: &str) -> Result<(), Failure> {
        write_atomic(&self.moved(), format!("{place}\n").as_bytes(), 0o600)?;
        let aside = self.0.join("moved").join(Uuid::new_v4().to_string());
        let states = Kind::ALL.map(|stage| (self.tofu(stage).join("terraform.tfstate"), format!("{stage}.tfstate")));
        let dirs = [(self.journal(), "journal".to_owned()), (self.secrets(), "secrets".to_owned())];
        for (path, name) in dirs.into_iter().chain(states) {
            if path.exists() {
                make_dir(&RealDisk, &aside, 0o700)?;
                put_aside(&RealDisk, &path, &aside.join(name))?;
            }
        }
        Ok(())
    }

    /// Forgets that the state was elsewhere.
    pub fn move_in(&self) -> Result<(), Failure> {
        if self.moved().exists() { remove(&RealDisk, &self.moved()) } else { Ok(()) }
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

    /// Where the state was moved to, if it is not here any more.
    pub fn moved(&self) -> PathBuf {
        self.0.join("moved-to")
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

    /// What was taken in from bundles.
    pub fn loaded(&self) -> PathBuf {
        self.0.join("loaded")
    }

    /// The RKE2 releases among it, each below its version.
    pub fn loaded_releases(&self) -> PathBuf {
        self.loaded().join("release")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_that_others_may_write_or_that_lies_elsewhere_is_refused_with_what_mends_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let [open, link] = ["open", "link"].map(|name| StateDir::new(dir.path().join(name)));
        std::fs::create_dir(open.path()).expect("made");
        std::fs::set_permissions(open.path(), PermissionsExt::from_mode(0o770)).expect("mode");
        std::os::unix::fs::symlink(dir.path(), link.path()).expect("linked");

        let [others, elsewhere] = [&open, &link].map(|state| state.create().expect_err("refused"));

        assert_eq!(others.causes(), ["others may write to it"]);
        assert_eq!(others.hints(), [format!("chmod 0700 {}", open.path().display())]);
        assert_eq!(elsewhere.causes(), ["it is no directory but leads elsewhere"]);
        std::fs::set_permissions(open.path(), PermissionsExt::from_mode(0o755)).expect("mode");
        open.create().expect("others may only look");
    }
}
