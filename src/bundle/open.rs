//! Opens a bundle: signature first, then form, then where each chunk lies. Nothing else reads what came from outside.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::bundle::manifest::{FileEntry, LONGEST, MANIFEST, Manifest, SIGNATURE};
use crate::bundle::ordered::ordered;
use crate::bundle::record::Fault;
use crate::bundle::sign::TrustedKeys;
use crate::bundle::volume::Chunks;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::stop::Stop;

/// How many chunks a failure names.
const NAMED: usize = 5;

/// A bundle whose manifest is signed by whom we trust. Its chunks are not looked at yet.
#[derive(Debug)]
pub struct Opened {
    pub manifest: Manifest,
    /// As they were signed.
    pub bytes: Vec<u8>,
    pub signature: Vec<u8>,
    pub chunks: Chunks,
}

/// Chunks that were looked at.
#[derive(Debug, Default)]
pub struct Sound {
    pub right: BTreeSet<Digest>,
    pub wrong: Vec<Wrong>,
}

/// A chunk that is not there as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub digest: Digest,
    pub fault: Fault,
    /// A file that it belongs to.
    pub file: String,
}

impl Opened {
    /// Opens the bundle in these directories: the first one has the manifest; the others carry more of its chunks.
    ///
    /// # Errors
    /// Exit 1: there is no bundle, its signature is wrong, or a later directory belongs to another bundle.
    pub fn open(dirs: &[PathBuf], keys: &TrustedKeys) -> Result<Self, Failure> {
        let Some(first) = dirs.first() else { return Err(Failure::new(Exit::Usage, "no bundle is named")) };
        let (bytes, signature) = (bounded(first, MANIFEST, LONGEST)?, bounded(first, SIGNATURE, 1024)?);
        keys.check(&bytes, &signature).map_err(|failure| failure.of(first.display()))?;
        let manifest = Manifest::parse(&bytes).map_err(|failure| failure.of(first.display()))?;
        let mut chunks = Chunks::default();
        for dir in dirs {
            let is_other = dir.join(MANIFEST).exists() && bounded(dir, MANIFEST, LONGEST)? != bytes;
            if is_other {
                return Err(Failure::new(Exit::NotDone, format!("`{}` is part of another bundle", dir.display()))
                    .because(format!("its manifest is not that of `{}`", first.display())));
            }
            chunks.add_directory(dir)?;
        }
        Ok(Self { manifest, bytes, signature, chunks })
    }

    /// Reads every chunk again and holds it against its digest. Blocks the thread.
    pub fn look(&self, stop: &Stop) -> Result<Sound, Failure> {
        let wanted = self.manifest.chunks();
        let mut sound = Sound::default();
        let feed =
            wanted.into_iter().map(|wanted| if stop.is_asked() { Err(stopped("it was read")) } else { Ok(wanted) });
        let read = |(digest, (length, file)): (&Digest, (usize, &FileEntry))| {
            let fault = self.chunks.read(digest, length).err();
            Ok((digest.clone(), fault, file.name.to_string()))
        };
        ordered(feed, read, |(digest, fault, file)| {
            match fault {
                None => drop(sound.right.insert(digest)),
                Some(fault) => sound.wrong.push(Wrong { digest, fault, file }),
            }
            Ok(())
        })?;
        Ok(sound)
    }

    /// The content of a small file.
    ///
    /// # Errors
    /// It is larger than `most`, or a chunk of it is not there.
    pub fn content(&self, file: &FileEntry, most: u64) -> Result<Vec<u8>, Failure> {
        if file.size > most {
            return Err(Failure::new(Exit::NotDone, format!("`{}` of the bundle is too large", file.name)));
        }
        let mut content = Vec::new();
        for index in 0..file.chunks.len() {
            self.extend(&mut content, file, index)?;
        }
        Ok(content)
    }

    /// Appends a chunk of a file.
    ///
    /// # Errors
    /// It is not there, or not as it should be.
    pub fn extend(&self, content: &mut Vec<u8>, file: &FileEntry, index: usize) -> Result<(), Failure> {
        let digest = file.chunks.get(index).ok_or_else(|| Failure::bug("a file has fewer chunks"))?;
        let chunk = self.chunks.read(digest, file.chunk_size(index)).map_err(|fault| {
            let wrong = Wrong { digest: digest.clone(), fault, file: file.name.to_string() };
            refused(&[wrong], file.chunks.len())
        })?;
        content.extend(chunk);
        Ok(())
    }
}

impl Sound {
    /// # Errors
    /// Exit 1, naming what is not there as it should be.
    pub fn require(&self) -> Result<(), Failure> {
        match self.wrong.as_slice() {
            [] => Ok(()),
            wrong => Err(refused(wrong, self.right.len() + wrong.len())),
        }
    }
}

/// The failure that names chunks.
pub fn refused(wrong: &[Wrong], of: usize) -> Failure {
    let what = format!("{} of {of} chunks of the bundle are missing or damaged", wrong.len());
    let failure = wrong.iter().take(NAMED).fold(Failure::new(Exit::NotDone, what), |failure, wrong| {
        failure.because(format!("chunk {} of `{}` {}", wrong.digest.short(), wrong.file, wrong.fault))
    });
    let failure = match wrong.len().checked_sub(NAMED) {
        None | Some(0) => failure,
        Some(more) => failure.because(format!("and {more} more")),
    };
    failure
        .hint("sre-provision bundle have DIR --trust KEY --to have.json   tells which are right; where the bundle was made, then:")
        .hint(
            "sre-provision bundle diff DIR --have have.json --trust KEY --to SUPPLEMENT   carries the others; name it \
             beside DIR",
        )
}

/// The chunks of a directory that are what they say. Blocks the thread.
pub fn sound(chunks: &Chunks, stop: &Stop) -> Result<BTreeSet<Digest>, Failure> {
    let mut right = BTreeSet::new();
    let feed = chunks.lengths().map(|wanted| if stop.is_asked() { Err(stopped("it was read")) } else { Ok(wanted) });
    let read = |(digest, length): (&Digest, usize)| Ok(chunks.read(digest, length).is_ok().then(|| digest.clone()));
    ordered(feed, read, |found| {
        right.extend(found);
        Ok(())
    })?;
    Ok(right)
}

/// Ctrl-C came while something was done with a bundle that the next call goes on with.
pub fn stopped(doing: &str) -> Failure {
    Failure::cancelled(format!("bundle: stopped while {doing}")).hint("the same command goes on where it was")
}

/// A whole file that must not be large.
fn bounded(dir: &Path, name: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let path = dir.join(name);
    let refused = |cause: &dyn std::fmt::Display| {
        Failure::new(Exit::NotDone, format!("there is no bundle in `{}`", dir.display()))
            .because(format!("`{name}`: {cause}"))
            .hint("name the directory that holds `manifest.json`, such as where the disk is mounted")
    };
    let meta = std::fs::symlink_metadata(&path).map_err(|error| refused(&error))?;
    if !meta.is_file() || meta.len() > most {
        return Err(refused(&"it is no file, or too large"));
    }
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(|error| refused(&error))?;
    file.take(most).read_to_end(&mut bytes).map_err(|error| refused(&error))?;
    Ok(bytes)
}
