//! Takes out of the volumes of a bundle what no file of it has: chunks of a try that was stopped, whose source has changed
//! since.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::bundle::open::stopped;
use crate::bundle::record::{HEADER, Header};
use crate::bundle::volume::{scan, volume_name, volumes_in};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::stop::Stop;
use crate::units::ByteSize;
use crate::workspace::{Disk, Growing, put_in_place, remove, require_space};

/// Writes every volume anew that holds a chunk of these; gives which are gone. A volume that there is no room beside for
/// its own copy stays as it is. Blocks the thread.
///
/// # Errors
/// The file system refuses, or it was stopped. Every volume is then as it was, or without them.
pub fn prune(disk: &dyn Disk, dir: &Path, unused: &BTreeSet<Digest>, stop: &Stop) -> Result<BTreeSet<Digest>, Failure> {
    let mut gone = BTreeSet::new();
    for number in volumes_in(dir)? {
        let path = dir.join(volume_name(number));
        let refused = |error: std::io::Error| {
            Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)
        };
        let file = File::open(&path).map_err(refused)?;
        let length = file.metadata().map_err(refused)?.len();
        let records = scan(&file, length).map_err(refused)?.records;
        let (old, kept): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|(_, header)| unused.contains(&header.digest));
        let bytes: u64 = kept.iter().map(|(_, header)| size(header)).sum();
        if old.is_empty() || require_space(dir, ByteSize(bytes), "the bundle").is_err() {
            continue;
        }
        if kept.is_empty() {
            remove(disk, &path)?;
        } else {
            let partial = dir.join(format!("{}.partial", volume_name(number)));
            let mut growing = Growing::open(disk, &partial, 0, 0o644)?;
            for (offset, header) in &kept {
                if stop.is_asked() {
                    drop(growing);
                    remove(disk, &partial)?;
                    return Err(stopped("its volumes were tidied"));
                }
                let mut record = vec![0; usize::try_from(size(header)).unwrap_or_default()];
                file.read_exact_at(&mut record, *offset).map_err(refused)?;
                growing.append(disk, &record)?;
            }
            growing.finish(disk)?;
            put_in_place(disk, &partial, &path)?;
        }
        gone.extend(old.into_iter().map(|(_, header)| header.digest));
    }
    Ok(gone)
}

/// Of a whole record.
fn size(header: &Header) -> u64 {
    HEADER as u64 + u64::from(header.stored)
}
