//! Lays a bundle out below an environment's state.
//!
//! Each file is written under its digest in `.partial/`, chunk by chunk, each held against its digest; only when all of them
//! are whole do they get their names. Stopped anywhere, the next load goes on behind the last right chunk of each.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::bundle::manifest::{FileEntry, MANIFEST, Manifest, SIGNATURE};
use crate::bundle::open::{Opened, Wrong, refused, stopped};
use crate::bundle::ordered::ordered;
use crate::bundle::record::{CHUNK, Fault};
use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::stop::Stop;
use crate::units::ByteSize;
use crate::workspace::{Disk, Growing, make_dir, put_in_place, remove, remove_tree, require_space, write_atomic_on};

const PARTIAL: &str = ".partial";

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub files: usize,
    /// Files that were there already and are as they should be.
    pub kept: usize,
    /// Files of an earlier bundle that this one does not have.
    pub removed: usize,
}

/// The manifest of what was loaded last; `None` where nothing was.
pub fn loaded_manifest(dir: &Path) -> Option<Manifest> {
    // Our own copy of what was verified then. One that does not parse counts as none: everything is written anew.
    Manifest::parse(&std::fs::read(dir.join(MANIFEST)).ok()?).ok()
}

/// The chunks of what was loaded last, each of a file that is still whole and right. Blocks the thread.
pub fn loaded_chunks(dir: &Path) -> BTreeSet<Digest> {
    let manifest = loaded_manifest(dir);
    let files = manifest.iter().flat_map(|manifest| manifest.files.iter().map(|file| (&manifest.rke2.version, file)));
    let right = files.filter(|(release, file)| is_right(&dir.join(place(release, file)), file));
    right.flat_map(|(_, file)| file.chunks.iter().cloned()).collect()
}

/// Lets chunks be read from what was loaded before, too: a bundle may bring only what was not there.
pub fn add_loaded(opened: &mut Opened, dir: &Path) {
    let Some(earlier) = loaded_manifest(dir) else { return };
    for file in &earlier.files {
        opened.chunks.add_file(&dir.join(place(&earlier.rke2.version, file)), &file.chunks);
    }
}

/// Lays `opened` out in `dir`. Blocks the thread.
///
/// # Errors
/// Exit 1: chunks are missing or damaged, each of which is named; there is no room.
pub fn load(disk: &dyn Disk, opened: &Opened, dir: &Path, stop: &Stop) -> Result<Loaded, Failure> {
    let partial = dir.join(PARTIAL);
    make_dir(disk, &partial, 0o755)?;
    let earlier = loaded_manifest(dir);
    let release = opened.manifest.rke2.version.clone();
    complete(opened)?;
    let (standing, wanted): (Vec<_>, Vec<_>) =
        opened.manifest.files.iter().partition(|file| is_right(&dir.join(place(&release, file)), file));
    let bytes = wanted.iter().map(|file| file.size).sum();
    require_space(dir, ByteSize(bytes), "the bundle")?;
    write_files(disk, opened, &wanted, &partial, stop)?;
    for file in &wanted {
        let target = dir.join(place(&release, file));
        make_dir(disk, target.parent().unwrap_or(dir), 0o755)?;
        put_in_place(disk, &under_digest(&partial, file), &target)?;
    }
    let removed = sweep(disk, opened, earlier.as_ref(), dir)?;
    write_atomic_on(disk, &dir.join(MANIFEST), &opened.bytes, 0o644)?;
    write_atomic_on(disk, &dir.join(SIGNATURE), &opened.signature, 0o644)?;
    remove_tree(&partial)?;
    Ok(Loaded { files: opened.manifest.files.len(), kept: standing.len(), removed })
}

fn place(release: &str, file: &FileEntry) -> PathBuf {
    file.kind.place(release, &file.name)
}

/// Two files may have the same content, and different modes.
fn under_digest(partial: &Path, file: &FileEntry) -> PathBuf {
    let name = Digest::of_value(&(file.kind, &file.name, &file.sha256));
    partial.join(name.as_str())
}

/// # Errors
/// A chunk is nowhere; told before anything is written.
fn complete(opened: &Opened) -> Result<(), Failure> {
    let wanted = opened.manifest.chunks();
    let of = wanted.len();
    let missing = wanted.into_iter().filter(|(digest, _)| !opened.chunks.has(digest));
    let missing: Vec<Wrong> = missing
        .map(|(digest, (_, file))| Wrong { digest: digest.clone(), fault: Fault::Missing, file: file.name.to_string() })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(refused(&missing, of)) }
}

/// Whether a file lies there whole and right.
fn is_right(path: &Path, file: &FileEntry) -> bool {
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == file.size);
    is_file && right_chunks(path, file) == file.chunks.len()
}

