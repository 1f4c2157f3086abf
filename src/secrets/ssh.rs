//! The SSH key pair of an environment.

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey};

use crate::failure::{Exit, Failure};
use crate::secret::Secret;

/// A key pair.
#[derive(Clone, Debug)]
pub struct SshKey {
    /// In OpenSSH's own format, without a passphrase.
    pub private: Secret,
    /// One line as in `authorized_keys`.
    pub public: String,
}

impl SshKey {
    pub(super) fn from_private(private: Secret) -> Result<Self, Failure> {
        let damaged = |cause: ssh_key::Error| Failure::new(Exit::NotDone, "the SSH key is damaged").because(cause);
        let parsed = PrivateKey::from_openssh(private.expose()).map_err(damaged)?;
        let public = parsed.public_key().to_openssh().map_err(damaged)?;
        Ok(Self { private, public })
    }
}

/// Makes the private half; the public one follows from it.
pub(super) fn generate(comment: &str) -> Result<Secret, Failure> {
    let bug = |cause: ssh_key::Error| Failure::bug("no SSH key could be made").because(cause);
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }).map_err(bug)?;
    key.set_comment(comment);
    Ok(Secret::new(key.to_openssh(LineEnding::LF).map_err(bug)?.as_bytes()))
}
