//! Where everything about one environment is kept: in its state directory, or where several machines share it.
//!
//! Shared are identity, journal, lease, secrets and the state of OpenTofu. What belongs to one machine stays in its state
//! directory: children that run there, logs, roots of OpenTofu, the kubeconfig.

use uuid::Uuid;

use super::taking::{Shared, Word};
use super::{
    Actor, Anchor, Holder, Journal, Lease, LocalStore, SharedStore, Store, Writer, load_identity, save_identity,
    share_identity, shared_identity,
};
use crate::artifact::Kind;
use crate::failure::{Class, Exit, Failure};
use crate::identity::Identity;
use crate::workspace::{RealDisk, StateDir, make_dir, write_atomic};

/// What is kept of shared environments that were taken down: their identities.
const GONE: &str = "gone/";
/// The values of a root of OpenTofu, in its directory.
const VALUES: &str = "terraform.tfvars.json";

fn values(id: Uuid, stage: Kind) -> String {
    format!("{id}/tofu/{stage}.tfvars.json")
}

#[derive(Clone, Debug)]
pub struct Home {
    state: StateDir,
    shared: Option<Shared>,
}

impl Home {
    pub fn new(state: StateDir, shared: Option<Shared>) -> Self {
        Self { state, shared }
    }

    pub fn local(state: StateDir) -> Self {
        Self::new(state, None)
    }

    /// This machine's part.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// The identity, if the environment was ever made.
    ///
    /// # Errors
    /// It cannot be read, or what is shared there is another environment's.
    pub async fn identity(&self) -> Result<Option<Identity>, Failure> {
        let Some(shared) = &self.shared else { return load_identity(&self.state) };
        let identity = shared_identity(&*shared.objects).await?;
        match identity.as_ref().filter(|identity| identity.name != self.state.name()) {
            Some(other) => {
                Err(Failure::new(Exit::Environment, format!("`{}` shares another's state", self.state.name()))
                    .because(format!("`{}` keeps `{}`", shared.objects.place(""), other.name))
                    .hint("give each environment a `state.s3.prefix` of its own"))
            }
            None => Ok(identity),
        }
    }

    /// Keeps the identity; under the lease.
    pub async fn keep_identity(&self, identity: &Identity) -> Result<(), Failure> {
        match &self.shared {
            Some(shared) => share_identity(&*shared.objects, identity).await,
            None => save_identity(&self.state, identity),
        }
    }

    /// The entries of the journal of the environment with this id.
    pub fn entries(&self, id: Uuid) -> Box<dyn Store> {
        match &self.shared {
            Some(shared) => Box::new(SharedStore::new(shared.objects.clone(), id)),
            None => Box::new(LocalStore::new(&self.state)),
        }
    }

    pub async fn journal(&self, identity: &Identity) -> Result<Journal, Failure> {
        Journal::open(self.entries(identity.id), identity).await
    }

    /// Takes the lease.
    ///
    /// # Errors
    /// Exit 8, naming the holder, its run and since when.
    pub async fn lease(&self, actor: Actor) -> Result<Lease, Failure> {
        self.lease_by(actor, Word::None).await
    }

    /// As [`lease`](Self::lease), by a person's word for what cannot be seen from here.
    pub async fn lease_by(&self, actor: Actor, word: Word) -> Result<Lease, Failure> {
        match &self.shared {
            Some(shared) => Lease::take_shared(&self.state, shared, actor, word).await,
            None => Lease::take(&self.state, actor),
        }
    }

    /// Who holds the lease now, as far as can be seen without trying to take it.
    pub async fn holder(&self) -> Result<Option<Holder>, Failure> {
        let Some(shared) = &self.shared else { return Ok(Lease::holder(&self.state)) };
        let held = shared.deed().await?.and_then(|deed| deed.held);
        let lives =
            held.filter(|held| held.space != shared.vantage.space() || !shared.vantage.has_ended(&held.holder.actor));
        Ok(lives.map(|held| held.holder))
    }

    /// Brings the values and states of OpenTofu's roots here, as another machine gave them last: a destroy wants every
    /// variable set, and what is in a state is known before OpenTofu is asked.
    pub async fn bring_roots(&self, id: Uuid) -> Result<(), Failure> {
        let Some(shared) = &self.shared else { return Ok(()) };
        for stage in Kind::ALL {
            let files = [(values(id, stage), VALUES), (format!("{id}/tofu/{stage}.tfstate"), "pulled.tfstate")];
            for (key, file) in files {
                if let Some(object) = shared.objects.get(&key).await? {
                    let dir = self.state.tofu(stage);
                    make_dir(&RealDisk, &dir, 0o700)?;
                    write_atomic(&dir.join(file), &object.bytes, 0o600)?;
                }
            }
        }
        Ok(())
    }

    /// Gives the values of OpenTofu's roots to other machines, as the run that may write now.
    ///
    /// # Errors
    /// Exit 8: another may, or has; what it gave stays.
    pub async fn give_roots(&self, id: Uuid, writer: &Writer) -> Result<(), Failure> {
        let Some(shared) = &self.shared else { return Ok(()) };
        for stage in Kind::ALL {
            let Ok(bytes) = std::fs::read(self.state.tofu(stage).join(VALUES)) else { continue };
            let key = values(id, stage);
            // Looked at before it is known that nobody has begun after us: what another gives later is then not replaced.
            let there = shared.objects.get(&key).await?;
            if there.as_ref().is_some_and(|there| there.bytes == bytes) {
                continue;
            }
            writer.confirm().await?;
            match there {
                None => shared.objects.create(&key, &bytes).await?,
                Some(there) => shared.objects.replace(&key, &bytes, &there.tag).await?,
            };
        }
        Ok(())
    }

    /// Sees that the journal ends where a run of ours has ended it: nobody has begun with the environment since.
    ///
    /// # Errors
    /// Exit 8: somebody has.
    pub async fn ensure_ended(&self, identity: &Identity, end: &Anchor) -> Result<(), Failure> {
        let journal = self.journal(identity).await?;
        if journal.head().as_ref() == Some(end) {
            return Ok(());
        }
        let name = &identity.name;
        let last = journal.entries().last();
        let by = last.map_or_else(String::new, |last| format!(" by {} in run {:04}", last.actor, last.run));
        Err(Failure::new(Exit::Held, format!("`{name}` was begun with again while it was put away"))
            .class(Class::Conflict)
            .because(format!("its journal ended with entry {}, and was written to since{by}", end.number))
            .hint(format!("sre-provision down {name}   takes away what was made since")))
    }

    /// Puts an environment that is gone aside; its journal stays readable.
    pub async fn retire(&self, identity: &Identity) -> Result<(), Failure> {
        if let Some(shared) = &self.shared {
            let objects = &*shared.objects;
            let number = objects.list(GONE).await?.len() + 1;
            let bytes = super::identity::encode(identity)?;
            objects.create(&format!("{GONE}{number:06}-{}.json", identity.id), &bytes).await?;
            objects.delete(super::shared_identity::IDENTITY).await?;
        }
        if self.state.path().exists() { self.state.retire(identity.id).map(drop) } else { Ok(()) }
    }

    /// What was put aside of shared environments of this name, the last one last.
    pub async fn retired(&self) -> Result<Vec<Identity>, Failure> {
        let Some(shared) = &self.shared else { return Ok(vec![]) };
        let objects = &*shared.objects;
        let mut retired = Vec::new();
        for key in objects.list(GONE).await? {
            if let Some(object) = objects.get(&key).await? {
                retired.push(super::identity::read(&object.bytes, &objects.place(&key))?);
            }
        }
        Ok(retired)
    }
}
