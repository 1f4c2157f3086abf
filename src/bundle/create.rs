//! Writes a bundle: the files into chunks, the chunks into volumes, and last the manifest with its signature.
//!
//! A directory without a signature is no bundle yet. Whoever is stopped before that goes on with the chunks that are there:
//! each is read again and held against its digest, and only the others are written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use aws_lc_rs::digest::{Context, SHA256};

use crate::bundle::manifest::{FileEntry, MANIFEST, Manifest, SIGNATURE};
use crate::bundle::name::{FileKind, Name};
use crate::bundle::open::{sound, stopped};
use crate::bundle::ordered::ordered;
use crate::bundle::prune::prune;
use crate::bundle::record::{CHUNK, pack};
use crate::bundle::sign::SigningKey;
use crate::bundle::volume::{Chunks, Writer, volumes_in};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::stop::Stop;
use crate::workspace::{Disk, make_dir, write_atomic_on};

/// A file that goes into a bundle.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: FileKind,
    pub name: Name,
    pub from: PathBuf,
    /// What it was checked to be.
    pub sha256: Option<Digest>,
}

/// How a bundle is written.
pub struct Order<'a> {
    pub to: &'a Path,
    /// No file of it gets this large.
    pub split: u64,
    /// Chunks that need not travel.
    pub have: BTreeSet<Digest>,
    pub stop: &'a Stop,
}

/// What came of it.
#[derive(Debug)]
pub struct Made {
    pub manifest: Manifest,
    /// Chunks that were written, those that were there already, and those that need not travel.
    pub written: usize,
    pub kept: usize,
    pub left_out: usize,
    /// Chunks of an earlier try that no file has any more, and that are gone from the volumes.
    pub removed: usize,
    /// Of those, what stays for want of room; nobody reads them.
    pub unused: usize,
}

/// Writes a bundle of these files; `describe` makes the manifest of their entries. Blocks the thread.
///
/// # Errors
/// The directory holds a bundle already; a file cannot be read, or is not what it was; the disk is full.
pub fn create(
    disk: &dyn Disk,
    order: &Order<'_>,
    key: &SigningKey,
    items: Vec<Item>,
    describe: impl FnOnce(Vec<FileEntry>) -> Manifest,
) -> Result<Made, Failure> {
    make_dir(disk, order.to, 0o755)?;
    if order.to.join(SIGNATURE).exists() {
        return Err(Failure::new(Exit::NotDone, format!("`{}` holds a bundle already", order.to.display()))
            .hint("name another directory, or remove that one first"));
    }
    let there = intact(order)?;
    let earlier = there.clone();
    let writer = Writer::open(disk, order.to, order.split)?;
    let mut sink = Sink { writer, items: items.iter().map(Taken::of).collect(), written: 0, left_out: BTreeSet::new() };
    let known = Mutex::new(there);
    let work = |piece: Piece| piece.packed(&known, &order.have);
    ordered(Feed::new(&items, order.stop), work, |packed| sink.take(packed))?;
    let Sink { writer, items: taken, written, left_out } = sink;
    writer.finish()?;
    let mut files =
        items.into_iter().zip(taken).map(|(item, taken)| taken.entry(item)).collect::<Result<Vec<_>, _>>()?;
    files.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    let manifest = describe(files);
    let bytes = manifest.encode()?;
    Manifest::parse(&bytes)
        .map_err(|failure| Failure::bug("a bundle was described that cannot be").because(failure))?;
    let unused: BTreeSet<Digest> = {
        let chunks = manifest.chunks();
        earlier.iter().filter(|digest| !chunks.contains_key(digest)).cloned().collect()
    };
    let removed = if unused.is_empty() { 0 } else { prune(disk, order.to, &unused, order.stop)?.len() };
    write_atomic_on(disk, &order.to.join(MANIFEST), &bytes, 0o644)?;
    write_atomic_on(disk, &order.to.join(SIGNATURE), key.sign(&bytes)?.as_bytes(), 0o644)?;
    let (kept, unused) = (earlier.len() - unused.len(), unused.len() - removed);
    Ok(Made { manifest, written, kept, left_out: left_out.len(), removed, unused })
}

/// The chunks that an earlier program has written whole.
pub fn intact(order: &Order<'_>) -> Result<BTreeSet<Digest>, Failure> {
    if volumes_in(order.to)?.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut chunks = Chunks::default();
    chunks.add_directory(order.to)?;
    sound(&chunks, order.stop)
}

