//! Digests over files and trees of files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use walkdir::{DirEntry, WalkDir};

use super::failed;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// What tools leave in a tree and what does not belong to it.
const SKIPPED: [&str; 4] = [".terraform", "__pycache__", ".pytest_cache", ".ruff_cache"];

/// The SHA-256 of one file, read in pieces.
pub fn file_digest(path: &Path) -> Result<Digest, Failure> {
    read_digest(path).map_err(|error| failed("cannot read", path, &error))
}

/// As [`file_digest`], on a thread of its own: a gigabyte takes seconds, and whoever asks may not be alone on its thread.
pub async fn large_file_digest(path: &Path) -> Result<Digest, Failure> {
    let path = path.to_owned();
    let digest = tokio::task::spawn_blocking(move || file_digest(&path)).await;
    digest.map_err(|error| Failure::bug("a file could not be read").because(error))?
}

/// The SHA-256 of each piece of `block` bytes of one file, the last being what is left.
pub async fn block_digests(path: &Path, block: u64) -> Result<Vec<Digest>, Failure> {
    let path = path.to_owned();
    let read = move || read_blocks(&path, block).map_err(|error| failed("cannot read", &path, &error));
    tokio::task::spawn_blocking(read).await.map_err(|error| Failure::bug("a file could not be read").because(error))?
}

fn read_blocks(path: &Path, block: u64) -> io::Result<Vec<Digest>> {
    let mut file = File::open(path)?;
    let (mut digests, mut piece) = (Vec::new(), Vec::new());
    loop {
        piece.clear();
        if (&mut file).take(block).read_to_end(&mut piece)? == 0 {
            return Ok(digests);
        }
        digests.push(Digest::of(&piece));
    }
}

/// A digest over the relative paths, executable bits and contents of all files of a tree, or of one file.
///
/// Of the mode only the executable bit counts, as in git: the rest is the umask of whoever made the checkout.
///
/// # Errors
/// The tree is missing, or holds something that is neither a file nor a directory nor a link to a file. Of a link the
/// content of the file counts, as for the tool that reads it.
pub fn tree_digest(root: &Path) -> Result<Digest, Failure> {
    let mut lines = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| !is_skipped(entry)) {
        let entry = entry.map_err(|error| failed("cannot read", root, &error))?;
        if entry.file_type().is_dir() {
            continue;
        }
        if !entry.path().is_file() {
            return Err(Failure::new(
                Exit::NotDone,
                format!("`{}` is neither a file nor a directory", entry.path().display()),
            )
            .because("its content would not count among what the tree was made from")
            .hint("put a file in its place"));
        }
        lines.push(line(root, &entry)?);
    }
    Ok(Digest::of_value(&("tree/1", lines)))
}

fn line(root: &Path, entry: &DirEntry) -> Result<(String, bool, Digest), Failure> {
    let path = entry.path();
    let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let mode = path.metadata().map_err(|error| failed("cannot read", path, &error))?.permissions().mode();
    Ok((relative, mode & 0o100 != 0, file_digest(path)?))
}

fn is_skipped(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name))
}

fn read_digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => context.update(&buffer[..count]),
        }
    }
    Digest::parse(&hex::encode(context.finish())).ok_or_else(|| io::Error::other("a digest of another length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            std::fs::write(path, content).expect("written");
        }
        dir
    }

    fn digest(dir: &tempfile::TempDir) -> Digest {
        tree_digest(dir.path()).expect("read")
    }

    #[test]
    fn equal_trees_in_different_places_have_one_digest() {
        let one = tree(&[("tasks/main.yml", "a"), ("defaults/main.yml", "b")]);
        let two = tree(&[("defaults/main.yml", "b"), ("tasks/main.yml", "a"), ("__pycache__/x.pyc", "left")]);

        assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn a_name_a_content_and_an_executable_bit_count() {
        let original = tree(&[("run", "a"), ("b", "")]);
        let renamed = tree(&[("ran", "a"), ("b", "")]);
        let changed = tree(&[("run", "A"), ("b", "")]);
        let executable = tree(&[("run", "a"), ("b", "")]);
        std::fs::set_permissions(executable.path().join("run"), PermissionsExt::from_mode(0o755)).expect("set");

        let all = [&original, &renamed, &changed, &executable].map(digest);

        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), 4);
    }

    #[test]
    fn the_umask_of_a_checkout_does_not_count() {
        let one = tree(&[("x", "a")]);
        let two = tree(&[("x", "a")]);
        std::fs::set_permissions(two.path().join("x"), PermissionsExt::from_mode(0o600)).expect("set");

        assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn of_a_link_to_a_file_the_content_counts() {
        let other = tree(&[("x", "a")]);
        let dir = tree(&[]);
        std::os::unix::fs::symlink(other.path().join("x"), dir.path().join("x")).expect("linked");
        let before = digest(&dir);

        std::fs::write(other.path().join("x"), "b").expect("written");

        assert_ne!(digest(&dir), before);
        assert_eq!(digest(&dir), digest(&other));
    }

    #[test]
    fn a_link_to_nothing_is_refused_by_name() {
        let dir = tree(&[("x", "a")]);
        std::os::unix::fs::symlink("nothing", dir.path().join("y")).expect("linked");

        let failure = tree_digest(dir.path()).expect_err("a link");

        assert_eq!(failure.what(), format!("`{}` is neither a file nor a directory", dir.path().join("y").display()));
    }

    #[test]
    fn the_digest_of_a_file_is_that_of_its_bytes() {
        let dir = tree(&[("x", "content")]);

        assert_eq!(file_digest(&dir.path().join("x")).expect("read"), Digest::of(b"content"));
    }
}
