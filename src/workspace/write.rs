//! The atomic write, in its two forms: replace what is there, or publish what must not be there yet.
//!
//! Both write a unique temporary file beside the target, make its content durable, and only then give it its name and
//! make the name durable. A crash at any point leaves the old or the new content, never a mixture; what it may leave
//! besides is a file named `.new-…`, which [`sweep_unfinished`] removes.

#![expect(clippy::disallowed_methods, reason = "a whole tree is removed by the one call that follows no links")]

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{Disk, RealDisk, failed};
use crate::crash_point;
use crate::failure::Failure;

const UNFINISHED: &str = ".new-";

/// What came of publishing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    Created,
    /// Somebody was there before; nothing was changed.
    Existed,
}

/// Replaces a file in one step; the content and its name are durable when this returns.
///
/// # Errors
/// The old content is still there, unless the last step, making the name durable, was the one that failed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    write_atomic_on(&RealDisk, path, bytes, mode)
}

/// As [`write_atomic`], on a given disk.
pub fn write_atomic_on(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let replace = || -> io::Result<()> {
        let dir = parent(path)?;
        let unfinished = write_unfinished(disk, dir, path, bytes, mode)?;
        crash_point!("write.before-rename", at path, bytes);
        disk.rename(&unfinished, path).map_err(|error| give_up(disk, &unfinished, error))?;
        crash_point!("write.before-directory-sync", at path, bytes);
        disk.sync_dir(dir)?;
        crash_point!("write.after", at path, bytes);
        Ok(())
    };
    replace().map_err(|error| failed("cannot write", path, &error))
}

/// Creates a file with its content in one step, if no file has that name.
///
/// # Errors
/// Whether the file is there is then unknown: the caller stops and looks again.
pub fn publish(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> Result<Published, Failure> {
    let create = || -> io::Result<Published> {
        let dir = parent(path)?;
        let unfinished = write_unfinished(disk, dir, path, bytes, mode)?;
        crash_point!("publish.before-link", at path, bytes);
        match disk.link(&unfinished, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&unfinished)?;
                return Ok(Published::Existed);
            }
            Err(error) => return Err(give_up(disk, &unfinished, error)),
        }
        crash_point!("publish.before-directory-sync", at path, bytes);
        disk.sync_dir(dir)?;
        crash_point!("publish.before-cleaning", at path, bytes);
        disk.remove(&unfinished)?;
        crash_point!("publish.after", at path, bytes);
        Ok(Published::Created)
    };
    create().map_err(|error| failed("cannot write", path, &error))
}

/// Creates a directory and what is missing above it, durably. One that exists keeps its mode.
pub fn make_dir(disk: &dyn Disk, path: &Path, mode: u32) -> Result<(), Failure> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        let create = || -> io::Result<()> {
            match disk.make_dir(dir, mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            crash_point!("directory.before-sync", at dir, b"");
            disk.sync_dir(parent(dir)?)
        };
        create().map_err(|error| failed("cannot create", dir, &error))?;
    }
    Ok(())
}

/// Removes a file, durably; one that is not there is removed already.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<(), Failure> {
    let remove = || match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            crash_point!("remove.before-directory-sync", at path, b"");
            disk.sync_dir(parent(path)?)
        }
    };
    crash_point!("remove.before", at path, b"");
    remove().map_err(|error| failed("cannot remove", path, &error))
}

/// Gives a file another name in its directory, durably, over what may have had that name.
pub fn put_aside(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), Failure> {
    let rename = || {
        crash_point!("put-aside.before", at from, b"");
        disk.rename(from, to)?;
        crash_point!("put-aside.before-directory-sync", at from, b"");
        disk.sync_dir(parent(to)?)
    };
    rename().map_err(|error| failed("cannot put aside", from, &error))
}

/// Moves a file that is whole and durable to its place in another directory, over what may have been there.
pub fn put_in_place(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), Failure> {
    let rename = || {
        crash_point!("put-in-place.before", at to, b"");
        disk.rename(from, to)?;
        crash_point!("put-in-place.before-directory-sync", at to, b"");
        disk.sync_dir(parent(to)?)
    };
    rename().map_err(|error| failed("cannot write", to, &error))
}

/// Removes a directory that nothing is in; one that is not there or holds something is left.
pub fn remove_empty(path: &Path) -> Result<(), Failure> {
    let remove = || match std::fs::remove_dir(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => RealDisk.sync_dir(parent(path)?),
    };
    remove().map_err(|error| failed("cannot remove", path, &error))
}

/// Removes a directory with all that is in it, durably; one that is not there is removed already. Links in it are
/// removed and never followed.
pub fn remove_tree(path: &Path) -> Result<(), Failure> {
    let remove = || match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            crash_point!("remove-tree.before-directory-sync", at path, b"");
            RealDisk.sync_dir(parent(path)?)
        }
    };
    crash_point!("remove-tree.before", at path, b"");
    remove().map_err(|error| failed("cannot remove", path, &error))
}