/// A piece of a file, or its end.
enum Piece {
    Chunk { item: usize, bytes: Vec<u8> },
    End { item: usize, sha256: Digest },
}

/// A piece that was worked on. A chunk that is there already, or need not travel, has no record.
enum Packed {
    Chunk { item: usize, digest: Digest, length: usize, record: Option<Vec<u8>>, travels: bool },
    End { item: usize, sha256: Digest },
}

impl Piece {
    fn packed(self, known: &Mutex<BTreeSet<Digest>>, have: &BTreeSet<Digest>) -> Result<Packed, Failure> {
        match self {
            Self::End { item, sha256 } => Ok(Packed::End { item, sha256 }),
            Self::Chunk { item, bytes } => {
                let (digest, length) = (Digest::of(&bytes), bytes.len());
                let travels = !have.contains(&digest);
                let is_new = travels && known.lock().is_ok_and(|mut known| known.insert(digest.clone()));
                let record = if is_new { Some(pack(&digest, &bytes)?) } else { None };
                Ok(Packed::Chunk { item, digest, length, record, travels })
            }
        }
    }
}

/// Reads the files piece by piece; knows at the end of each what it was as a whole.
struct Feed<'a> {
    items: &'a [Item],
    stop: &'a Stop,
    at: usize,
    open: Option<(File, Context)>,
}

impl<'a> Feed<'a> {
    fn new(items: &'a [Item], stop: &'a Stop) -> Self {
        Self { items, stop, at: 0, open: None }
    }

    fn piece(&mut self, item: &Item) -> Result<Piece, Failure> {
        if self.stop.is_asked() {
            return Err(stopped("it was written"));
        }
        let unreadable = |error: std::io::Error| {
            Failure::new(Exit::NotDone, format!("cannot read `{}`", item.from.display())).because(error)
        };
        let (mut file, mut context) = match self.open.take() {
            Some(open) => open,
            None => (File::open(&item.from).map_err(unreadable)?, Context::new(&SHA256)),
        };
        let mut bytes = Vec::with_capacity(CHUNK);
        (&mut file).take(CHUNK as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        if !bytes.is_empty() {
            context.update(&bytes);
            self.open = Some((file, context));
            return Ok(Piece::Chunk { item: self.at, bytes });
        }
        let sha256 = Digest::parse(&hex::encode(context.finish())).ok_or_else(|| Failure::bug("a digest is none"))?;
        if item.sha256.as_ref().is_some_and(|expected| *expected != sha256) {
            return Err(Failure::new(Exit::NotDone, format!("`{}` has a wrong checksum", item.name))
                .because(format!("`{}` was changed while it was read", item.from.display())));
        }
        self.at += 1;
        Ok(Piece::End { item: self.at - 1, sha256 })
    }
}

impl Iterator for Feed<'_> {
    type Item = Result<Piece, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.get(self.at)?;
        Some(self.piece(item))
    }
}

/// What was taken of a file so far.
struct Taken {
    size: u64,
    chunks: Vec<Digest>,
    sha256: Option<Digest>,
}

impl Taken {
    fn of(_: &Item) -> Self {
        Self { size: 0, chunks: vec![], sha256: None }
    }

    fn entry(self, item: Item) -> Result<FileEntry, Failure> {
        let sha256 = self.sha256.ok_or_else(|| Failure::bug(format!("`{}` was not read to its end", item.name)))?;
        Ok(FileEntry { kind: item.kind, name: item.name, size: self.size, sha256, chunks: self.chunks })
    }
}

/// Where the pieces go, in their order.
struct Sink<'a> {
    writer: Writer<'a>,
    items: Vec<Taken>,
    written: usize,
    left_out: BTreeSet<Digest>,
}

impl Sink<'_> {
    fn take(&mut self, packed: Packed) -> Result<(), Failure> {
        let of = |items: &mut Vec<Taken>, item: usize| match items.len() > item {
            true => Ok(item),
            false => Err(Failure::bug("a piece belongs to no file")),
        };
        match packed {
            Packed::End { item, sha256 } => {
                let item = of(&mut self.items, item)?;
                self.items[item].sha256 = Some(sha256);
            }
            Packed::Chunk { item, digest, length, record, travels } => {
                let item = of(&mut self.items, item)?;
                if let Some(record) = record {
                    self.writer.append(&record)?;
                    self.written += 1;
                }
                if !travels {
                    self.left_out.insert(digest.clone());
                }
                self.items[item].size += length as u64;
                self.items[item].chunks.push(digest);
            }
        }
        Ok(())
    }
}
