//! What is read of children under fuzzing: their records, the letter to a supervisor, and their output.

use crate::fuzz::Target;
use crate::process::launch::Letter;
use crate::process::lines::{Lines, plain};
use crate::process::record::{Child, End, Started, began_in};
use crate::process::redact::{BLACKENED, Redactor};
use crate::secret::Secret;

pub const TARGETS: &[Target] = &[
    Target { name: "child-record", run: record, seeds: &[] },
    Target { name: "child-letter", run: letter, seeds: &[] },
    Target { name: "child-lines", run: lines, seeds: &["tests/fixtures/packer-1.16.0-build.txt"] },
    Target { name: "redactor", run: redactor, seeds: &[] },
];

fn record(bytes: &[u8]) {
    drop(serde_json::from_slice::<Child>(bytes));
    drop(serde_json::from_slice::<Started>(bytes));
    if let Ok(end) = serde_json::from_slice::<End>(bytes) {
        let again = serde_json::to_vec(&end).unwrap_or_default();
        assert_eq!(serde_json::from_slice::<End>(&again).ok(), Some(end));
    }
    began_in(&String::from_utf8_lossy(bytes));
}

fn letter(bytes: &[u8]) {
    if let Some(opened) = Letter::open(bytes) {
        // A letter that was cut off starts nothing.
        assert!(Letter::open(&bytes[..bytes.trim_ascii_end().len() - 1]).is_none());
        drop(opened.args);
    }
}

/// Whatever a program prints, its lines are text without control characters, however the bytes came.
fn lines(bytes: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut lines, mut out) = (Lines::default(), vec![]);
        let mut take = |line: &str| out.push(line.to_owned());
        pieces.for_each(|piece| lines.feed(piece, &mut take));
        lines.finish(&mut take);
        out
    };
    let whole = read(&mut std::iter::once(bytes));
    assert_eq!(read(&mut bytes.chunks(3)), whole, "how the bytes are cut does not matter");
    let is_safe = |letter: char| letter == '\t' || !letter.is_control();
    assert!(whole.iter().all(|line| line.chars().all(is_safe)));
    assert!(plain(bytes).chars().all(is_safe));
}

/// The first byte says how long the secret is, the second how the stream is cut; the secret also ends the stream.
fn redactor(bytes: &[u8]) {
    let [length, cut, rest @ ..] = bytes else { return };
    let (value, stream) = rest.split_at(usize::from(*length).min(rest.len()));
    let secret = value.trim_ascii();
    let stream = [stream, secret].concat();
    let fresh = Redactor::new(&[Secret::new(value)]);
    let read = |size: usize| {
        let mut redactor = fresh.clone();
        let mut out: Vec<u8> = stream.chunks(size).flat_map(|piece| redactor.feed(piece)).collect();
        out.extend(redactor.finish());
        out
    };
    let whole = read(stream.len().max(1));
    assert_eq!(read(usize::from(*cut).max(1)), whole, "how the stream is cut does not matter");
    let is_known = secret.len() >= 4;
    let is_there = |text: &[u8]| text.windows(secret.len()).any(|window| window == secret);
    // The word that stands for a secret may be a part of it.
    assert!(!is_known || is_there(BLACKENED) || !whole.split_mark().any(is_there), "the secret stays nowhere");
}

/// Pieces of a redacted stream between what was taken out.
trait SplitMark {
    fn split_mark(&self) -> impl Iterator<Item = &[u8]>;
}

impl SplitMark for Vec<u8> {
    fn split_mark(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Some(self.as_slice());
        std::iter::from_fn(move || {
            let text = rest?;
            let at = text.windows(BLACKENED.len()).position(|window| window == BLACKENED);
            rest = at.map(|at| &text[at + BLACKENED.len()..]);
            Some(&text[..at.unwrap_or(text.len())])
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
