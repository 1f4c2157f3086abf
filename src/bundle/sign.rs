//! The signature over a manifest: ECDSA on P-256 with SHA-256, DER in base64, as `openssl dgst` and `cosign` know it.
//!
//! Which keys count is said by the environment file or the command line. A key that lies in a bundle is never read.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// What a SubjectPublicKeyInfo of a P-256 key begins with, before the 65 bytes of its point (RFC 5480).
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;
const CONVERT: &str = "openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY.pk8.pem   makes one of an EC key on P-256";
/// A signature is 72 bytes of DER at most, so 96 of base64; a line's end may follow.
const LONGEST_SIGNATURE: usize = 128;

/// A private key that signs manifests.
pub struct SigningKey(EcdsaKeyPair);

impl SigningKey {
    /// Reads a `file:PATH` reference, relative to `root`.
    ///
    /// # Errors
    /// Exit 4: there is no such file, or it holds no PKCS#8 key on P-256.
    pub fn read(reference: &str, root: &Path) -> Result<Self, Failure> {
        let refused =
            |cause: String| Failure::new(Exit::Missing, format!("cannot sign with `{reference}`")).because(cause);
        let path = reference.strip_prefix("file:").ok_or_else(|| refused("`file:PATH` is wanted".to_owned()))?;
        let text = std::fs::read_to_string(root.join(path)).map_err(|error| refused(error.to_string()))?;
        let text = Zeroizing::new(text);
        let der = pem(&text, "PRIVATE KEY").map(Zeroizing::new);
        let der = der.ok_or_else(|| refused("it is no PKCS#8 key in PEM".to_owned()).hint(CONVERT))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der);
        Ok(Self(pair.map_err(|why| refused(format!("it is no key on P-256 ({why})")).hint(CONVERT))?))
    }

    /// The signature in base64, with a line's end.
    pub fn sign(&self, bytes: &[u8]) -> Result<String, Failure> {
        let signature = self.0.sign(&SystemRandom::new(), bytes);
        let signature = signature.map_err(|_| Failure::bug("the system gives no random numbers"))?;
        Ok(format!("{}\n", BASE64_STANDARD.encode(signature)))
    }

    /// What its public key is called where keys are named: the first digits of its digest.
    pub fn name(&self) -> String {
        name(self.0.public_key().as_ref())
    }
}

/// The first digits of a key's digest, as `openssl pkey -pubin -outform DER | sha256sum` gives it.
fn name(point: &[u8]) -> String {
    Digest::of(&[&P256_INFO[..], point].concat()).short().to_owned()
}

/// The public keys whose signature counts.
#[derive(Clone, Debug)]
pub struct TrustedKeys(Vec<[u8; POINT]>);

impl TrustedKeys {
    /// Reads references: `file:PATH` relative to `root`, or the key itself in base64.
    ///
    /// # Errors
    /// Exit 3: there is none, or one is no public key on P-256.
    pub fn read(references: &[String], root: &Path) -> Result<Self, Failure> {
        if references.is_empty() {
            return Err(Failure::new(Exit::Environment, "no key is trusted")
                .hint("name the public key of whoever signs: `trust: {keys: [file:PATH]}` or `--trust FILE`"));
        }
        references.iter().map(|reference| read_public(reference, root)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of the keys made this signature over these bytes.
    ///
    /// # Errors
    /// Exit 1: none did, or it is no signature.
    pub fn check(&self, bytes: &[u8], signature: &[u8]) -> Result<(), Failure> {
        let refused = |cause: &str| {
            Failure::new(Exit::NotDone, "the signature is wrong")
                .because(cause)
                .hint("do not use it; if it comes from whom you trust, name their public key in `trust.keys` or `--trust FILE`")
        };
        if signature.len() > LONGEST_SIGNATURE {
            return Err(refused("what lies beside the manifest is too long for a signature"));
        }
        let der = BASE64_STANDARD.decode(signature.trim_ascii()).map_err(|_| refused("it is no base64"))?;
        let made_it = |point: &[u8; POINT]| UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(bytes, &der);
        match self.0.iter().any(|point| made_it(point).is_ok()) {
            true => Ok(()),
            false => Err(refused(&format!("it was made by none of the trusted keys ({})", self.names().join(", ")))),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|point| name(point)).collect()
    }
}

fn read_public(reference: &str, root: &Path) -> Result<[u8; POINT], Failure> {
    let shown: String = reference.chars().take(60).collect();
    let refused = |cause: String| {
        Failure::new(Exit::Environment, format!("`{shown}` is no key to trust"))
            .because(cause)
            .hint("openssl pkey -in KEY -pubout   tells the public key of a private one on P-256")
    };
    let der = match reference.strip_prefix("file:") {
        Some(path) => {
            let text = std::fs::read_to_string(root.join(path)).map_err(|error| refused(error.to_string()))?;
            pem(&text, "PUBLIC KEY")
        }
        None => BASE64_STANDARD.decode(reference).ok(),
    };
    let der = der.ok_or_else(|| refused("it is no public key in PEM".to_owned()))?;
    let point = der.strip_prefix(&P256_INFO).and_then(|point| point.try_into().ok());
    point.ok_or_else(|| refused("it is no ECDSA key on P-256".to_owned()))
}

/// The bytes between the lines of a PEM file.
fn pem(text: &str, label: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let inner = text.split_once(begin.as_str())?.1.split_once(end.as_str())?.0;
    let joined: Zeroizing<String> = Zeroizing::new(inner.split_ascii_whitespace().collect());
    BASE64_STANDARD.decode(&*joined).ok()
}
