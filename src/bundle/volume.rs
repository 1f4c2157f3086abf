//! Volumes: the files of a bundle in which its chunks lie one behind the other.
//!
//! Which chunk lies where is read from the volumes themselves and not from the manifest, so that one manifest with one
//! signature is that of a bundle whole, split, and of a supplement that carries a few chunks of it. A record whose header is
//! damaged hides only itself: the next one is found by what it begins with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::record::{CHUNK, Fault, HEADER, Header, MAGIC};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{Disk, Growing};

const WINDOW: usize = 1 << 20;
/// Beyond this, numbers have more digits than the names.
const MOST: u32 = 9_999;

/// The name of a volume.
pub fn volume_name(number: u32) -> String {
    format!("chunks-{number:04}")
}

/// The numbers of the volumes in a directory. Links and what else is no file are none.
pub fn volumes_in(dir: &Path) -> Result<Vec<u32>, Failure> {
    let refused = |error: io::Error| {
        Failure::new(Exit::NotDone, format!("cannot read the bundle in `{}`", dir.display())).because(error)
    };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("chunks-")?.parse().ok());
        let is_file = entry.file_type().map_err(refused)?.is_file();
        if let Some(number) = number.filter(|number| is_file && *name == *volume_name(*number)) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The headers of a volume with their offsets, and where the last whole record ends.
#[derive(Debug, Default)]
pub struct Scan {
    pub records: Vec<(u64, Header)>,
    pub end: u64,
    /// Something lies between or behind the records that is none.
    pub is_damaged: bool,
}

/// Looks through a volume; reads headers only, as long as they are right.
pub fn scan(file: &impl FileExt, length: u64) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut at = 0;
    while at + HEADER as u64 <= length {
        let mut bytes = [0; HEADER];
        file.read_exact_at(&mut bytes, at)?;
        let whole = Header::parse(&bytes).map(|header| (at + HEADER as u64 + u64::from(header.stored), header));
        match whole {
            Some((end, header)) if end <= length => {
                scan.records.push((at, header));
                scan.end = end;
                at = end;
            }
            Some(_) | None => {
                scan.is_damaged = true;
                match next_magic(file, at + 1, length)? {
                    Some(found) => at = found,
                    None => return Ok(scan),
                }
            }
        }
    }
    scan.is_damaged |= at < length;
    Ok(scan)
}

/// Where the next record may begin.
fn next_magic(file: &impl FileExt, mut at: u64, length: u64) -> io::Result<Option<u64>> {
    let mut window = vec![0; WINDOW];
    while at + (HEADER as u64) <= length {
        let size = WINDOW.min(usize::try_from(length - at).unwrap_or(WINDOW));
        file.read_exact_at(&mut window[..size], at)?;
        if let Some(found) = window[..size].windows(MAGIC.len()).position(|bytes| bytes == MAGIC) {
            return Ok(Some(at + found as u64));
        }
        at += (size - (MAGIC.len() - 1)).max(1) as u64;
    }
    Ok(None)
}

/// Where a chunk lies.
#[derive(Clone, Debug)]
enum Place {
    Record {
        volume: usize,
        offset: u64,
        header: Header,
    },
    /// In a file that was loaded before.
    Within {
        file: Arc<PathBuf>,
        offset: u64,
    },
}

/// All chunks that can be had, by digest. One that lies in several places is read from the first that is right.
#[derive(Debug, Default)]
pub struct Chunks {
    volumes: Vec<File>,
    places: BTreeMap<Digest, Vec<Place>>,
}

