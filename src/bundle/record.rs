//! One chunk as it lies in a volume: a header that says what follows, and the bytes, compressed where that helps.
//!
//! The digest is over the uncompressed content. What is read is held against bounds before anything is allocated, and
//! against the digest before anything is believed.

use std::fmt;

use crate::failure::Failure;
use crate::fingerprint::Digest;

/// The size of every chunk of a file but its last one.
///
/// # Why
/// Chunks are cut at fixed offsets. Nearly all that a bundle carries is compressed before it gets here (`.tar.zst`, layers,
/// RPMs, wheels, zips) and differs as a whole from version to version, so that cutting by content finds nothing more; and a
/// fixed size lets the reader check the length of every chunk before it is read. (2026-11-30)
pub const CHUNK: usize = 1 << 20;
/// The header of a record.
pub const HEADER: usize = 52;
/// What a record begins with; found by it behind a damaged one.
pub const MAGIC: [u8; 8] = *b"\x89SREchk\n";
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const LEVEL: i32 = 3;
/// Of what is tried first, to see whether compressing helps.
const SAMPLE: usize = 32 << 10;

/// What a record says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub digest: Digest,
    compressed: bool,
    /// As it lies there.
    pub stored: u32,
    /// As it was.
    pub plain: u32,
}

/// Why a record is no chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Missing,
    Truncated,
    /// It is another content than it says.
    Altered,
    Unreadable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Truncated => f.write_str("is cut off"),
            Self::Altered => f.write_str("is damaged"),
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
        }
    }
}

impl Header {
    /// Reads a header; `None` where it is none, or claims what cannot be.
    pub fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        let (kind, rest) = rest.split_at(4);
        let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let (stored, plain) = (number(0)?, number(4)?);
        let compressed = match kind {
            [PLAIN, 0, 0, 0] if stored == plain => false,
            [ZSTD, 0, 0, 0] if stored < plain => true,
            _ => return None,
        };
        let is_sane = magic == MAGIC && plain > 0 && plain as usize <= CHUNK;
        let digest = Digest::parse(&hex::encode(rest.get(8..)?))?;
        is_sane.then_some(Self { digest, compressed, stored, plain })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[if self.compressed { ZSTD } else { PLAIN }, 0, 0, 0]);
        bytes.extend_from_slice(&self.stored.to_le_bytes());
        bytes.extend_from_slice(&self.plain.to_le_bytes());
        bytes.extend_from_slice(&hex::decode(self.digest.as_str()).unwrap_or_default());
        bytes
    }

    /// The chunk of the bytes that follow the header.
    ///
    /// # Errors
    /// They are another content, or would become more than the header says.
    pub fn open(&self, stored: Vec<u8>) -> Result<Vec<u8>, Fault> {
        if stored.len() != self.stored as usize {
            return Err(Fault::Truncated);
        }
        let plain = match self.compressed {
            false => stored,
            // Never writes beyond what the header says: a bomb ends here.
            true => zstd::bulk::decompress(&stored, self.plain as usize).map_err(|_| Fault::Altered)?,
        };
        let is_right = plain.len() == self.plain as usize && Digest::of(&plain) == self.digest;
        if is_right { Ok(plain) } else { Err(Fault::Altered) }
    }
}

/// The whole record of a chunk.
///
/// # Errors
/// A bug: it is empty or too large.
pub fn pack(digest: &Digest, chunk: &[u8]) -> Result<Vec<u8>, Failure> {
    if chunk.is_empty() || chunk.len() > CHUNK {
        return Err(Failure::bug(format!("a chunk has {} bytes", chunk.len())));
    }
    let compressed = if helps(chunk) { compressed(chunk, LEVEL) } else { None };
    let stored = compressed.as_deref().unwrap_or(chunk);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let header = Header {
        digest: digest.clone(),
        compressed: compressed.is_some(),
        stored: length(stored),
        plain: length(chunk),
    };
    let mut record = header.bytes();
    record.extend_from_slice(stored);
    Ok(record)
}

/// Whether a piece from the middle gets smaller, at a fraction of the cost.
fn helps(chunk: &[u8]) -> bool {
    let from = (chunk.len() / 2).saturating_sub(SAMPLE / 2);
    let sample = &chunk[from..chunk.len().min(from + SAMPLE)];
    compressed(sample, 1).is_some_and(|small| small.len() < sample.len() - sample.len() / 32)
}

/// `None` where it does not get smaller.
fn compressed(bytes: &[u8], level: i32) -> Option<Vec<u8>> {
    zstd::bulk::compress(bytes, level).ok().filter(|small| small.len() < bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(record: &[u8]) -> (Header, Vec<u8>) {
        let header = record[..HEADER].try_into().expect("a header");
        (Header::parse(&header).expect("a header"), record[HEADER..].to_vec())
    }

    #[test]
    fn a_chunk_survives_its_record_compressed_or_not() {
        let noise: Vec<u8> =
            (0..4096_u32).flat_map(|n| Digest::of(&n.to_le_bytes()).as_str().as_bytes()[..3].to_vec()).collect();
        let noise = hex::decode(&noise[..noise.len() / 2 * 2]).expect("hex");
        for (chunk, is_smaller) in [(vec![7; CHUNK], true), (noise, false), (vec![1], false)] {
            let record = pack(&Digest::of(&chunk), &chunk).expect("packed");
            let (header, stored) = parts(&record);

            assert_eq!(stored.len() < chunk.len(), is_smaller, "{} bytes", chunk.len());
            assert_eq!(header.open(stored).expect("opened"), chunk);
        }
    }

    #[test]
    fn a_flipped_bit_a_missing_end_and_a_bomb_are_no_chunk() {
        let chunk = vec![7; CHUNK];
        let (header, stored) = parts(&pack(&Digest::of(&chunk), &chunk).expect("packed"));
        let mut flipped = stored.clone();
        *flipped.last_mut().expect("bytes") ^= 1;
        let bomb = zstd::bulk::compress(&vec![0; CHUNK * 8], 3).expect("compressed");
        let claimed = Header { stored: bomb.len() as u32, ..header.clone() };

        assert_eq!(header.open(flipped), Err(Fault::Altered));
        assert_eq!(header.open(stored[1..].to_vec()), Err(Fault::Truncated));
        assert_eq!(claimed.open(bomb), Err(Fault::Altered));
    }

    #[test]
    fn a_header_that_claims_what_cannot_be_is_none() {
        let chunk = vec![7; 64];
        let record = pack(&Digest::of(&chunk), &chunk).expect("packed");
        let changed = |at: usize, to: u8| {
            let mut header: [u8; HEADER] = record[..HEADER].try_into().expect("a header");
            header[at] = to;
            Header::parse(&header)
        };

        assert!(changed(0, 0x89).is_some(), "unchanged");
        for (at, to) in [(0, 0), (8, 2), (9, 1), (12, 0xff), (16, 0), (18, 0xff)] {
            assert_eq!(changed(at, to), None, "byte {at}");
        }
    }
}
