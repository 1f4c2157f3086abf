//! The spellings in which a secret may turn up in a program's output.
//!
//! Plain; each long line of a text of several lines (a private key, printed indented); base64 at each of the three
//! offsets that it can have within a longer encoded text, in both alphabets; hex; percent-encoded; as JSON writes it; and
//! as the numbers of its bytes, with which Rust and Go show bytes. Not known: compressed or encrypted text, and a text that is
//! broken into lines behind the first three letters of a spelling.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// Shorter values would blacken ordinary words.
const SHORTEST: usize = 4;
/// Shorter spellings of a value other than itself are too likely by chance.
const SHORTEST_ENCODED: usize = 8;
/// Lines of a text that are shorter say nothing of it.
const SHORTEST_LINE: usize = 16;

/// Every spelling of `value` that a redactor looks for; none for a value that is too short.
pub(super) fn spellings(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![];
    for piece in pieces(value) {
        let encoded = encoded(piece).into_iter().filter(|spelling| spelling.len() >= SHORTEST_ENCODED);
        all.push(piece.to_vec());
        all.extend(encoded);
    }
    all.sort();
    all.dedup();
    all
}

/// The value without line ends around it, and each of its lines that tells something.
fn pieces(value: &[u8]) -> Vec<&[u8]> {
    let whole = value.trim_ascii();
    if whole.len() < SHORTEST {
        return vec![];
    }
    let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines =
        lines.filter(|line| line.len() >= SHORTEST_LINE && line.len() < whole.len() && !line.starts_with(b"-----"));
    std::iter::once(whole).chain(lines).collect()
}

fn encoded(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![];
    for alphabet in [&STANDARD, &URL_SAFE] {
        all.extend((0..3).map(|offset| base64_within(value, offset, alphabet)));
    }
    let hex = hex::encode(value);
    all.push(hex.to_ascii_uppercase().into_bytes());
    all.push(hex.into_bytes());
    all.extend(percent(value));
    all.extend([", ", " "].map(|between| numbers(value, between)));
    all.extend(std::str::from_utf8(value).into_iter().flat_map(json));
    all
}

/// The characters that are decided by `value` alone when it stands `offset` bytes into an encoded text.
fn base64_within(value: &[u8], offset: usize, alphabet: &Alphabet) -> Vec<u8> {
    let mut shifted = vec![0; offset];
    shifted.extend_from_slice(value);
    let text = GeneralPurpose::new(alphabet, NO_PAD).encode(&shifted);
    let first = (offset * 8).div_ceil(6);
    let last = (shifted.len() * 8) / 6;
    text.as_bytes().get(first..last).unwrap_or_default().to_vec()
}

/// Percent-encoded with either case of digits, and with `+` for a space.
fn percent(value: &[u8]) -> [Vec<u8>; 3] {
    let spell = |upper: bool, plus: bool| {
        let mut text = String::new();
        for byte in value {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(*byte)),
                b' ' if plus => text.push('+'),
                _ => push_hex(&mut text, "%", u32::from(*byte), 2, upper),
            }
        }
        text.into_bytes()
    };
    [spell(true, false), spell(false, false), spell(true, true)]
}

/// As Rust and Python write it, as Python does when it keeps to ASCII, and as Go does, which also spells `<`, `>`, `&`.
fn json(text: &str) -> [Vec<u8>; 3] {
    let spell = |ascii: bool, html: bool| {
        let mut out = String::new();
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '<' | '>' | '&' if html => push_hex(&mut out, "\\u", u32::from(letter), 4, false),
                _ if letter < ' ' || (ascii && !letter.is_ascii()) => {
                    letter
                        .encode_utf16(&mut [0; 2])
                        .iter()
                        .for_each(|unit| push_hex(&mut out, "\\u", u32::from(*unit), 4, false));
                }
                _ => out.push(letter),
            }
        }
        out.into_bytes()
    };
    [spell(false, false), spell(true, false), spell(false, true)]
}

fn numbers(value: &[u8], between: &str) -> Vec<u8> {
    value.iter().map(u8::to_string).collect::<Vec<_>>().join(between).into_bytes()
}

fn push_hex(text: &mut String, prefix: &str, number: u32, width: usize, upper: bool) {
    text.push_str(prefix);
    text.push_str(&if upper { format!("{number:0width$X}") } else { format!("{number:0width$x}") });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(spellings: &[Vec<u8>], text: &str) -> bool {
        spellings.iter().any(|spelling| text.as_bytes().windows(spelling.len()).any(|window| window == spelling))
    }

    #[test]
    fn base64_is_known_wherever_the_secret_stands_in_the_encoded_text() {
        let spellings = spellings(b"correct horse battery");
        let spellings: Vec<_> = spellings.into_iter().filter(|spelling| !spelling.contains(&b' ')).collect();

        for before in 0..7 {
            for after in 0..4 {
                let text = format!("{}correct horse battery{}", "x".repeat(before), "y".repeat(after));
                let encoded = base64::engine::general_purpose::STANDARD.encode(text);
                assert!(holds(&spellings, &encoded), "{before} bytes before, {after} after: {encoded}");
            }
        }
    }

    #[test]
    fn a_value_is_known_as_hex_in_urls_and_in_json_of_three_languages() {
        let spellings = spellings("a&b \"ü\"\\c".as_bytes());

        for text in [
            "6126622022c3bc225c63",
            "6126622022C3BC225C63",
            "a%26b%20%22%C3%BC%22%5Cc",
            "a%26b%20%22%c3%bc%22%5cc",
            "a%26b+%22%C3%BC%22%5Cc",
            "a&b \\\"ü\\\"\\\\c",
            "a&b \\\"\\u00fc\\\"\\\\c",
            "a\\u0026b \\\"ü\\\"\\\\c",
        ] {
            assert!(holds(&spellings, text), "{text}");
        }
    }

    #[test]
    fn each_line_of_a_private_key_counts_but_its_header_does_not() {
        let key = b"-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAAADAQAB\nshort\n-----END KEY-----\n";

        let spellings = spellings(key);

        assert!(spellings.contains(&b"AAAAB3NzaC1yc2EAAAADAQAB".to_vec()));
        assert!(!spellings.contains(&b"-----BEGIN KEY-----".to_vec()));
        assert!(!spellings.contains(&b"short".to_vec()));
    }

    #[test]
    fn a_value_that_is_too_short_blackens_nothing() {
        assert_eq!(spellings(b"abc"), Vec::<Vec<u8>>::new());
        assert_eq!(spellings(b"\n"), Vec::<Vec<u8>>::new());
    }
}
