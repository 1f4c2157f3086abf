//! Every path that is read or written, and the one atomic write.
//!
//! A workspace is the directory that a person keeps in version control: `environments/`, `inventories/`, and the assets
//! (`tofu/`, `ansible/`, `packer/`) unless these lie elsewhere. What the program remembers is under `.sre-provision/`,
//! one directory per environment, closed to others.

mod disk;
#[cfg(feature = "crash-points")]
pub mod fault;
mod growing;
mod incoming;
mod state_dir;
mod temporary;
mod tree;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::failure::{Exit, Failure};
use crate::units::ByteSize;

#[cfg(test)]
pub(crate) use disk::tests::Dies;
pub use disk::{Disk, RealDisk};
pub use growing::Growing;
pub use incoming::Incoming;
pub use state_dir::StateDir;
pub use temporary::{TmpFile, forget_temporary, has_temporary, is_tmpfs, sweep_temporary, tmpfs_dir};
pub use tree::{block_digests, file_digest, large_file_digest, tree_digest};
pub use write::{
    Published, make_dir, publish, put_aside, put_in_place, remove, remove_empty, remove_tree, sweep_unfinished,
    sweep_unfinished_below, write_atomic, write_atomic_on,
};

/// The directory of all that the program keeps.
pub const STATE: &str = ".sre-provision";
/// What is kept of environments that were taken down.
const GONE: &str = "gone";

/// A directory with environments, and where its assets lie.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    assets: PathBuf,
}

impl Workspace {
    /// # Errors
    /// The directory is missing or is not one.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        let refused = |cause: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, format!("`{}` is no workspace", root.display()))
                .because(cause)
                .hint("name the directory that holds environments/ with `--workspace DIR`")
        };
        let root = root.canonicalize().map_err(|error| refused(&error))?;
        if !root.is_dir() {
            return Err(refused(&"it is not a directory"));
        }
        Ok(Self { assets: root.clone(), root })
    }

    /// Takes `tofu/`, `ansible/` and `packer/` from another directory.
    pub fn with_assets(mut self, dir: PathBuf) -> Self {
        self.assets = dir;
        self
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or directory of the assets, such as `ansible/roles/os_hardening`.
    pub fn asset(&self, relative: &Path) -> PathBuf {
        self.assets.join(relative)
    }

    pub fn environment_file(&self, name: &str) -> PathBuf {
        self.root.join("environments").join(format!("{name}.yaml"))
    }

    /// The directory that Ansible reads as the environment's inventory: every file in it counts.
    pub fn inventory(&self, name: &str) -> PathBuf {
        self.root.join("inventories").join(name)
    }

    /// The names of all environments that have a file, sorted.
    pub fn environments(&self) -> Result<Vec<String>, Failure> {
        let dir = self.root.join("environments");
        let mut names: Vec<String> = file_names(&dir)?
            .iter()
            .filter_map(|file| file.strip_suffix(".yaml"))
            .filter(|name| check_name(name).is_ok())
            .map(str::to_owned)
            .collect();
        names.sort();
        Ok(names)
    }

    /// Where everything about one environment is kept. Nothing is created by asking.
    pub fn state(&self, name: &str) -> StateDir {
        StateDir::new(self.root.join(STATE).join(name))
    }

    /// What `down` has put aside of environments of this name, the last one last.
    pub fn gone(&self, name: &str) -> Result<Vec<StateDir>, Failure> {
        let dir = self.root.join(STATE).join(GONE);
        let mut found = Vec::new();
        for file in file_names(&dir)?.iter().filter(|file| is_gone(file, name)) {
            let path = dir.join(file);
            // The journal of one that several machines shared is not here.
            let journal = Some(path.join("journal")).filter(|journal| journal.exists()).unwrap_or_else(|| path.clone());
            let written = journal.metadata().and_then(|meta| meta.modified());
            found.push((written.map_err(|error| failed("cannot look at", &journal, &error))?, path));
        }
        found.sort();
        Ok(found.into_iter().map(|(_, path)| StateDir::new(path)).collect())
    }

    /// The names of all environments that left something in the state directory, whether they still have a file or not.
    pub fn remembered(&self) -> Result<Vec<String>, Failure> {
        let mut names = file_names(&self.root.join(STATE))?;
        names.retain(|name| check_name(name).is_ok() && self.state(name).identity().exists());
        names.sort();
        Ok(names)
    }

    /// The ids of environments of which `reap` keeps something under their id, since they had no state here.
    pub fn remembered_ids(&self) -> Result<Vec<Uuid>, Failure> {
        let names = file_names(&self.root.join(STATE))?;
        let mut ids: Vec<Uuid> = names.iter().filter_map(|name| Uuid::parse_str(name).ok()).collect();
        ids.retain(|id| self.state(&id.to_string()).identity().exists());
        ids.sort();
        Ok(ids)
    }

    /// Verified bundles, shared by all environments.
    pub fn store(&self) -> PathBuf {
        self.root.join(STATE).join("store")
    }

    /// Parts of container images, each called by its digest.
    pub fn blobs(&self) -> PathBuf {
        self.store().join("blobs")
    }

    /// What is known of images, and which of them channels lead to.
    pub fn images(&self) -> PathBuf {
        self.store().join("images")
    }

    /// What the programs we drive said of themselves.
    pub fn tools(&self) -> PathBuf {
        self.store().join("tools.json")
    }

    /// The files of one RKE2 release in the store, under their official names.
    pub fn release(&self, version: &str) -> PathBuf {
        self.store().join("rke2").join(version)
    }

    /// A path as people type it: relative to the workspace where it lies in it.
    pub fn shown<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// Refuses an environment name that could not be a directory, a tag and a DNS label at once.
///
/// # Errors
/// Says which names are taken: `^[a-z][a-z0-9-]{0,30}[a-z0-9]$`, and not `store`.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let shape = name.len() >= 2
        && name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if shape && !["store", GONE].contains(&name) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("`{name}` cannot be the name of an environment"))
        .because("a name has 2 to 32 lower-case letters, digits and dashes, and starts with a letter")
        .hint("rename the file in environments/"))
}