impl Chunks {
    /// Adds the volumes of a directory.
    pub fn add_directory(&mut self, dir: &Path) -> Result<(), Failure> {
        for number in volumes_in(dir)? {
            let path = dir.join(volume_name(number));
            let look = || {
                let file = File::open(&path)?;
                let length = file.metadata()?.len();
                Ok((scan(&file, length)?, file))
            };
            let (found, file) = look().map_err(|error: io::Error| {
                Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)
            })?;
            self.add(file, found);
        }
        Ok(())
    }

    fn add(&mut self, file: File, found: Scan) {
        let volume = self.volumes.len();
        self.volumes.push(file);
        for (offset, header) in found.records {
            let place = Place::Record { volume, offset, header: header.clone() };
            self.places.entry(header.digest).or_default().push(place);
        }
    }

    /// Adds the chunks of a file that lies here.
    pub fn add_file(&mut self, path: &Path, chunks: &[Digest]) {
        let file = Arc::new(path.to_owned());
        for (index, digest) in chunks.iter().enumerate() {
            let place = Place::Within { file: file.clone(), offset: index as u64 * CHUNK as u64 };
            self.places.entry(digest.clone()).or_default().push(place);
        }
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest)
    }

    /// Every chunk of the volumes, and the length that it claims.
    pub fn lengths(&self) -> impl Iterator<Item = (&Digest, usize)> {
        let length = |place: &Place| match place {
            Place::Record { header, .. } => header.plain as usize,
            Place::Within { .. } => 0,
        };
        self.places.iter().map(move |(digest, places)| (digest, places.iter().map(length).max().unwrap_or_default()))
    }

    /// A chunk of this length.
    pub fn read(&self, digest: &Digest, length: usize) -> Result<Vec<u8>, Fault> {
        let mut fault = Fault::Missing;
        for place in self.places.get(digest).into_iter().flatten() {
            match self.at(place, digest, length) {
                Ok(chunk) => return Ok(chunk),
                Err(found) => fault = found,
            }
        }
        Err(fault)
    }

    fn at(&self, place: &Place, digest: &Digest, length: usize) -> Result<Vec<u8>, Fault> {
        let read = |file: &File, offset: u64, size: usize| {
            let mut bytes = vec![0; size];
            match file.read_exact_at(&mut bytes, offset) {
                Ok(()) => Ok(bytes),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Fault::Truncated),
                Err(error) => Err(Fault::Unreadable(error.to_string())),
            }
        };
        match place {
            Place::Record { volume, offset, header } => {
                let file = self.volumes.get(*volume).ok_or(Fault::Missing)?;
                if header.plain as usize != length {
                    return Err(Fault::Altered);
                }
                header.open(read(file, offset + HEADER as u64, header.stored as usize)?)
            }
            Place::Within { file, offset } => {
                let file = File::open(&**file).map_err(|error| Fault::Unreadable(error.to_string()))?;
                let bytes = read(&file, *offset, length)?;
                if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(Fault::Altered) }
            }
        }
    }
}

/// Writes records into the volumes of a directory, and goes on where an earlier program stopped.
pub struct Writer<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    limit: u64,
    number: u32,
    current: Option<Growing>,
}

impl<'a> Writer<'a> {
    /// A volume stays below `limit` bytes. What lies behind the last whole record of the last volume goes.
    pub fn open(disk: &'a dyn Disk, dir: &Path, limit: u64) -> Result<Self, Failure> {
        let number = volumes_in(dir)?.last().copied().unwrap_or(1);
        let path = dir.join(volume_name(number));
        let mut writer = Self { disk, dir: dir.to_owned(), limit, number, current: None };
        if path.exists() {
            let looked = File::open(&path).and_then(|file| scan(&file, file.metadata()?.len()));
            let end = looked.map_err(|error| {
                Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)
            })?;
            writer.current = Some(Growing::open(disk, &path, end.end, 0o644)?);
        }
        Ok(writer)
    }

    pub fn append(&mut self, record: &[u8]) -> Result<(), Failure> {
        let is_full = |current: &Growing| current.length() + record.len() as u64 >= self.limit;
        if let Some(full) = self.current.take_if(|current| current.length() > 0 && is_full(current)) {
            full.finish(self.disk)?;
            self.number += 1;
        }
        if self.number > MOST {
            return Err(Failure::new(Exit::Usage, format!("the bundle has more than {MOST} volumes"))
                .hint("give a larger size to `--split`"));
        }
        let path = self.dir.join(volume_name(self.number));
        let current = match &mut self.current {
            Some(current) => current,
            none => none.insert(Growing::open(self.disk, &path, 0, 0o644)?),
        };
        current.append(self.disk, record)
    }

    /// Makes everything durable.
    pub fn finish(self) -> Result<(), Failure> {
        self.current.map_or(Ok(()), |current| current.finish(self.disk))
    }
}