/// Removes what writers that died left unfinished in a directory. Only the holder of the lease may call this.
pub fn sweep_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), Failure> {
    for name in super::file_names(dir)?.iter().filter(|name| name.starts_with(UNFINISHED)) {
        remove(disk, &dir.join(name))?;
    }
    Ok(())
}

/// As [`sweep_unfinished`], in everything below the directory too.
pub fn sweep_unfinished_below(disk: &dyn Disk, dir: &Path) -> Result<(), Failure> {
    let is_unfinished = |entry: &walkdir::DirEntry| {
        entry.file_type().is_file() && entry.file_name().to_string_lossy().starts_with(UNFINISHED)
    };
    // What a child is just removing need not be listed.
    let entries = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    entries.filter(is_unfinished).try_for_each(|entry| remove(disk, entry.path()))
}

/// What is to be `target`, whole and durable under a name of its own in `dir`.
fn write_unfinished(
    disk: &dyn Disk,
    dir: &Path,
    #[cfg_attr(not(feature = "crash-points"), expect(unused_variables, reason = "names the crash points"))]
    target: &Path,
    bytes: &[u8],
    mode: u32,
) -> io::Result<PathBuf> {
    crash_point!("write.before-temporary", at target, bytes);
    let path = dir.join(format!("{UNFINISHED}{}", Uuid::new_v4().simple()));
    let mut file = disk.create(&path, mode)?;
    let written = disk.write(&mut file, bytes).and_then(|()| {
        crash_point!("write.before-sync", at target, bytes);
        disk.sync(&file)
    });
    written.map_err(|error| give_up(disk, &path, error))?;
    Ok(path)
}

