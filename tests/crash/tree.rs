//! Copies of directories, for worlds that are gone back to.

use std::path::Path;

/// Copies files, links and modes; sockets are left out, since nobody listens at a copy.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    std::fs::set_permissions(to, from.metadata().expect("there").permissions()).expect("a mode");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let (kind, target) = (entry.file_type().expect("a kind"), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).expect("a link"), &target).expect("linked");
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// Removes everything in a directory but one file.
pub fn empty(dir: &Path, but: &Path) {
    for path in
        std::fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()).filter(|path| path != but)
    {
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            std::fs::remove_dir_all(&path).expect("removed");
        } else {
            std::fs::remove_file(&path).expect("removed");
        }
    }
}
