//! OpenTofu's state file, which it writes in place: copies that survive, and what to do with a broken one.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{RealDisk, make_dir, put_aside, remove, write_atomic};

/// How many copies are kept.
const COPIES: usize = 10;

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("terraform.tfstate")
}

/// A state file; `None` when there is none.
///
/// # Errors
/// It is no state.
pub(super) fn read(path: &Path) -> Result<Option<Value>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => parse(path, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The state in the bytes of the file at `path`.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NotDone, format!("state `{}` cannot be read", path.display())).because(error)
}

pub(super) fn serial(state: &Value) -> u64 {
    state.get("serial").and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn is_kin(one: &Value, other: &Value) -> bool {
    one.get("lineage") == other.get("lineage")
}

/// A state that can be read, to be copied.
pub(super) struct Whole {
    dir: PathBuf,
    serial: u64,
    bytes: Vec<u8>,
}

/// The state of a root, in `file`; `None` when there is none.
///
/// # Errors
/// It is no state.
pub(super) fn whole(dir: &Path, file: &Path) -> Result<Option<Whole>, Failure> {
    let Some(state) = read(file)? else { return Ok(None) };
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::new(Exit::NotDone, format!("state `{}` cannot be read", file.display())).because(error)
    })?;
    Ok(Some(Whole { dir: dir.to_owned(), serial: serial(&state), bytes }))
}

impl Whole {
    /// Makes a copy durable; gives its path and digest.
    pub(super) fn keep(&self) -> Result<(PathBuf, Digest), Failure> {
        let digest = Digest::of(&self.bytes);
        let kept = self.dir.join("kept");
        make_dir(&RealDisk, &kept, 0o700)?;
        let copy = kept.join(format!("{:08}-{}.tfstate", self.serial, digest.short()));
        write_atomic(&copy, &self.bytes, 0o600)?;
        let copies = copies(&self.dir);
        for old in &copies[..copies.len().saturating_sub(COPIES)] {
            remove(&RealDisk, old)?;
        }
        Ok((copy, digest))
    }
}

/// The copies, oldest first.
fn copies(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("kept")).into_iter().flatten().flatten();
    let mut copies: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "tfstate")).collect();
    copies.sort();
    copies
}

/// Makes the state readable again; gives what was done, for a notice.
///
/// A state that OpenTofu could not write and left as `errored.tfstate` is taken over when it is of the same lineage and not
/// older: OpenTofu gives it the next number, and one of the same number was taken over by a run that was killed before it
/// could remove it. Another one is put aside. A broken state is put aside for the newest copy, or for none; what that one
/// does not know is found and imported before the next apply.
pub(super) fn recover(dir: &Path) -> Result<Option<String>, Failure> {
    let errored = dir.join("errored.tfstate");
    let current = read(&path(dir));
    let mut refused = None;
    if let Ok(Some(newer)) = read(&errored) {
        let last = match &current {
            Ok(Some(state)) => Some(state.clone()),
            Ok(None) | Err(_) => copies(dir).into_iter().rev().find_map(|copy| read(&copy).ok().flatten()),
        };
        if last.is_none_or(|last| is_kin(&last, &newer) && serial(&newer) >= serial(&last)) {
            take_over(dir, &errored)?;
            remove(&RealDisk, &errored)?;
            return Ok(Some("took over the state that tofu could not write last time".to_owned()));
        }
        let aside = dir.join("errored.tfstate.refused");
        put_aside(&RealDisk, &errored, &aside)?;
        refused = Some(format!("`{}` is older than the state, or of another one: it is not used", aside.display()));
    }
    if current.is_ok() {
        return Ok(refused);
    }
    let aside = dir.join("terraform.tfstate.broken");
    put_aside(&RealDisk, &path(dir), &aside)?;
    // What the copy does not know is looked for.
    write_atomic(&dir.join("unsettled"), b"the state was broken\n", 0o600)?;
    let Some(copy) = copies(dir).into_iter().rev().find(|copy| matches!(read(copy), Ok(Some(_)))) else {
        return Ok(Some(format!(
            "the state was broken (now `{}`) and there is no copy: what exists is imported",
            aside.display()
        )));
    };
    take_over(dir, &copy)?;
    Ok(Some(format!("the state was broken (now `{}`) and was restored from `{}`", aside.display(), copy.display())))
}

fn take_over(dir: &Path, from: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(from).map_err(|error| {
        Failure::new(Exit::NotDone, format!("state `{}` cannot be read", from.display())).because(error)
    })?;
    write_atomic(&path(dir), &bytes, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(serial: u32) -> String {
        format!(r#"{{"version":4,"serial":{serial},"lineage":"a","outputs":{{}},"resources":[]}}"#)
    }

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        dir
    }

    fn keep(dir: &Path) {
        whole(dir, &path(dir)).expect("whole").expect("a state").keep().expect("kept");
    }

    #[test]
    fn the_newest_copies_are_kept_under_serial_and_digest() {
        let dir = dir(&[]);

        for number in 1..=12 {
            std::fs::write(path(dir.path()), state(number)).expect("written");
            keep(dir.path());
        }

        let copies = copies(dir.path());
        assert_eq!(copies.len(), 10);
        assert_eq!(read(&copies[9]).expect("read").as_ref().map(serial), Some(12));
    }

    #[test]
    fn a_state_that_was_cut_off_is_restored_from_the_newest_copy_and_looked_after() {
        let dir = dir(&[("terraform.tfstate", &state(7))]);
        keep(dir.path());
        std::fs::write(path(dir.path()), "{\"version\":4,\"ser").expect("written");

        let notice = recover(dir.path()).expect("recovered").expect("a notice");

        assert!(notice.contains("was restored from"), "{notice}");
        assert_eq!(read(&path(dir.path())).expect("read").as_ref().map(serial), Some(7));
        assert!(dir.path().join("unsettled").exists());
        assert!(dir.path().join("terraform.tfstate.broken").exists());
    }

    #[test]
    fn a_state_that_tofu_could_not_write_is_taken_over_only_when_it_is_newer_and_kin() {
        let newer = dir(&[("terraform.tfstate", &state(7)), ("errored.tfstate", &state(8))]);
        let older = dir(&[("terraform.tfstate", &state(9)), ("errored.tfstate", &state(8))]);
        let foreign =
            dir(&[("terraform.tfstate", &state(7)), ("errored.tfstate", &state(8).replace("\"a\"", "\"b\""))]);

        let serials = [newer, older, foreign].map(|dir| {
            recover(dir.path()).expect("recovered");
            read(&path(dir.path())).expect("read").as_ref().map(serial)
        });

        assert_eq!(serials, [Some(8), Some(9), Some(7)]);
    }

    #[test]
    fn beside_a_broken_state_only_kin_of_the_last_copy_is_taken_over() {
        let serials = ["\"a\"", "\"b\""].map(|lineage| {
            let dir = dir(&[("terraform.tfstate", &state(7))]);
            keep(dir.path());
            std::fs::write(path(dir.path()), "{").expect("written");
            std::fs::write(dir.path().join("errored.tfstate"), state(8).replace("\"a\"", lineage)).expect("written");
            recover(dir.path()).expect("recovered");
            let refused = dir.path().join("errored.tfstate.refused").exists();
            (read(&path(dir.path())).expect("read").as_ref().map(serial), refused)
        });

        assert_eq!(serials, [(Some(8), false), (Some(7), true)]);
    }
}
