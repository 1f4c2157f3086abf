//! The local journal on a disk that ends at every operation.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::workspace::{Disk, RealDisk};

/// A disk that ends after so many operations, as a machine does that loses its power.
#[derive(Debug)]
struct Dies(AtomicUsize);

impl Dies {
    fn spend(&self) -> io::Result<()> {
        let spent = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| io::Error::other("the power is gone"))
    }
}

impl Disk for Dies {
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.spend().and_then(|()| RealDisk.create(path, mode))
    }
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.write(file, bytes))
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.sync(file))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.link(from, to))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.sync_dir(dir))
    }
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.spend().and_then(|()| RealDisk.make_dir(path, mode))
    }
}

#[tokio::test]
async fn a_local_journal_survives_the_end_of_its_disk_at_every_operation_and_goes_on() {
    for operations in 0.. {
        let world = World::new();
        let dying = LocalStore::on(world.state.journal(), Arc::new(Dies(AtomicUsize::new(operations))));
        let journal = Journal::open(Box::new(dying), &world.identity).await.expect("empty");
        let done = match Writer::begin(journal, world.lease(), "up dev", None).await {
            Ok(writer) => writer.append(fact("a", 1)).await.is_ok(),
            Err(_) => false,
        };

        let store = LocalStore::new(&world.state);
        let after = Journal::open(Box::new(store.clone()), &world.identity).await.expect("intact");
        let writer = Writer::begin(after, world.lease(), "up dev", None).await.expect("goes on");
        writer.append(fact("b", 2)).await.expect("written");

        let memory = writer.look(Clone::clone);
        assert_eq!(memory.facts["b"], 2);
        assert!(!done || memory.facts["a"] == 1, "after {operations} operations");
        let names = std::fs::read_dir(world.state.journal()).expect("listed");
        assert!(names.flatten().all(|entry| entry.file_name().to_string_lossy().ends_with(".json")));
        if done {
            return;
        }
    }
}
