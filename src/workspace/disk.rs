//! The few operations that durability is made of, so that a test can make each of them fail or end there.
//!
//! Everything that must survive a crash goes through a [`Disk`], one system call per method and in the order that
//! `write.rs` prescribes. Reading does not: what is read is verified by its content.

#![expect(clippy::disallowed_methods, reason = "the one place where files are written")]

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

#[cfg(feature = "crash-points")]
use super::fault::{self, Operation};

/// What a write is made of.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that must not exist.
    fn create(&self, path: &Path, mode: u32) -> io::Result<File>;

    /// Opens a file to go on behind its first bytes; what lies behind them goes.
    fn reopen(&self, path: &Path, length: u64) -> io::Result<File>;

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's content durable. Never repeated on the same file: a failed one may have dropped the data.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Gives a file a second name, which must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Moves a file over another in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates a directory that must not exist.
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
}

/// The file system itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Change)?;
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    }

    fn reopen(&self, path: &Path, length: u64) -> io::Result<File> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Change)?;
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(file)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "crash-points")]
        if let Err(error) = fault::pass(Operation::Change) {
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Sync)?;
        file.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Change)?;
        std::fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Change)?;
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Change)?;
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Sync)?;
        File::open(dir)?.sync_all()
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        #[cfg(feature = "crash-points")]
        fault::pass(Operation::Change)?;
        DirBuilder::new().mode(mode).create(path)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A disk whose n-th operation and all after it fail, as after a crash or on a full file system.
    #[derive(Debug)]
    pub struct Dies {
        left: AtomicUsize,
    }

    impl Dies {
        pub fn after(operations: usize) -> Self {
            Self { left: AtomicUsize::new(operations) }
        }

        fn spend(&self) -> io::Result<()> {
            self.left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .map(drop)
                .map_err(|_| io::Error::from(io::ErrorKind::StorageFull))
        }
    }

    impl Disk for Dies {
        fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
            self.spend().and_then(|()| RealDisk.create(path, mode))
        }
        fn reopen(&self, path: &Path, length: u64) -> io::Result<File> {
            self.spend().and_then(|()| RealDisk.reopen(path, length))
        }
        fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            if let Err(error) = self.spend() {
                RealDisk.write(file, &bytes[..bytes.len() / 2])?;
                return Err(error);
            }
            RealDisk.write(file, bytes)
        }
        fn sync(&self, file: &File) -> io::Result<()> {
            self.spend().and_then(|()| RealDisk.sync(file))
        }
        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.spend().and_then(|()| RealDisk.link(from, to))
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.spend().and_then(|()| RealDisk.rename(from, to))
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.spend().and_then(|()| RealDisk.remove(path))
        }
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.spend().and_then(|()| RealDisk.sync_dir(dir))
        }
        fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
            self.spend().and_then(|()| RealDisk.make_dir(path, mode))
        }
    }
}
