//! Changes inputs: bits, bytes, numbers, lines, words of other inputs.

/// A small fast generator (xorshift64*): the same seed gives the same inputs.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() >> 16) as usize % end }
    }

    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length - start } else { (length - start).min(16) };
        (start, start + self.below(most + 1))
    }
}

/// Longer inputs cost time and show nothing that shorter ones do not.
pub const LONGEST: usize = 8 << 10;

/// What readers stumble over.
const WORDS: [&[u8]; 48] = [
    b"0",
    b"-1",
    b"1",
    b"255",
    b"65536",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"9007199254740993",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e400",
    b"-0.0",
    b"1.5",
    b"0000000001",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b":",
    b"::",
    b",",
    b"=",
    b"=@here@",
    b"\x1b[0m",
    b"\x1b]0;x\x07",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x92\xa5",
    b"%n",
    b"../",
    b"{{",
    b"${",
    b"&a [*a,*a]",
];

/// A new input, made of one that was kept and parts of others.
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>], dictionary: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        change(random, &mut input, corpus, dictionary);
    }
    input.truncate(LONGEST);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>], dictionary: &[Vec<u8>]) {
    let length = input.len();
    match random.below(11) {
        0 if length > 0 => input[random.below(length)] ^= 1 << random.below(8),
        1 if length > 0 => input[random.below(length)] = random.next() as u8,
        2 => {
            let (start, end) = random.range(length);
            input.drain(start..end);
        }
        3 => {
            let (start, end) = random.range(length);
            let piece = input[start..end].to_vec();
            let at = random.below(length + 1);
            input.splice(at..at, piece);
        }
        4 => number(random, input),
        5 => {
            let word = WORDS[random.below(WORDS.len())];
            put(random, input, word);
        }
        6 | 7 if !dictionary.is_empty() => {
            let word = &dictionary[random.below(dictionary.len())];
            put(random, input, word);
        }
        8 => lines(random, input),
        9 => {
            let other = &corpus[random.below(corpus.len())];
            let (start, end) = random.range(other.len());
            put(random, input, &other[start..end]);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            input.truncate(random.below(length + 1));
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
    }
}

/// Puts a word between two bytes or in the place of some.
fn put(random: &mut Random, input: &mut Vec<u8>, word: &[u8]) {
    let at = random.below(input.len() + 1);
    let end = if random.below(2) == 0 { at } else { (at + word.len()).min(input.len()) };
    input.splice(at..end, word.iter().copied());
}

/// Puts another number in the place of one that stands there.
fn number(random: &mut Random, input: &mut Vec<u8>) {
    if input.is_empty() {
        return;
    }
    let from = random.below(input.len());
    let Some(start) = input[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else { return };
    let end = input[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |at| start + at);
    let word = WORDS[random.below(17)];
    input.splice(start..end, word.iter().copied());
}

/// Doubles, drops or swaps whole lines.
fn lines(random: &mut Random, input: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, two) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(3) {
        0 => lines.insert(two, lines[one].clone()),
        1 => drop(lines.remove(one)),
        _ => lines.swap(one, two),
    }
    *input = lines.join(&b'\n');
}

/// The words between quotes or blanks of some inputs, for others.
pub fn dictionary(corpus: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let is_end = |byte: &u8| b"\" \n,={}[]:".contains(byte);
    let words = corpus.iter().flat_map(|input| input.split(is_end));
    let mut words: Vec<Vec<u8>> = words.filter(|word| (2..=40).contains(&word.len())).map(<[u8]>::to_vec).collect();
    words.sort();
    words.dedup();
    words.truncate(2_000);
    words
}
