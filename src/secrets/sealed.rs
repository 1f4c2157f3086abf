//! One sealed value as a file: `<name>.<version>.json`.
//!
//! Name, version and environment are sealed in as associated data, so a file that was moved, renamed or taken from
//! another environment does not open.

use aws_lc_rs::aead::{Aad, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::key::Key;
use super::vault::Vault;
use crate::failure::{Exit, Failure};
use crate::secret::Secret;

const FORMAT: u32 = 1;

/// A sealed value.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sealed {
    format: u32,
    pub name: String,
    pub version: u32,
    /// Which key sealed it.
    key: String,
    nonce: String,
    sealed: String,
    #[serde(skip)]
    place: String,
}

impl Sealed {
    pub fn seal(key: &Key, environment: Uuid, name: &str, version: u32, value: &Secret) -> Result<Self, Failure> {
        let mut bytes = Zeroizing::new(value.expose().to_vec());
        let nonce = key
            .sealing
            .seal_in_place_append_tag(Aad::from(associated(environment, name, version)), &mut *bytes)
            .map_err(|_| Failure::bug(format!("secret `{name}` could not be sealed")))?;
        Ok(Self {
            format: FORMAT,
            name: name.to_owned(),
            version,
            key: key.id.clone(),
            nonce: BASE64.encode(nonce.as_ref()),
            sealed: BASE64.encode(&*bytes),
            place: String::new(),
        })
    }

    pub fn file(&self) -> String {
        file(&self.name, self.version)
    }

    pub fn encode(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec_pretty(self).map_err(|error| Failure::bug("a sealed value has no JSON").because(error))
    }

    /// # Errors
    /// Another key sealed it, or it was altered.
    pub fn open(&self, key: &Key, environment: Uuid) -> Result<Secret, Failure> {
        let refused = || Failure::new(Exit::NotDone, format!("secret `{}` cannot be opened", self.name));
        if self.key != key.id {
            return Err(refused()
                .because(format!("it was sealed with key {}, and the one at hand is {}", self.key, key.id))
                .hint("name the key that belongs to this environment with SRE_PROVISION_KEY_FILE"));
        }
        let altered = || {
            refused()
                .because(format!("`{}` was altered", self.place))
                .hint("bring the file back from a copy of the state directory")
        };
        let nonce = BASE64.decode(&self.nonce).ok().and_then(|nonce| Nonce::try_assume_unique_for_key(&nonce).ok());
        let mut bytes = BASE64.decode(&self.sealed).ok().map(Zeroizing::new).ok_or_else(altered)?;
        let aad = Aad::from(associated(environment, &self.name, self.version));
        let opened = key.sealing.open_in_place(nonce.ok_or_else(altered)?, aad, &mut bytes).map_err(|_| altered())?;
        Ok(Secret::new(&*opened))
    }
}

/// Everything sealed in a place, by name and version.
pub(super) fn list(vault: &Vault) -> Result<Vec<Sealed>, Failure> {
    let mut files = vault.files()?;
    files.retain(|file| named(file).is_some());
    let mut found = Vec::new();
    for (file, bytes) in files.iter().zip(vault.read(&files)?) {
        if let Some((name, version)) = named(file) {
            found.push(decode(&bytes, vault.place(file), name, version)?);
        }
    }
    found.sort_by(|one, two| (&one.name, one.version).cmp(&(&two.name, two.version)));
    complete(&found)?;
    Ok(found)
}

/// Refuses a store in which a version is missing: numbers of versions are positions.
fn complete(found: &[Sealed]) -> Result<(), Failure> {
    for versions in found.chunk_by(|one, two| one.name == two.name) {
        for (expected, object) in (1..).zip(versions) {
            if object.version != expected {
                return Err(Failure::new(
                    Exit::NotDone,
                    format!("version {expected} of secret `{}` is missing", object.name),
                )
                .hint("bring the file back from a copy of the state directory"));
            }
        }
    }
    Ok(())
}

pub(super) fn read(vault: &Vault, name: &str, version: u32) -> Result<Sealed, Failure> {
    let file = file(name, version);
    let bytes = vault.read(std::slice::from_ref(&file))?.pop().unwrap_or_default();
    decode(&bytes, vault.place(&file), name, version)
}

pub(super) fn decode(bytes: &[u8], place: String, name: &str, version: u32) -> Result<Sealed, Failure> {
    let refused = |cause: String| {
        Failure::new(Exit::NotDone, format!("secret `{name}` cannot be opened"))
            .because(cause)
            .hint("bring the file back from a copy of the state directory")
    };
    let mut object: Sealed =
        serde_json::from_slice(bytes).map_err(|error| refused(format!("`{place}` is no sealed value: {error}")))?;
    if object.format != FORMAT {
        return Err(Failure::new(Exit::NotDone, format!("secret `{name}` cannot be opened"))
            .because(format!("it has format {}, and this program knows format {FORMAT}", object.format))
            .hint("use the version of sre-provision that wrote it, or a newer one"));
    }
    if (object.name.as_str(), object.version) != (name, version) {
        return Err(refused(format!("the file says that it is version {} of `{}`", object.version, object.name)));
    }
    object.place = place;
    Ok(object)
}

/// Names are file names: lower-case letters, digits and dashes.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let usable =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if usable { Ok(()) } else { Err(Failure::bug(format!("`{name}` cannot be the name of a secret"))) }
}

fn file(name: &str, version: u32) -> String {
    format!("{name}.{version:04}.json")
}

pub(super) fn named(file: &str) -> Option<(&str, u32)> {
    let (name, version) = file.strip_suffix(".json")?.rsplit_once('.')?;
    check_name(name).ok()?;
    Some((name, version.parse().ok()?))
}

fn associated(environment: Uuid, name: &str, version: u32) -> Vec<u8> {
    format!("sre-provision/sealed/{FORMAT}\0{environment}\0{name}\0{version}").into_bytes()
}
