//! Takes known secrets out of a stream of bytes, however it is cut into pieces.
//!
//! The redactor walks a trie of all spellings; bytes that may be the beginning of one are held back until the next
//! piece decides. Of several spellings that begin at the same byte the longest one counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::process::encodings::spellings;
use crate::secret::Secret;

/// Stands where a secret stood.
pub const BLACKENED: &[u8] = "‹redacted›".as_bytes();

/// Knows secrets and holds the undecided end of one stream.
#[derive(Clone)]
pub struct Redactor {
    /// Shared by the streams of a child.
    trie: Arc<Vec<Branch>>,
    held: Vec<u8>,
}

#[derive(Default)]
struct Branch {
    next: BTreeMap<u8, usize>,
    is_end: bool,
}

/// What stands at the beginning of some bytes.
enum Found {
    Nothing,
    Spelling(usize),
    /// More bytes must be seen.
    Undecided,
}

impl Redactor {
    pub fn new(secrets: &[Secret]) -> Self {
        let mut trie = vec![Branch::default()];
        for secret in secrets {
            spellings(secret.expose()).iter().for_each(|spelling| learn(&mut trie, spelling));
        }
        Self { trie: Arc::new(trie), held: vec![] }
    }

    /// Takes the next piece of the stream; gives what is decided.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let bytes = std::mem::take(&mut self.held);
        let (out, rest) = self.decide(&bytes, false);
        self.held = bytes[rest..].to_vec();
        out
    }

    /// The stream has ended: gives what was held back.
    pub fn finish(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.held);
        self.decide(&bytes, true).0
    }

    /// A whole text at once.
    pub fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.decide(text.as_bytes(), true).0).into_owned()
    }

    fn decide(&self, bytes: &[u8], is_all: bool) -> (Vec<u8>, usize) {
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            match self.look(&bytes[at..], is_all) {
                Found::Nothing => {
                    out.push(bytes[at]);
                    at += 1;
                }
                Found::Spelling(length) => {
                    out.extend_from_slice(BLACKENED);
                    at += length;
                }
                Found::Undecided => break,
            }
        }
        (out, at)
    }

    fn look(&self, bytes: &[u8], is_all: bool) -> Found {
        let mut at = 0;
        let mut longest = None;
        for (index, byte) in bytes.iter().enumerate() {
            let Some(next) = self.trie[at].next.get(byte) else {
                return longest.map_or(Found::Nothing, Found::Spelling);
            };
            at = *next;
            if self.trie[at].is_end {
                longest = Some(index + 1);
            }
        }
        if is_all || self.trie[at].next.is_empty() {
            return longest.map_or(Found::Nothing, Found::Spelling);
        }
        Found::Undecided
    }
}

fn learn(trie: &mut Vec<Branch>, spelling: &[u8]) {
    let mut at = 0;
    for byte in spelling {
        let fresh = trie.len();
        let next = *trie[at].next.entry(*byte).or_insert(fresh);
        if next == fresh {
            trie.push(Branch::default());
        }
        at = next;
    }
    trie[at].is_end = true;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&[Secret::new("hunter2hunter2"), Secret::new("hunter2"), Secret::new("s3cr3t/+ value")])
    }

    #[test]
    fn the_longest_secret_that_begins_at_a_byte_is_taken_out_whole() {
        assert_eq!(redactor().text("a hunter2hunter2 b hunter2 c"), "a ‹redacted› b ‹redacted› c");
    }

    #[test]
    fn a_beginning_that_does_not_go_on_stays() {
        let mut redactor = redactor();

        let mut out = redactor.feed(b"hunt");
        out.extend(redactor.feed(b"ing hunter"));
        out.extend(redactor.finish());

        assert_eq!(String::from_utf8_lossy(&out), "hunting hunter");
    }

    #[test]
    fn without_secrets_nothing_is_held_back() {
        assert_eq!(Redactor::new(&[]).feed(b"plain"), b"plain");
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_does_not_matter(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("hunter2"), Just("hunt"), Just("s3cr3t/+ value"), Just("czNjcjN0LysgdmFsdWU"), Just("x"), Just("s3cr3t%2F%2B%20value")
                ], 0..20),
            cuts in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let text = words.concat();
            let whole = redactor().text(&text);

            let mut redactor = redactor();
            let mut pieces = vec![];
            let (mut rest, mut cuts) = (text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let length = (*cuts.next().unwrap_or(&1)).min(rest.len());
                pieces.extend(redactor.feed(&rest[..length]));
                rest = &rest[length..];
            }
            pieces.extend(redactor.finish());

            prop_assert_eq!(String::from_utf8_lossy(&pieces), whole);
        }
    }
}
