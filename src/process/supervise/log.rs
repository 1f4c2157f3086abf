//! The log that people read: redacted lines, appended, of bounded size.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::workspace::{Disk, RealDisk};

/// What a child may add to a log before lines are left out.
const MOST: usize = 64 << 20;
/// The last lines are kept all the same: they say how it ended.
const LAST: usize = 200;
/// As long as they take no more than this together.
const LAST_BYTES: usize = 1 << 20;

pub(super) struct Log {
    file: File,
    written: usize,
    most: usize,
    last: VecDeque<String>,
    /// How long those are together.
    kept: usize,
    left_out: usize,
    failed: Option<std::io::Error>,
}

impl Log {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { file, written: 0, most: MOST, last: VecDeque::new(), kept: 0, left_out: 0, failed: None })
    }

    /// Adds a line. A full disk must not end the child, so the first error is kept for [`Log::close`].
    pub(super) fn line(&mut self, line: &str) {
        if self.written >= self.most {
            self.kept += line.len();
            self.last.push_back(line.to_owned());
            while self.last.len() > LAST || (self.kept > LAST_BYTES && self.last.len() > 1) {
                self.kept -= self.last.pop_front().map_or(0, |line| line.len());
                self.left_out += 1;
            }
            return;
        }
        self.write(line);
    }

    fn write(&mut self, line: &str) {
        self.written += line.len() + 1;
        if let Err(error) = RealDisk.write(&mut self.file, format!("{line}\n").as_bytes()) {
            self.failed.get_or_insert(error);
        }
    }

    /// Writes the last lines. An error of writing does not change how the child ended: it is for telling.
    pub(super) fn close(mut self) -> std::io::Result<()> {
        if self.left_out > 0 {
            self.write(&format!("── {} lines left out: the log is full", self.left_out));
        }
        for line in std::mem::take(&mut self.last) {
            self.write(&line);
        }
        match self.failed {
            Some(error) => Err(error),
            None => RealDisk.sync(&self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_leaves_out_the_middle_and_says_how_much() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("runs/0001/x.log");
        let mut log = Log { most: 8, ..Log::open(&path).expect("a log") };

        (0..LAST + 5).for_each(|number| log.line(&format!("line {number}")));
        log.close().expect("closed");

        let text = std::fs::read_to_string(path).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..4], ["line 0", "line 1", "── 3 lines left out: the log is full", "line 5"]);
        assert_eq!(lines.last(), Some(&"line 204"));
    }

    #[test]
    fn long_lines_at_the_end_are_kept_as_far_as_they_cost_little() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.log");
        let mut log = Log { most: 0, ..Log::open(&path).expect("a log") };

        (0..5).for_each(|number| log.line(&number.to_string().repeat(LAST_BYTES / 2)));
        log.close().expect("closed");

        let text = std::fs::read_to_string(path).expect("text");
        let starts: Vec<_> = text.lines().map(|line| line.chars().take(12).collect::<String>()).collect();
        assert_eq!(starts, ["── 3 lines l", "333333333333", "444444444444"]);
    }
}
