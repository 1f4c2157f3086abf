//! Where sealed values lie: in the state directory, or among the objects that several machines share.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::failure::{Exit, Failure};
use crate::objects::{Objects, wait};
use crate::workspace::{Published, RealDisk, make_dir, publish, remove_tree};

/// A place for files that are written once.
///
/// # Why
/// Its verbs wait, though a store far away answers late: a secret is sealed a few times in the life of an environment, and
/// whoever asks for one can do nothing until it is there. (2026-11-30)
#[derive(Clone, Debug)]
pub(super) enum Vault {
    Local(PathBuf),
    /// Under `<environment id>/secrets/`.
    Shared(Arc<dyn Objects>, String),
}

impl Vault {
    /// The names of all files, sorted.
    pub fn files(&self) -> Result<Vec<String>, Failure> {
        let mut names = match self {
            Self::Local(dir) => match std::fs::read_dir(dir) {
                Ok(entries) => entries
                    .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| self.unreadable("", &error))?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![],
                Err(error) => return Err(self.unreadable("", &error)),
            },
            Self::Shared(objects, dir) => {
                let keys = wait(objects.list(dir))?;
                keys.iter().filter_map(|key| key.strip_prefix(dir.as_str())).map(str::to_owned).collect()
            }
        };
        names.sort();
        Ok(names)
    }

    /// What is in these files.
    ///
    /// # Errors
    /// One of them cannot be read, or is not there.
    pub fn read(&self, files: &[String]) -> Result<Vec<Vec<u8>>, Failure> {
        match self {
            Self::Local(dir) => files
                .iter()
                .map(|file| std::fs::read(dir.join(file)).map_err(|error| self.unreadable(file, &error)))
                .collect(),
            Self::Shared(objects, dir) => wait(try_join_all(files.iter().map(async |file| {
                let found = objects.get(&format!("{dir}{file}")).await?;
                found.map(|object| object.bytes).ok_or_else(|| self.unreadable(file, &"it is not there"))
            }))),
        }
    }

    /// Writes a file that must not be there.
    pub fn publish(&self, file: &str, bytes: &[u8]) -> Result<Published, Failure> {
        match self {
            Self::Local(dir) => {
                make_dir(&RealDisk, dir, 0o700)?;
                publish(&RealDisk, &dir.join(file), bytes, 0o600)
            }
            Self::Shared(objects, dir) => wait(async {
                let key = format!("{dir}{file}");
                if objects.create(&key, bytes).await?.is_some() {
                    return Ok(Published::Created);
                }
                // An answer that was lost and a call that was repeated: the file is ours.
                let is_ours = objects.get(&key).await?.is_some_and(|there| there.bytes == bytes);
                Ok(if is_ours { Published::Created } else { Published::Existed })
            }),
        }
    }

    /// Removes everything.
    pub fn empty(&self) -> Result<(), Failure> {
        match self {
            Self::Local(dir) => remove_tree(dir),
            Self::Shared(objects, dir) => wait(async {
                for key in objects.list(dir).await? {
                    objects.delete(&key).await?;
                }
                Ok(())
            }),
        }
    }

    /// Where a file is, for people.
    pub fn place(&self, file: &str) -> String {
        match self {
            Self::Local(dir) if file.is_empty() => dir.display().to_string(),
            Self::Local(dir) => dir.join(file).display().to_string(),
            Self::Shared(objects, dir) => objects.place(&format!("{dir}{file}")),
        }
    }

    fn unreadable(&self, file: &str, cause: &dyn std::fmt::Display) -> Failure {
        Failure::new(Exit::NotDone, format!("cannot read `{}`", self.place(file))).because(cause)
    }
}
