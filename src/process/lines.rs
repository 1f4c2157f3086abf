//! Cuts bytes into lines that are safe to show: valid UTF-8, no control characters, of bounded length.

/// What is longer is cut, so that a program that prints no line end costs no memory.
const LONGEST: usize = 4 << 20;

/// Holds the unfinished line of one stream.
#[derive(Default)]
pub(super) struct Lines {
    open: Vec<u8>,
    left_out: usize,
}

impl Lines {
    /// Takes the next bytes and gives each finished line to `on_line`.
    pub(super) fn feed(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.push(&rest[..end]);
            self.give(on_line);
            rest = &rest[end + 1..];
        }
        self.push(rest);
    }

    /// The stream has ended: gives the line that has no end.
    pub(super) fn finish(&mut self, on_line: &mut dyn FnMut(&str)) {
        if !self.open.is_empty() {
            self.give(on_line);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = LONGEST.saturating_sub(self.open.len()).min(bytes.len());
        self.open.extend(bytes[..room].iter().filter(|byte| **byte != 0));
        self.left_out += bytes.len() - room;
    }

    fn give(&mut self, on_line: &mut dyn FnMut(&str)) {
        let mut line = plain(&self.open);
        if self.left_out > 0 {
            line.push_str(&format!("… ({} bytes left out)", self.left_out));
        }
        self.open.clear();
        self.left_out = 0;
        on_line(&line);
    }
}

/// Text without terminal escapes and other control characters; what is not UTF-8 becomes `�`.
pub(super) fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut letters = text.trim_end_matches('\r').chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => skip_escape(&mut letters),
            '\t' => out.push('\t'),
            _ if letter.is_control() => {}
            _ => out.push(letter),
        }
    }
    out
}

/// Skips a control sequence up to its final byte (`ESC [ … m`), a string sequence up to its terminator, or one letter.
fn skip_escape(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match letters.next() {
        Some('[') => {
            letters.by_ref().find(|letter| ('@'..='~').contains(letter));
        }
        Some(']' | 'P' | '^' | '_') => {
            let mut last = ' ';
            letters.by_ref().find(|letter| {
                let is_end = *letter == '\u{7}' || (last == '\u{1b}' && *letter == '\\');
                last = *letter;
                is_end
            });
        }
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), vec![]);
        for piece in pieces {
            lines.feed(piece, &mut |line| out.push(line.to_owned()));
        }
        lines.finish(&mut |line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn lines_are_whole_however_they_arrive_and_the_last_needs_no_end() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn colours_titles_nul_bytes_and_broken_utf8_do_no_harm() {
        assert_eq!(lines(&[b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07done \0\xff\tend\x08"]), ["red done �\tend"]);
    }

    #[test]
    fn a_line_without_end_costs_bounded_memory() {
        let piece = vec![b'x'; 1 << 20];
        let pieces: Vec<&[u8]> = (0..6).map(|_| piece.as_slice()).collect();

        let out = lines(&pieces);

        assert_eq!(out.len(), 1);
        assert!(out[0].ends_with("x… (2097152 bytes left out)"), "{}", &out[0][out[0].len() - 60..]);
    }
}
