//! Takes known secrets out of a stream of bytes, however it is cut into pieces.
//!
//! The redactor walks a trie of all spellings; bytes that may be the beginning of one are held back until the next
//! piece decides. Of several spellings that begin at the same byte the longest one counts. A long spelling may be broken
//! into lines, as `base64` and PEM do and JSON writes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::process::encodings::spellings;
use crate::secret::Secret;

/// Shorter spellings that a line break divides are too likely by chance.
const SHORTEST_BROKEN: usize = 16;
/// A line break counts behind so many bytes of a spelling: a line that ends with fewer is not held back for the next one.
const SHORTEST_BEGUN: usize = 4;

/// Stands where a secret stood.
pub const BLACKENED: &[u8] = "‹redacted›".as_bytes();

/// Knows secrets and holds the undecided end of one stream.
#[derive(Clone)]
pub struct Redactor {
    /// Shared by the streams of a child.
    trie: Arc<Vec<Branch>>,
    /// Which bytes begin a spelling: most begin none.
    begins: [bool; 256],
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
        let mut begins = [false; 256];
        trie[0].next.keys().for_each(|byte| begins[usize::from(*byte)] = true);
        Self { trie: Arc::new(trie), begins, held: vec![] }
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
            let begun = bytes[at..].iter().position(|byte| self.begins[usize::from(*byte)]);
            let plain = begun.map_or(bytes.len(), |begun| at + begun);
            out.extend_from_slice(&bytes[at..plain]);
            at = plain;
            if begun.is_none() {
                break;
            }
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
        let (mut at, mut index, mut matched) = (0, 0, 0);
        let mut is_broken = false;
        let mut longest = None;
        while let Some(byte) = bytes.get(index) {
            if let Some(next) = self.trie[at].next.get(byte) {
                at = *next;
                (index, matched) = (index + 1, matched + 1);
                if self.trie[at].is_end && (!is_broken || matched >= SHORTEST_BROKEN) {
                    longest = Some(index);
                }
                if self.trie[at].next.is_empty() {
                    return longest.map_or(Found::Nothing, Found::Spelling);
                }
                continue;
            }
            match line_break(&bytes[index..]).filter(|_| matched >= SHORTEST_BEGUN) {
                Some(Break::Whole(length)) => (index, is_broken) = (index + length, true),
                Some(Break::Begun) if !is_all => return Found::Undecided,
                Some(Break::Begun) | None => return longest.map_or(Found::Nothing, Found::Spelling),
            }
        }
        if is_all {
            return longest.map_or(Found::Nothing, Found::Spelling);
        }
        Found::Undecided
    }
}

/// A line break at the beginning of some bytes.
enum Break {
    Whole(usize),
    /// More bytes must be seen.
    Begun,
}

/// One line break, as it is or as JSON writes it, if what follows is not another one: an empty line divides texts.
fn line_break(bytes: &[u8]) -> Option<Break> {
    const BREAKS: [&[u8]; 4] = [b"\r\n", b"\n", b"\\r\\n", b"\\n"];
    let length = BREAKS.iter().find(|form| bytes.starts_with(form)).map(|form| form.len());
    let Some(length) = length else {
        return BREAKS.iter().any(|form| form.starts_with(bytes)).then_some(Break::Begun);
    };
    let rest = &bytes[length..];
    match rest {
        [] => Some(Break::Begun),
        [b'\n' | b'\r', ..] => None,
        _ => Some(Break::Whole(length)),
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
    fn a_long_secret_is_taken_out_over_line_breaks_and_a_short_word_is_not() {
        let redactor = Redactor::new(&[Secret::new("K10c0ffee0123456789abcdef"), Secret::new("hunter2")]);

        let said =
            redactor.text("a K10c0ff\nee0123456789ab\r\ncdef b {\"c\":\"K10c0ffee0\\n123456789abcdef\"} hunter\n2 d");
        let apart = redactor.text("K10c0ffee0123\n\n456789abcdef");

        assert_eq!(said, "a ‹redacted› b {\"c\":\"‹redacted›\"} hunter\n2 d");
        assert_eq!(apart, "K10c0ffee0123\n\n456789abcdef", "an empty line divides texts");
    }

    #[test]
    fn without_secrets_nothing_is_held_back() {
        assert_eq!(Redactor::new(&[]).feed(b"plain"), b"plain");
    }

    /// A text as programs write it: plain, in base64 with lines of some width, in hex, in URLs, in JSON, as numbers.
    fn spelled(text: &[u8], how: u8, width: usize) -> Vec<u8> {
        use base64::Engine as _;
        let numbers = |between: &str| text.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
        match how {
            0 => text.to_vec(),
            1 | 2 => {
                let engine = [base64::prelude::BASE64_STANDARD, base64::prelude::BASE64_URL_SAFE];
                let encoded = engine[usize::from(how - 1)].encode(text);
                encoded.as_bytes().chunks(width).collect::<Vec<_>>().join(&b'\n')
            }
            3 => hex::encode(text).into_bytes(),
            4 => hex::encode_upper(text).into_bytes(),
            5 => text
                .iter()
                .flat_map(|byte| match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => vec![*byte],
                    other => format!("%{other:02X}").into_bytes(),
                })
                .collect(),
            6 => numbers(", ").into_bytes(),
            7 => numbers(" ").into_bytes(),
            _ => serde_json::to_vec(&String::from_utf8_lossy(text)).expect("JSON"),
        }
    }

    proptest! {
        // Safety 17 and 18
        #[test]
        fn wherever_a_secret_stands_and_however_it_is_spelled_nothing_of_it_stays(
            secret in "[A-Za-z0-9+/=\"\\\\&:]{16,40}",
            before in "[a-z ]{0,7}",
            after in "[a-z ]{0,7}",
            how in 0u8..9,
            width in 8usize..77,
            size in 1usize..50,
        ) {
            // A line that breaks behind the first letters of a secret is the known gap.
            let start = (before.len() * 8).div_ceil(6);
            prop_assume!(!(1..=2).contains(&how) || !(start..=start + SHORTEST_BEGUN).any(|at| at > 0 && at % width == 0));
            let mut redactor = Redactor::new(&[Secret::new(secret.as_bytes())]);
            let stream = spelled(format!("{before}{secret}{after}").as_bytes(), how, width);

            let mut out: Vec<u8> = stream.chunks(size).flat_map(|piece| redactor.feed(piece)).collect();
            out.extend(redactor.finish());

            // The ends of the secret may share a letter of base64 with what stands around it.
            let heart = spelled(&secret.as_bytes()[3..secret.len() - 3], if how == 2 { 1 } else { how }, 200);
            let heart = &heart[..heart.len().min(8)];
            // As numbers these are two letters, with which what stands around may begin, too.
            let around = [&before, &after].map(|text| spelled(text.as_bytes(), how, 200));
            prop_assume!(!around.iter().any(|text| text.windows(heart.len()).any(|some| some == heart)));
            let out = String::from_utf8_lossy(&out).into_owned();
            prop_assert!(out.contains("‹redacted›"), "{} in {:?}", how, out);
            prop_assert!(how == 1 || how == 2 || !out.contains(&*String::from_utf8_lossy(heart)), "{} in {:?}", how, out);
        }

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
