//! The key of a sealed store, and where it comes from.
//!
//! One random 256-bit key per environment, kept in a file apart from what it opens. From it, by HKDF-SHA-256, come the
//! key that seals and the key that fingerprints, so that neither says anything about the other.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::{aead, hmac, rand};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::secret::Secret;
use crate::workspace::{RealDisk, StateDir, make_dir, publish};

const LENGTH: usize = 32;

/// Where the key of an environment's secrets is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file of 64 hex digits, 0600.
    File(PathBuf),
}

impl KeySource {
    /// The usual file: `<configuration home>/sre-provision/keys/<environment id>.key`.
    pub fn usual(config_home: &Path, environment: &Identity) -> Self {
        Self::File(config_home.join("sre-provision/keys").join(format!("{}.key", environment.id)))
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
        }
    }

    /// Who copies the state directory must not have copied the key with it.
    pub(super) fn refuse_inside(&self, state: &StateDir) -> Result<(), Failure> {
        if !self.path().starts_with(state.path()) {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            format!("the key `{}` lies beside the secrets that it opens", self.path().display()),
        )
        .hint("keep it in another directory, and name it with SRE_PROVISION_KEY_FILE"))
    }
}

/// A key in use.
pub(super) struct Key {
    pub sealing: aead::RandomizedNonceKey,
    fingerprinting: hmac::Key,
    /// Tells keys apart without saying anything of them.
    pub id: String,
}

impl Key {
    fn derive(bytes: &[u8]) -> Result<Self, Failure> {
        let bug = |_| Failure::bug("a key could not be derived");
        let root = Salt::new(HKDF_SHA256, b"sre-provision/secrets/1").extract(bytes);
        let expand = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; LENGTH]);
            root.expand(&[purpose], Length).and_then(|okm| okm.fill(&mut *key)).map(|()| key)
        };
        let sealing = expand(b"seal").map_err(bug)?;
        let fingerprinting = hmac::Key::new(hmac::HMAC_SHA256, &*expand(b"fingerprint").map_err(bug)?);
        let id = hex::encode(&hmac::sign(&fingerprinting, b"key id").as_ref()[..6]);
        Ok(Self {
            sealing: aead::RandomizedNonceKey::new(&aead::AES_256_GCM, &*sealing).map_err(bug)?,
            fingerprinting,
            id,
        })
    }

    pub fn fingerprint(&self, name: &str, value: &Secret) -> String {
        let mut context = hmac::Context::with_key(&self.fingerprinting);
        context.update(name.as_bytes());
        context.update(&[0]);
        context.update(value.expose());
        hex::encode(context.sign().as_ref())
    }
}

/// The length of every derived key, as HKDF asks for it.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        LENGTH
    }
}

/// Makes a key where there is none; one that is there stays.
pub(super) fn create(source: &KeySource) -> Result<(), Failure> {
    let path = source.path();
    if path.exists() {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        make_dir(&RealDisk, dir, 0o700)?;
    }
    let mut bytes = Zeroizing::new([0; LENGTH]);
    rand::fill(&mut *bytes).map_err(|_| Failure::bug("the system gives no random numbers"))?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*bytes))));
    publish(&RealDisk, path, text.as_bytes(), 0o600).map(drop)
}

/// Reads the key; `environment` is its owner's name, for the text of a failure.
pub(super) fn load(source: &KeySource, environment: &str) -> Result<Key, Failure> {
    let path = source.path();
    let shown = path.display();
    let meta = path.metadata().map_err(|error| missing(path, environment, &error))?;
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::new(Exit::NotDone, format!("the key `{shown}` is open to others (mode {mode:o})"))
            .hint(format!("chmod 600 {shown}")));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| missing(path, environment, &error))?);
    parse(&text, path, environment)
}

/// The key in the text of the file at `path`.
pub(super) fn parse(text: &str, path: &Path, environment: &str) -> Result<Key, Failure> {
    let shown = path.display();
    let bytes = hex::decode(text.trim()).ok().map(Zeroizing::new).filter(|bytes| bytes.len() == LENGTH);
    let bytes = bytes.ok_or_else(|| {
        Failure::new(Exit::Missing, format!("the key `{shown}` is damaged"))
            .because("it must hold 64 hex digits")
            .hint(format!("bring the key of `{environment}` back from where it is escrowed"))
    })?;
    Key::derive(&bytes)
}

fn missing(path: &Path, environment: &str, error: &io::Error) -> Failure {
    let cause = match error.kind() {
        io::ErrorKind::NotFound => format!("`{}` does not exist", path.display()),
        _ => format!("`{}`: {error}", path.display()),
    };
    Failure::new(Exit::Missing, format!("the key of the secrets of `{environment}` is missing"))
        .because(cause)
        .hint("bring it back, or name its place with SRE_PROVISION_KEY_FILE")
        .hint("without it the tokens and SSH keys of this environment cannot be read by anybody")
}
