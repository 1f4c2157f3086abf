//! What a bundle is read with, under fuzzing.

use crate::bundle::closure::{Provided, compare};
use crate::bundle::have::Have;
use crate::bundle::images::Parts;
use crate::bundle::manifest::Manifest;
use crate::bundle::name::Name;
use crate::bundle::record::{CHUNK, HEADER, Header};
use crate::bundle::rpm::{self, Capability, Read};
use crate::bundle::volume::scan;
use crate::fingerprint::Digest;
use crate::fuzz::Target;

pub const TARGETS: &[Target] = &[
    Target { name: "bundle-manifest", run: manifest, seeds: &[] },
    Target { name: "bundle-volume", run: volume, seeds: &[] },
    Target { name: "bundle-name", run: name, seeds: &[] },
    Target { name: "bundle-image", run: image, seeds: &[] },
    Target { name: "bundle-rpm", run: package, seeds: &[] },
    Target { name: "bundle-requirement", run: requirement, seeds: &[] },
];

fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(manifest.encode().ok().as_deref(), Some(bytes), "what is read has one spelling");
        for file in &manifest.files {
            let place = file.kind.place("v1.35.4+rke2r1", &file.name);
            let is_plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
            assert!(place.components().all(is_plain), "{} leads out", place.display());
            let lengths: u64 = (0..file.chunks.len()).map(|index| file.chunk_size(index) as u64).sum();
            assert_eq!(lengths, file.size);
        }
    }
    drop(Have::parse(bytes));
}

/// Bytes as a file, without one.
struct Bytes<'a>(&'a [u8]);

impl std::os::unix::fs::FileExt for Bytes<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let size = buffer.len().min(self.0.len() - from);
        buffer[..size].copy_from_slice(&self.0[from..from + size]);
        Ok(size)
    }

    fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

fn volume(bytes: &[u8]) {
    let Ok(found) = scan(&Bytes(bytes), bytes.len() as u64) else { unreachable!("it is all in memory") };
    assert!(found.end <= bytes.len() as u64);
    for (offset, header) in found.records {
        let from = usize::try_from(offset).unwrap_or_default() + HEADER;
        let stored = bytes[from..from + header.stored as usize].to_vec();
        if let Ok(chunk) = Header::open(&header, stored) {
            assert!(chunk.len() <= CHUNK && Digest::of(&chunk) == header.digest);
        }
    }
}

fn name(bytes: &[u8]) {
    if let Some(name) = std::str::from_utf8(bytes).ok().and_then(Name::parse) {
        assert!(name.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
    }
}

fn image(bytes: &[u8]) {
    if let Ok(parts) = Parts::parse(bytes) {
        let (manifests, blobs) = parts.split();
        assert!(manifests.iter().chain(&blobs).all(|part| part.sha256().is_some()));
    }
}

fn package(bytes: &[u8]) {
    if let Read::Whole(package) = rpm::read(bytes) {
        assert!(package.files.len() <= bytes.len(), "a file has a name");
        // What was enough is enough with more behind it.
        let more = [bytes, b"content"].concat();
        assert_eq!(rpm::read(&more), Read::Whole(package));
    }
}

fn requirement(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut provided = Provided::default();
    provided.add_base(text);
    provided.meets(&Capability { name: text.to_owned(), sense: 0, version: String::new() });
    if let Some((one, other)) = text.split_once(' ') {
        assert_eq!(compare(one, other), compare(other, one).reverse(), "an order has two directions");
        assert_eq!(compare(one, one), std::cmp::Ordering::Equal);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
