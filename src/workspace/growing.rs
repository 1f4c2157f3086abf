//! A file that grows at its end over more than one life of the program.
//!
//! What was written before counts only as far as the caller found it to be right: the file is opened to go on there.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Disk, failed};
use crate::crash_point;
use crate::failure::Failure;

/// A file being written at its end.
#[derive(Debug)]
pub struct Growing {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Growing {
    /// Opens a file to go on behind its first `length` bytes; makes one that is not there.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(disk: &dyn Disk, path: &Path, length: u64, mode: u32) -> Result<Self, Failure> {
        let file = if path.exists() { disk.reopen(path, length) } else { disk.create(path, mode) };
        let file = file.map_err(|error| failed("cannot write", path, &error))?;
        Ok(Self { file, path: path.to_owned(), length })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long the file is now.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn append(&mut self, disk: &dyn Disk, bytes: &[u8]) -> Result<(), Failure> {
        crash_point!("growing.before-append", at & self.path, b"");
        disk.write(&mut self.file, bytes).map_err(|error| failed("cannot write", &self.path, &error))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was written durable, and the file's name with it.
    pub fn finish(self, disk: &dyn Disk) -> Result<(), Failure> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        crash_point!("growing.before-sync", at & self.path, b"");
        disk.sync(&self.file)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|error| failed("cannot write", &self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::RealDisk;

    #[test]
    fn a_file_goes_on_where_it_was_right_and_what_lay_behind_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("chunks-0001");
        let mut first = Growing::open(&RealDisk, &path, 0, 0o644).expect("made");
        first.append(&RealDisk, b"right").expect("written");
        first.append(&RealDisk, b"half").expect("written");
        drop(first);

        let mut second = Growing::open(&RealDisk, &path, 5, 0o644).expect("opened");
        second.append(&RealDisk, b", and on").expect("written");

        assert_eq!(second.length(), 13);
        second.finish(&RealDisk).expect("durable");
        assert_eq!(std::fs::read(&path).expect("read"), b"right, and on");
    }
}
