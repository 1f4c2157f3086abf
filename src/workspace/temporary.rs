//! Files that never reach a disk: plaintext for a child, raw output, sockets.
//!
//! They lie on tmpfs, in a directory of this user that nobody else can enter. A temporary file goes when it is dropped;
//! one whose program was killed stays until [`sweep_temporary`], so that a child that outlived us can still read it.

#![expect(clippy::disallowed_methods, reason = "tmpfs needs no durability: its files go with the power")]

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FsWord;
use uuid::Uuid;

use super::{Disk, RealDisk, failed};
use crate::crash_point;
use crate::failure::{Exit, Failure};

/// `TMPFS_MAGIC` of statfs(2).
const TMPFS: FsWord = 0x0102_1994;

/// This user's directory on tmpfs, 0700: under `/run/user/<uid>` where there is one (what `XDG_RUNTIME_DIR` names), else
/// under `/dev/shm`.
///
/// # Errors
/// Neither is a tmpfs, or somebody else made our directory before us.
pub fn tmpfs_dir() -> Result<PathBuf, Failure> {
    let uid = rustix::process::getuid().as_raw();
    let session = PathBuf::from(format!("/run/user/{uid}"));
    if is_private(&session, uid) && is_tmpfs(&session) {
        return private_dir(session.join("sre-provision"), uid);
    }
    let shared = Path::new("/dev/shm");
    if is_tmpfs(shared) {
        return private_dir(shared.join(format!("sre-provision-{uid}")), uid);
    }
    Err(Failure::new(Exit::Missing, "there is no place for secrets that is not a disk")
        .because(format!("neither `{}` nor `/dev/shm` is a tmpfs", session.display()))
        .hint("mount one: mount -t tmpfs -o mode=1777 tmpfs /dev/shm"))
}

/// Whether what is written there stays in memory.
pub fn is_tmpfs(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type == TMPFS)
}

fn is_private(dir: &Path, uid: u32) -> bool {
    dir.symlink_metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode() & 0o077 == 0)
}

fn private_dir(dir: PathBuf, uid: u32) -> Result<PathBuf, Failure> {
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed("cannot create", &dir, &error));
        }
        _ => {}
    }
    if is_private(&dir, uid) {
        return Ok(dir);
    }
    Err(Failure::new(Exit::NotDone, format!("`{}` is not ours alone", dir.display()))
        .because("it is a link, belongs to another user, or is open to others")
        .hint(format!("look who made it, then remove it: ls -ld {}", dir.display())))
}

/// A file on tmpfs, 0600, removed when it is dropped.
#[derive(Debug)]
pub struct TmpFile(PathBuf);

impl TmpFile {
    /// Writes a file of a scope, such as an environment's short id.
    pub fn create(scope: &str, name: &str, bytes: &[u8]) -> Result<Self, Failure> {
        let dir = scope_dir(scope)?;
        let path = dir.join(format!("{name}-{}", Uuid::new_v4().simple()));
        let write = || {
            let mut file = RealDisk.create(&path, 0o600)?;
            crash_point!("temporary.before-content", name);
            RealDisk.write(&mut file, bytes)
        };
        let made = Self(path.clone());
        write().map_err(|error| failed("cannot write", &path, &error))?;
        crash_point!("temporary.after", name);
        Ok(made)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TmpFile {
    fn drop(&mut self) {
        // Whoever swept it before us did what we are about to do.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Removes the temporary files that killed programs left in a scope. Only the holder of the lease may call this, and
/// only while no child of an earlier run is alive.
pub fn sweep_temporary(scope: &str) -> Result<(), Failure> {
    let dir = scope_dir(scope)?;
    for name in super::file_names(&dir)? {
        let path = dir.join(name);
        std::fs::remove_file(&path).map_err(|error| failed("cannot remove", &path, &error))?;
    }
    Ok(())
}

/// Whether programs that use this scope, or used it before they were killed, have temporary files in it.
pub fn has_temporary(scope: &str) -> Result<bool, Failure> {
    Ok(!super::file_names(&scope_dir(scope)?)?.is_empty())
}

/// Removes a directory of this user's on tmpfs with all that is in it: nobody uses it any more.
pub fn forget_temporary(name: &str) -> Result<(), Failure> {
    super::remove_tree(&tmpfs_dir()?.join(name))
}

fn scope_dir(scope: &str) -> Result<PathBuf, Failure> {
    private_dir(tmpfs_dir()?.join(scope), rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_temporary_file_is_private_on_tmpfs_and_gone_when_dropped() {
        let file = TmpFile::create("test-drop", "token", b"value").expect("written");
        let path = file.path().to_owned();

        assert_eq!(std::fs::read(&path).expect("read"), b"value");
        assert_eq!((mode(&path), mode(path.parent().expect("a parent"))), (0o600, 0o700));
        assert!(is_tmpfs(&path));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_program_left_is_swept_in_its_scope_only() {
        let left = TmpFile::create("test-sweep", "left", b"").expect("written");
        let other = TmpFile::create("test-sweep-other", "kept", b"").expect("written");

        sweep_temporary("test-sweep").expect("swept");

        assert_eq!((left.path().exists(), other.path().exists()), (false, true));
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = dir.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).expect("set");

        let failure = private_dir(open.clone(), rustix::process::getuid().as_raw()).expect_err("open");

        assert_eq!(failure.what(), format!("`{}` is not ours alone", open.display()));
    }
}
