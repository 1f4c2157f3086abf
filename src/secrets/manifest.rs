//! What the journal may know of the sealed store, so that a lost secret is noticed and not made anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Secrets;
use crate::failure::{Class, Exit, Failure};

/// Every secret by its name; equal manifests mean equal secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub BTreeMap<String, Recorded>);

/// The newest version of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub version: u32,
    /// As [`Secrets::fingerprint`].
    pub fingerprint: String,
}

impl Secrets {
    /// What there is now.
    pub fn manifest(&self) -> Result<Manifest, Failure> {
        let names: Vec<String> = self.values().keys().cloned().collect();
        let mut manifest = Manifest::default();
        for name in names {
            let version = self.version(&name);
            if let Some(fingerprint) = self.fingerprint(&name)? {
                manifest.0.insert(name, Recorded { version, fingerprint });
            }
        }
        Ok(manifest)
    }

    /// Holds the store against what was recorded.
    ///
    /// # Errors
    /// A recorded secret is gone, or an older one is in its place. A token that servers have started with cannot be
    /// made again, so nothing goes on without it.
    pub fn require(&self, recorded: &Manifest) -> Result<(), Failure> {
        let now = self.manifest()?;
        for (name, recorded) in &recorded.0 {
            let there = now.0.get(name);
            let cause = match there {
                None => "there is no version of it".to_owned(),
                Some(there) if there.version < recorded.version => {
                    format!("the newest here is version {}", there.version)
                }
                Some(there) if there.version == recorded.version && there.fingerprint != recorded.fingerprint => {
                    "another value has its place".to_owned()
                }
                Some(_) => continue,
            };
            let environment = &self.environment.name;
            return Err(Failure::new(Exit::NotDone, format!("secret `{name}` of `{environment}` is lost"))
                .class(Class::NeedsPerson)
                .because(format!("the journal knows version {} of it, and {cause}", recorded.version))
                .hint(format!("bring `{}` back from a copy; it is not made anew", self.vault.place(""))));
        }
        Ok(())
    }
}
