//! A run that has begun, with its state in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use sre_provision::execute::Book;
use sre_provision::journal::{Actor, Home, Shared, Tenure, Writer};
use sre_provision::objects::MemoryObjects;
use sre_provision::workspace::Workspace;

use crate::commands::parsed;

pub struct Begun {
    pub _dir: tempfile::TempDir,
    pub objects: Arc<MemoryObjects>,
    pub tenure: Arc<Tenure>,
    pub book: Book,
}

impl Begun {
    /// Of `dev`, by this command.
    pub async fn new(command: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let objects = Arc::new(MemoryObjects::default());
        let shared = Shared::new(Arc::<MemoryObjects>::clone(&objects));
        let home = Home::new(Workspace::open(dir.path()).expect("a workspace").state("dev"), Some(shared));
        home.keep_identity(&parsed()).await.expect("kept");
        let lease = home.lease(Actor::here()).await.expect("free");
        let tenure = Arc::clone(lease.tenure().expect("shared"));
        let writer = Writer::begin(home.journal(&parsed()).await.expect("empty"), lease, command, None).await;
        let book = Book::new(writer.expect("begun"), &parsed(), BTreeMap::new());
        Self { _dir: dir, objects, tenure, book }
    }
}