/// Whether this directory was put aside of an environment: `<name>-<id>`, or `<name>-<id>.2`.
fn is_gone(file: &str, name: &str) -> bool {
    let rest = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    let (id, time) = rest.split_once('.').unwrap_or((rest, "1"));
    Uuid::parse_str(id).is_ok() && time.parse::<u32>().is_ok()
}

/// The free bytes of the file system that holds `path`, for the caller's user.
pub fn free_space(path: &Path) -> Result<ByteSize, Failure> {
    let stat = rustix::fs::statvfs(path).map_err(|error| failed("cannot ask for the free space of", path, &error))?;
    Ok(ByteSize(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// # Errors
/// There is less than `needed` beside `path`; the text names `what` is to be written.
pub fn require_space(path: &Path, needed: ByteSize, what: &str) -> Result<(), Failure> {
    let free = free_space(path)?;
    if free >= needed {
        return Ok(());
    }
    let mib = |size: ByteSize| size.0 >> 20;
    Err(Failure::new(Exit::NotDone, format!("no room for {what} in `{}`", path.display()))
        .because(format!("{} MiB are needed, {} MiB are free", mib(needed), mib(free)))
        .hint("free some space, or name another directory with `--workspace DIR`"))
}

/// The names in a directory; a missing directory has none.
fn file_names(dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(failed("cannot list", dir, &error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(|error| failed("cannot list", dir, &error))
}

/// A failure of the operator's own file system.
fn failed(deed: &str, path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NotDone, format!("{deed} `{}`", path.display())).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_are_the_yaml_files_with_usable_names_sorted() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("environments")).expect("created");
        for file in ["prod-east.yaml", "dev.yaml", "README.md", "Bad_Name.yaml", "-x.yaml"] {
            std::fs::write(dir.path().join("environments").join(file), "").expect("written");
        }
        let workspace = Workspace::open(dir.path()).expect("a workspace");

        let names = workspace.environments().expect("listed");

        assert_eq!(names, ["dev", "prod-east"]);
    }

    #[test]
    fn a_workspace_without_environments_has_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = Workspace::open(dir.path()).expect("a workspace");

        assert_eq!(workspace.environments().expect("listed"), Vec::<String>::new());
        assert_eq!(workspace.remembered().expect("listed"), Vec::<String>::new());
    }

    #[test]
    fn what_was_put_aside_is_found_by_the_name_of_its_environment_each_time_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = Workspace::open(dir.path()).expect("a workspace");
        let id = Uuid::new_v4();
        for name in ["dev", "dev", "dev-2"] {
            std::fs::create_dir_all(workspace.state(name).journal()).expect("created");
            workspace.state(name).retire(id).expect("put aside");
        }

        let found = workspace.gone("dev").expect("listed");

        let names: Vec<&str> = found.iter().map(StateDir::name).collect();
        assert_eq!(names, [format!("dev-{id}"), format!("dev-{id}.2")]);
        assert!(workspace.gone("de").expect("listed").is_empty());
    }

    #[test]
    fn a_missing_workspace_is_a_mistake_of_usage_and_says_which_option_to_type() {
        let failure = Workspace::open(Path::new("/nowhere/at-all")).expect_err("missing");

        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(failure.what(), "`/nowhere/at-all` is no workspace");
        assert_eq!(failure.hints(), ["name the directory that holds environments/ with `--workspace DIR`"]);
    }

    #[test]
    fn names_that_are_no_directory_tag_and_label_at_once_are_refused() {
        for good in ["dev", "ci-4711", "a1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "../x", "Dev", "dev-", "1dev", "store", "a/b", "dev.yaml", &"a".repeat(33)] {
            assert_eq!(check_name(bad).expect_err(bad).exit(), Exit::Usage, "{bad}");
        }
    }

    proptest::proptest! {
        // Safety 22
        #[test]
        fn whatever_name_is_taken_its_paths_stay_inside_the_workspace(name in "[a-z./-]{0,6}|[ -~]{1,8}|.{1,6}") {
            let dir = tempfile::tempdir().expect("a directory");
            let workspace = Workspace::open(dir.path()).expect("a workspace");

            if check_name(&name).is_ok() {
                for path in [workspace.environment_file(&name), workspace.state(&name).path().to_owned(), workspace.inventory(&name)] {
                    let inside = path.strip_prefix(workspace.root()).expect("inside");
                    let is_plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
                    proptest::prop_assert!(inside.components().all(is_plain), "{}", path.display());
                    proptest::prop_assert!(inside.components().count() >= 2, "{}", path.display());
                }
            }
        }
    }

    #[test]
    fn a_lack_of_space_is_told_in_numbers() {
        let dir = tempfile::tempdir().expect("a directory");

        let failure = require_space(dir.path(), ByteSize(u64::MAX), "the bundle").expect_err("too much");

        assert!(failure.what().starts_with("no room for the bundle in `"), "{failure}");
        assert!(failure.causes()[0].starts_with("17592186044415 MiB are needed, "), "{failure}");
    }
}
