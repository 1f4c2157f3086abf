//! What a bundle says of itself: its files with their chunks, its line and version. Canonical JSON (RFC 8785), signed.
//!
//! A manifest is parsed only after its signature was checked, and held to its form even then: names are plain and of the
//! shape that their kind has, every size follows from the chunks, nothing stands twice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bundle::name::{FileKind, Name};
use crate::bundle::record::CHUNK;
use crate::environment::Cni;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// The file of the manifest, and that of its signature.
pub const MANIFEST: &str = "manifest.json";
pub const SIGNATURE: &str = "manifest.sig";
/// What this program writes and reads.
const FORMAT: u32 = 1;
/// About 300 GiB of chunks.
pub const LONGEST: u64 = 32 << 20;
const MOST_FILES: usize = 100_000;
/// The largest number that every reader of JSON takes as it is.
const LARGEST: u64 = (1 << 53) - 1;

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// What the versions are of: the environment that it was made for.
    pub line: String,
    /// Only grows along a line.
    pub version: u64,
    pub created: Timestamp,
    /// The version of the program that made it.
    pub program: String,
    pub rke2: Release,
    /// What was left out on demand, such as `packer`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<String>,
    /// Container images; their parts are files of the kind `blob`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageEntry>,
    /// Sorted by kind and name.
    pub files: Vec<FileEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub version: String,
    pub cni: Cni,
}

/// A container image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// As a manifest of Kubernetes names it, without the digest.
    pub reference: String,
    /// Of its manifest or index, which is a blob.
    pub digest: Digest,
    pub media_type: String,
    pub size: u64,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub kind: FileKind,
    pub name: Name,
    pub size: u64,
    pub sha256: Digest,
    pub chunks: Vec<Digest>,
}

impl FileEntry {
    /// How long the chunk at this place is.
    pub fn chunk_size(&self, index: usize) -> usize {
        let before = index as u64 * CHUNK as u64;
        usize::try_from(self.size.saturating_sub(before)).unwrap_or(CHUNK).min(CHUNK)
    }

    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<String> {
        if !self.kind.has_form(&self.name) {
            return Some(format!("`{}` is no name of a {}", self.name, self.kind));
        }
        let chunks = self.size.div_ceil(CHUNK as u64);
        if self.size > LARGEST || chunks != self.chunks.len() as u64 {
            return Some(format!("`{}` has {} bytes in {} chunks", self.name, self.size, self.chunks.len()));
        }
        let is_one = self.chunks.len() == 1 && self.chunks.first() != Some(&self.sha256);
        let is_other = self.kind == FileKind::Blob && self.name.as_str() != self.sha256.as_str();
        (is_one || is_other).then(|| format!("`{}` has another digest than its content", self.name))
    }
}

