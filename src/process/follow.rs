//! Follows the raw output of a child, redacted and cut into lines.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::process::Stream;
use crate::process::lines::Lines;
use crate::process::redact::Redactor;

/// One stream from its beginning.
pub(super) struct Tail {
    file: File,
    redactor: Redactor,
    lines: Lines,
    /// Bytes read so far.
    pub read: u64,
    pub stream: Stream,
}

impl Tail {
    /// Of a child's output files; a file that is not there (a lost spool) is left out.
    pub(super) fn all(here: &Path, redactor: &Redactor) -> Vec<Self> {
        [("stdout", Stream::Stdout), ("stderr", Stream::Stderr), ("events", Stream::Events)]
            .into_iter()
            .filter_map(|(name, stream)| {
                let file = File::open(here.join(name)).ok()?;
                Some(Self { file, redactor: redactor.clone(), lines: Lines::default(), read: 0, stream })
            })
            .collect()
    }

    /// Gives the lines that have come since the last call.
    pub(super) fn advance(&mut self, on_line: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = self
                .file
                .read(&mut buffer)
                .map_err(|error| Failure::new(Exit::NotDone, "the output of a child cannot be read").because(error))?;
            if length == 0 {
                return Ok(());
            }
            self.read += u64::try_from(length).unwrap_or(0);
            self.lines.feed(&self.redactor.feed(&buffer[..length]), on_line);
        }
    }

    /// The child has ended: gives the rest.
    pub(super) fn finish(&mut self, on_line: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        self.advance(on_line)?;
        let rest = self.redactor.finish();
        self.lines.feed(&rest, on_line);
        self.lines.finish(on_line);
        Ok(())
    }
}
