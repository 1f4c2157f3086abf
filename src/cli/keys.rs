//! The private keys that open an environment's machines, and connections that need nothing else.

use super::desk::{Desk, connections_dir};
use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::node::{Connections, Keys};
use crate::secret::Secret;

impl Desk {
    /// Connections for `down`: machines that go are not entered, those that stay are, to be left as they were.
    pub fn connections_to_leave(&self, identity: &Identity) -> Result<Connections, Failure> {
        let keys = if self.env.hosts.is_some() { self.keys(|| Ok(None))? } else { Keys::default() };
        Ok(Connections::new(&connections_dir(identity)?, keys, vec![]))
    }

    /// The key that the file names for machines that exist, else the environment's own; and a jump machine's.
    pub(super) fn keys(&self, own: impl FnOnce() -> Result<Option<Secret>, Failure>) -> Result<Keys, Failure> {
        let jump = self.env.access.jump.as_ref().and_then(|jump| jump.key.as_deref());
        let node = match &self.env.hosts {
            Some(hosts) => Some(self.key_of("hosts.key", &hosts.key)?),
            None => own()?,
        };
        Ok(Keys { node, jump: jump.map(|reference| self.key_of("access.jump.key", reference)).transpose()? })
    }

    /// Reads a `file:` reference, relative to the workspace.
    fn key_of(&self, path: &str, reference: &str) -> Result<Secret, Failure> {
        let refused = |cause: String| {
            Failure::new(Exit::Environment, format!("cannot read `{path}` (`{reference}`)")).because(cause)
        };
        let path = reference.strip_prefix("file:").ok_or_else(|| refused("only `file:PATH` is known".to_owned()))?;
        let bytes = std::fs::read(self.workspace.root().join(path)).map_err(|error| refused(error.to_string()))?;
        Ok(Secret::new(bytes))
    }
}
