//! The place of raw output: memory, never a disk, readable by us alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};
use crate::workspace::{Disk, RealDisk, is_tmpfs};

/// The directory below `/dev/shm` that is used unless another one is named.
pub(super) fn default_spool() -> PathBuf {
    PathBuf::from(format!("/dev/shm/sre-provision-{}", rustix::process::getuid().as_raw()))
}

/// Makes a child's own directory with its empty output files.
pub(super) fn create(spool: &Path, id: &str) -> Result<PathBuf, Failure> {
    let failure =
        |error| Failure::new(Exit::NotDone, format!("no room for raw output in `{}`", spool.display())).because(error);
    let here = spool.join(id);
    DirBuilder::new().recursive(true).mode(0o700).create(spool).map_err(failure)?;
    check(spool)?;
    RealDisk.make_dir(&here, 0o700).map_err(failure)?;
    for name in ["stdout", "stderr", "events"] {
        RealDisk.create(&here.join(name), 0o600).map_err(failure)?;
    }
    Ok(here)
}

/// Ours alone, a real directory, and on tmpfs.
fn check(spool: &Path) -> Result<(), Failure> {
    let name = spool.display();
    let refused = |why: &str, hint: String| {
        Err(Failure::new(Exit::NotDone, format!("raw output must not go to `{name}`")).because(why).hint(hint))
    };
    let meta = std::fs::symlink_metadata(spool)
        .map_err(|error| Failure::new(Exit::NotDone, format!("`{name}` cannot be read")).because(error))?;
    if !meta.is_dir() || meta.uid() != rustix::process::getuid().as_raw() {
        return refused("it is not a directory of ours", format!("rm -r {name}"));
    }
    if meta.mode() & 0o077 != 0 {
        return refused("others may read it", format!("chmod 0700 {name}"));
    }
    if !is_tmpfs(spool) {
        return refused(
            "it is not on tmpfs, and raw output may hold secrets",
            "set XDG_RUNTIME_DIR to a directory on tmpfs".to_owned(),
        );
    }
    Ok(())
}

/// Opens an output file for the child itself: appending, so that freed ranges before its end stay harmless.
pub(super) fn output(here: &Path, name: &str) -> std::io::Result<File> {
    OpenOptions::new().append(true).open(here.join(name))
}

/// Gives back the memory of a long output's middle: all but its first MiB and its last 32.
pub(super) fn trim(file: &File, length: u64, freed: &mut u64) {
    const HEAD: u64 = 1 << 20;
    const TAIL: u64 = 32 << 20;
    const STEP: u64 = 8 << 20;
    let end = length.saturating_sub(TAIL);
    let start = (*freed).max(HEAD);
    if end < start + STEP {
        return;
    }
    let mode = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    if rustix::fs::fallocate(file, mode, start, end - start).is_ok() {
        *freed = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_output_goes_to_tmpfs_only() {
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory on disk");
        std::fs::set_permissions(disk.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("mode");

        let failure = create(disk.path(), "one").expect_err("refused");

        assert_eq!(failure.causes(), ["it is not on tmpfs, and raw output may hold secrets"]);
    }

    #[test]
    fn a_directory_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let open = tempfile::tempdir_in("/dev/shm").expect("a directory");
        std::fs::set_permissions(open.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");

        let failure = create(open.path(), "one").expect_err("refused");

        assert_eq!(failure.hints(), [format!("chmod 0700 {}", open.path().display())]);
    }

    #[test]
    fn the_middle_of_a_long_output_is_given_back_and_its_ends_stay() {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let path = dir.path().join("stdout");
        std::fs::write(&path, vec![b'x'; 48 << 20]).expect("written");
        let file = OpenOptions::new().write(true).open(&path).expect("open");
        let mut freed = 0;

        trim(&file, 48 << 20, &mut freed);

        let meta = std::fs::metadata(&path).expect("meta");
        assert_eq!((meta.len(), meta.blocks() * 512, freed), (48 << 20, 33 << 20, 16 << 20));
    }
}
