//! Follows the raw output of a child, redacted and cut into lines.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::process::Stream;
use crate::process::lines::Lines;
use crate::process::redact::Redactor;

/// What one look reads at most: whoever follows a tool that prints without pause has other work in between.
const STEP: usize = 256 << 10;

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

    /// Gives lines that have come since the last call; whether there may be more already.
    pub(super) fn advance(&mut self, on_line: &mut dyn FnMut(&str)) -> Result<bool, Failure> {
        let mut buffer = vec![0; 64 << 10];
        let mut seen = 0;
        while seen < STEP {
            let length = self
                .file
                .read(&mut buffer)
                .map_err(|error| Failure::new(Exit::NotDone, "the output of a child cannot be read").because(error))?;
            if length == 0 {
                return Ok(false);
            }
            seen += length;
            self.read += u64::try_from(length).unwrap_or(0);
            self.lines.feed(&self.redactor.feed(&buffer[..length]), on_line);
        }
        Ok(true)
    }

    /// The child has ended and all was read: gives what was held back.
    pub(super) fn finish(&mut self, on_line: &mut dyn FnMut(&str)) {
        let rest = self.redactor.finish();
        self.lines.feed(&rest, on_line);
        self.lines.finish(on_line);
    }
}