/// How many chunks at the beginning of a file are right.
fn right_chunks(path: &Path, file: &FileEntry) -> usize {
    let Ok(open) = File::open(path) else { return 0 };
    let is_right = |(index, digest): &(usize, &Digest)| {
        let mut bytes = vec![0; file.chunk_size(*index)];
        let offset = *index as u64 * CHUNK as u64;
        open.read_exact_at(&mut bytes, offset).is_ok() && Digest::of(&bytes) == **digest
    };
    file.chunks.iter().enumerate().take_while(is_right).count()
}

/// One chunk to be written: which file, which of its chunks.
type Step = (usize, usize);

fn write_files(
    disk: &dyn Disk,
    opened: &Opened,
    files: &[&FileEntry],
    partial: &Path,
    stop: &Stop,
) -> Result<(), Failure> {
    let begun: Vec<usize> = files.iter().map(|file| right_chunks(&under_digest(partial, file), file)).collect();
    let steps = files.iter().zip(&begun).enumerate().flat_map(|(at, (file, begun))| {
        // A file without content has a step of its own: it is made.
        let end = file.chunks.len().max(begun + 1);
        (*begun..end).map(move |index| (at, index))
    });
    let feed = steps.map(|step| if stop.is_asked() { Err(stopped("it was loaded")) } else { Ok(step) });
    let read = |(at, index): Step| {
        let file = files[at];
        let chunk = file.chunks.get(index).map(|digest| opened.chunks.read(digest, file.chunk_size(index)));
        Ok((at, index, chunk.transpose()))
    };
    let mut sink = Sink { disk, partial, files, begun: &begun, current: None, wrong: vec![] };
    ordered(feed, read, |(at, index, chunk)| sink.take(at, index, chunk))?;
    sink.finish(opened.manifest.chunks().len())
}

struct Sink<'a> {
    disk: &'a dyn Disk,
    partial: &'a Path,
    files: &'a [&'a FileEntry],
    begun: &'a [usize],
    current: Option<(usize, Growing)>,
    wrong: Vec<Wrong>,
}

impl Sink<'_> {
    fn take(&mut self, at: usize, index: usize, chunk: Result<Option<Vec<u8>>, Fault>) -> Result<(), Failure> {
        let file = self.files[at];
        if self.current.as_ref().is_some_and(|(current, _)| *current != at)
            && let Some((_, done)) = self.current.take()
        {
            done.finish(self.disk)?;
        }
        let fault = match chunk {
            Ok(chunk) => {
                // Behind a chunk that is wrong nothing is written: the next load goes on there.
                if !self.wrong.iter().any(|wrong| wrong.file == file.name.as_str()) {
                    let disk = self.disk;
                    self.growing(at, file)?.append(disk, &chunk.unwrap_or_default())?;
                }
                return Ok(());
            }
            Err(fault) => fault,
        };
        let digest = file.chunks.get(index).cloned().unwrap_or_else(|| file.sha256.clone());
        self.wrong.push(Wrong { digest, fault, file: file.name.to_string() });
        Ok(())
    }

    fn growing(&mut self, at: usize, file: &FileEntry) -> Result<&mut Growing, Failure> {
        let current = match self.current.take() {
            Some(current) => current,
            None => {
                let length = self.begun[at] as u64 * CHUNK as u64;
                let mode = file.kind.mode(&file.name);
                (at, Growing::open(self.disk, &under_digest(self.partial, file), length.min(file.size), mode)?)
            }
        };
        Ok(&mut self.current.insert(current).1)
    }

    fn finish(self, of: usize) -> Result<(), Failure> {
        if let Some((_, done)) = self.current {
            done.finish(self.disk)?;
        }
        if self.wrong.is_empty() { Ok(()) } else { Err(refused(&self.wrong, of)) }
    }
}

/// Removes what an earlier bundle brought and this one does not have. Images and packages are many, and old ones only fill
/// the disk; what is of another release stays out of reach of the new one.
fn sweep(disk: &dyn Disk, opened: &Opened, earlier: Option<&Manifest>, dir: &Path) -> Result<usize, Failure> {
    let Some(earlier) = earlier else { return Ok(0) };
    let now = &opened.manifest;
    let places: BTreeSet<PathBuf> = now.files.iter().map(|file| place(&now.rke2.version, file)).collect();
    let old = earlier.files.iter().map(|file| place(&earlier.rke2.version, file)).filter(|old| !places.contains(old));
    let mut removed = 0;
    for old in old {
        remove(disk, &dir.join(old))?;
        removed += 1;
    }
    Ok(removed)
}
