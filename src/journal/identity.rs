//! The identity file: which environment this directory is about.

use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::workspace::{StateDir, write_atomic};

const VERSION: u32 = 1;

/// The identity, if the environment ever had one here.
///
/// # Errors
/// The file is damaged, or a newer program wrote it. Neither is taken for "none", because a new identity would lose
/// sight of everything that carries the old one.
pub fn load_identity(state: &StateDir) -> Result<Option<Identity>, Failure> {
    let path = state.identity();
    match std::fs::read(&path) {
        Ok(bytes) => read(&bytes, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)),
    }
}

/// Reads an identity that lies in `place`.
pub(super) fn read(bytes: &[u8], place: &str) -> Result<Identity, Failure> {
    let refused = |what: &str, cause: &dyn std::fmt::Display| {
        Failure::new(Exit::NotDone, format!("{what} `{place}`")).because(cause)
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| damaged(&refused, &error))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version.is_some_and(|version| version > u64::from(VERSION)) {
        return Err(refused("a newer program wrote", &format!("it has version {}", version.unwrap_or_default()))
            .hint("use that version of sre-provision, or a newer one"));
    }
    serde_json::from_value(value).map_err(|error| damaged(&refused, &error))
}

pub(super) fn encode(identity: &Identity) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec_pretty(identity).map_err(|error| Failure::bug("no JSON").because(error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Another environment has this name where `place` is.
pub(super) fn other(there: &Identity, identity: &Identity, place: &str) -> Failure {
    Failure::new(Exit::NotDone, format!("`{}` is another environment here", identity.name))
        .because(format!("it is {} in `{place}`, and {} was given", there.id, identity.id))
        .hint(format!("sre-provision down {}   removes the one that is here first", identity.name))
}

/// Keeps the identity.
///
/// # Errors
/// Another environment's identity is there already; it is never overwritten.
pub fn save_identity(state: &StateDir, identity: &Identity) -> Result<(), Failure> {
    if let Some(there) = load_identity(state)?
        && there.id != identity.id
    {
        return Err(other(&there, identity, &state.identity().display().to_string()));
    }
    state.create()?;
    write_atomic(&state.identity(), &encode(identity)?, 0o600)
}

type Refused<'a> = dyn Fn(&str, &dyn std::fmt::Display) -> Failure + 'a;

fn damaged(refused: &Refused<'_>, cause: &dyn std::fmt::Display) -> Failure {
    refused("cannot understand", cause)
        .hint("bring the file back from a copy; the id is also the tag `sre:environment` of every resource")
}