impl Manifest {
    pub fn new(line: &str, version: u64, rke2: Release, files: Vec<FileEntry>) -> Self {
        let created = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let (line, program) = (line.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let (without, images) = (BTreeSet::new(), vec![]);
        Self { format: FORMAT, line, version, created, program, rke2, without, images, files }
    }

    /// Reads a manifest whose signature was checked.
    ///
    /// # Errors
    /// Exit 1: it is of a newer format, or not in the form that this program writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let refused =
            |cause: String| Failure::new(Exit::NotDone, "the manifest of the bundle cannot be read").because(cause);
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        match value["format"].as_u64() {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) if format > u64::from(FORMAT) => {
                return Err(refused(format!("it has format {format}; this program knows {FORMAT}"))
                    .hint("use a newer sre-provision"));
            }
            Some(_) | None => return Err(refused("it does not say its format".to_owned())),
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| refused(error.to_string()))?;
        if manifest.encode()? != bytes {
            return Err(refused("it is no canonical JSON (RFC 8785)".to_owned()));
        }
        match manifest.fault() {
            None => Ok(manifest),
            Some(fault) => Err(refused(fault)),
        }
    }

    /// The bytes that are signed.
    pub fn encode(&self) -> Result<Vec<u8>, Failure> {
        serde_json_canonicalizer::to_vec(self).map_err(|error| Failure::bug("a manifest is no JSON").because(error))
    }

    fn fault(&self) -> Option<String> {
        if !(1..=LARGEST).contains(&self.version) {
            return Some(format!("its version is {}", self.version));
        }
        if crate::workspace::check_name(&self.line).is_err() {
            return Some(format!("its line is `{}`", self.line.escape_debug()));
        }
        if self.files.len() > MOST_FILES {
            return Some(format!("it has {} files", self.files.len()));
        }
        let is_sorted = |pair: &[FileEntry]| match pair {
            [one, other] => (one.kind, &one.name) < (other.kind, &other.name),
            _ => true,
        };
        if !self.files.windows(2).all(is_sorted) {
            return Some("its files are not in order, or one stands there twice".to_owned());
        }
        if let Some(fault) = self.files.iter().find_map(FileEntry::fault) {
            return Some(fault);
        }
        let lost = |image: &&ImageEntry| self.file(FileKind::Blob, image.digest.as_str()).is_none();
        self.images.iter().find(lost).map(|image| format!("`{}` has no blob", image.reference))
    }

    pub fn file(&self, kind: FileKind, name: &str) -> Option<&FileEntry> {
        let found = self.files.binary_search_by(|file| (file.kind, file.name.as_str()).cmp(&(kind, name)));
        self.files.get(found.ok()?)
    }

    pub fn of_kind(&self, kind: FileKind) -> impl Iterator<Item = &FileEntry> {
        self.files.iter().filter(move |file| file.kind == kind)
    }

    /// Each chunk once, with its length and a file that it belongs to.
    pub fn chunks(&self) -> BTreeMap<&Digest, (usize, &FileEntry)> {
        let of = |file| {
            let file: &FileEntry = file;
            file.chunks.iter().enumerate().map(move |(index, digest)| (digest, (file.chunk_size(index), file)))
        };
        self.files.iter().flat_map(of).collect()
    }

    /// The bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let text = b"<64 hex>  rke2.linux-amd64.tar.gz\n";
        let digest = Digest::of(text);
        let file = FileEntry {
            kind: FileKind::Release,
            name: Name::parse("sha256sum-amd64.txt").expect("a name"),
            size: text.len() as u64,
            sha256: digest.clone(),
            chunks: vec![digest],
        };
        let release = Release { version: "v1.35.4+rke2r1".to_owned(), cni: Cni::Canal };
        let mut manifest = Manifest::new("airgap", 7, release, vec![file]);
        manifest.created = "2026-11-30T04:00:00Z".parse().expect("a time");
        manifest
    }

    /// Why a manifest with this member otherwise is refused.
    fn refused(path: &str, value: serde_json::Value) -> String {
        let mut changed = serde_json::to_value(manifest()).expect("JSON");
        *changed.pointer_mut(path).expect("a member") = value;
        let bytes = serde_json_canonicalizer::to_vec(&changed).expect("JSON");
        Manifest::parse(&bytes).expect_err("refused").causes().concat()
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_in_no_other_spelling() {
        let bytes = manifest().encode().expect("written");
        let spaced = [&bytes[..], b"\n"].concat();

        assert_eq!(Manifest::parse(&bytes).expect("read"), manifest());
        let failure = Manifest::parse(&spaced).expect_err("refused");
        assert_eq!(
            (failure.exit(), failure.causes()),
            (Exit::NotDone, &["it is no canonical JSON (RFC 8785)".to_owned()][..])
        );
    }

    #[test]
    fn a_newer_format_asks_for_a_newer_program() {
        assert_eq!(refused("/format", 2.into()), "it has format 2; this program knows 1");
        assert_eq!(refused("/format", "x".into()), "it does not say its format");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let other = Digest::of(b"other").to_string();
        assert_eq!(refused("/files/0/size", 0.into()), "`sha256sum-amd64.txt` has 0 bytes in 1 chunks");
        assert_eq!(
            refused("/files/0/chunks/0", other.into()),
            "`sha256sum-amd64.txt` has another digest than its content"
        );
        assert_eq!(refused("/files/0/name", "passwd".into()), "`passwd` is no name of a release file");
        assert_eq!(refused("/version", 0.into()), "its version is 0");
        assert_eq!(refused("/line", "../x".into()), "its line is `../x`");
    }

    #[test]
    fn a_file_that_stands_there_twice_is_refused() {
        let mut twice = manifest();
        twice.files.push(twice.files[0].clone());

        let failure = Manifest::parse(&twice.encode().expect("written")).expect_err("refused");

        assert_eq!(failure.causes(), ["its files are not in order, or one stands there twice"]);
    }
}