/// Removes what was begun. Why the write failed is what counts; what stays is swept later.
fn give_up(disk: &dyn Disk, unfinished: &Path, error: io::Error) -> io::Error {
    drop(disk.remove(unfinished));
    error
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no directory"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::workspace::Dies;

    /// A disk that notes what it is asked, and on which name; unique names are all `new`.
    #[derive(Debug, Default)]
    struct Notes(std::sync::Mutex<Vec<String>>);

    impl Notes {
        fn note(&self, deed: &str, path: &Path) {
            let name = path.file_name().expect("a name").to_string_lossy();
            let name = if name.starts_with(UNFINISHED) { "new" } else { &name };
            self.0.lock().expect("alone").push(format!("{deed} {name}"));
        }
    }

    impl Disk for Notes {
        fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
            self.note("create", path);
            RealDisk.create(path, mode)
        }
        fn reopen(&self, path: &Path, length: u64) -> io::Result<File> {
            self.note("reopen", path);
            RealDisk.reopen(path, length)
        }
        fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            self.note("write", Path::new("new"));
            RealDisk.write(file, bytes)
        }
        fn sync(&self, file: &File) -> io::Result<()> {
            self.note("sync", Path::new("new"));
            RealDisk.sync(file)
        }
        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note("link", to);
            RealDisk.link(from, to)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note("rename", to);
            RealDisk.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.note("remove", path);
            RealDisk.remove(path)
        }
        fn sync_dir(&self, _: &Path) -> io::Result<()> {
            self.note("sync", Path::new("dir"));
            Ok(())
        }
        fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
            self.note("make", path);
            RealDisk.make_dir(path, mode)
        }
    }

    #[test]
    fn content_is_durable_before_its_name_and_the_name_before_anybody_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let (replaced, published) = (Notes::default(), Notes::default());

        write_atomic_on(&replaced, &dir.path().join("a"), b"content", 0o600).expect("written");
        publish(&published, &dir.path().join("b"), b"content", 0o600).expect("written");

        let order = |notes: Notes| notes.0.into_inner().expect("alone");
        assert_eq!(order(replaced), ["create new", "write new", "sync new", "rename a", "sync dir"]);
        assert_eq!(order(published), ["create new", "write new", "sync new", "link b", "sync dir", "remove new"]);
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("identity.json");
        std::fs::write(&path, "old").expect("written");

        write_atomic(&path, b"new", 0o600).expect("written");

        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(super::super::file_names(dir.path()).expect("listed"), ["identity.json"]);
    }

    #[test]
    fn a_write_that_dies_anywhere_leaves_the_old_content_or_the_new() {
        for operations in 0.. {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("identity.json");
            std::fs::write(&path, "old content").expect("written");

            let result = write_atomic_on(&Dies::after(operations), &path, b"new content", 0o600);

            let content = std::fs::read_to_string(&path).expect("read");
            sweep_unfinished(&RealDisk, dir.path()).expect("swept");
            assert_eq!(super::super::file_names(dir.path()).expect("listed"), ["identity.json"]);
            if result.is_ok() {
                assert_eq!((content.as_str(), operations), ("new content", 5));
                return;
            }
            assert!(["old content", "new content"].contains(&content.as_str()), "{operations}: {content}");
        }
    }

    #[test]
    fn a_publication_that_dies_anywhere_leaves_nothing_or_the_whole() {
        for operations in 0.. {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("0000000001.json");

            let result = publish(&Dies::after(operations), &path, b"whole", 0o600);

            let content = std::fs::read_to_string(&path).ok();
            sweep_unfinished(&RealDisk, dir.path()).expect("swept");
            assert!(super::super::file_names(dir.path()).expect("listed").len() <= 1);
            if result.is_ok() {
                assert_eq!((content.as_deref(), operations), (Some("whole"), 6));
                return;
            }
            assert!([None, Some("whole")].contains(&content.as_deref()), "{operations}: {content:?}");
        }
    }

    #[test]
    fn a_name_is_published_once_and_the_first_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0000000001.json");

        let first = publish(&RealDisk, &path, b"first", 0o600).expect("written");
        let second = publish(&RealDisk, &path, b"second", 0o600).expect("refused");

        assert_eq!((first, second), (Published::Created, Published::Existed));
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "first");
    }

    #[test]
    fn a_full_disk_is_named_with_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");

        let failure = write_atomic_on(&Dies::after(1), &path, b"content", 0o600).expect_err("full");

        assert_eq!(failure.what(), format!("cannot write `{}`", path.display()));
        assert_eq!(failure.causes(), ["no storage space"]);
    }

    /// A disk that makes nothing durable, and remembers how often it was asked to; what it is to write it writes by half
    /// when it is out of room.
    #[derive(Debug, Default)]
    struct Faulty {
        synced: std::sync::atomic::AtomicUsize,
        writes_half: bool,
    }

    impl Disk for Faulty {
        fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
            RealDisk.create(path, mode)
        }
        fn reopen(&self, path: &Path, length: u64) -> io::Result<File> {
            RealDisk.reopen(path, length)
        }
        fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            let end = if self.writes_half { bytes.len() / 2 } else { bytes.len() };
            RealDisk.write(file, &bytes[..end])?;
            if self.writes_half { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
        fn sync(&self, _: &File) -> io::Result<()> {
            self.synced.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(io::Error::other("lost"))
        }
        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.link(from, to)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove(path)
        }
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            RealDisk.sync_dir(dir)
        }
        fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
            RealDisk.make_dir(path, mode)
        }
    }

    fn written_on(disk: &Faulty) -> (Vec<String>, String) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a"), "old").expect("written");
        let failures = [write_atomic_on(disk, &dir.path().join("a"), b"new content", 0o600), {
            publish(disk, &dir.path().join("b"), b"new content", 0o600).map(drop)
        }];
        assert!(failures.iter().all(Result::is_err), "{failures:?}");
        let names = super::super::file_names(dir.path()).expect("listed");
        (names, std::fs::read_to_string(dir.path().join("a")).expect("read"))
    }

    #[test]
    fn content_that_could_not_be_made_durable_gets_no_name_and_is_not_made_durable_again() {
        let disk = Faulty::default();

        let left = written_on(&disk);

        assert_eq!(left, (vec!["a".to_owned()], "old".to_owned()));
        assert_eq!(disk.synced.into_inner(), 2);
    }

    #[test]
    fn what_was_written_by_half_gets_no_name_and_is_removed() {
        let disk = Faulty { writes_half: true, ..Faulty::default() };

        let left = written_on(&disk);

        assert_eq!(left, (vec!["a".to_owned()], "old".to_owned()));
        assert_eq!(disk.synced.into_inner(), 0);
    }

    #[test]
    fn what_is_put_aside_has_the_other_name_only() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("state"), "broken").expect("written");

        put_aside(&RealDisk, &dir.path().join("state"), &dir.path().join("state.broken")).expect("renamed");

        assert_eq!(super::super::file_names(dir.path()).expect("listed"), ["state.broken"]);
    }

    #[test]
    fn a_tree_is_removed_and_what_its_links_name_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("tree/a")).expect("made");
        std::fs::write(dir.path().join("kept"), "content").expect("written");
        std::os::unix::fs::symlink(dir.path().join("kept"), dir.path().join("tree/a/link")).expect("linked");

        remove_tree(&dir.path().join("tree")).expect("removed");
        remove_tree(&dir.path().join("tree")).expect("removed already");

        assert_eq!(super::super::file_names(dir.path()).expect("listed"), ["kept"]);
    }

    #[test]
    fn directories_are_made_closed_to_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b");

        make_dir(&RealDisk, &path, 0o700).expect("made");
        make_dir(&RealDisk, &path, 0o700).expect("made already");

        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o700);
    }
}
