//! The files of a sealed store under fuzzing.

use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use uuid::Uuid;

use super::key::{self, Key};
use super::sealed::{self, Sealed};
use super::{Manifest, Recorded};
use crate::fuzz::Target;
use crate::secret::Secret;

pub const TARGETS: &[Target] = &[
    Target { name: "sealed-secret", run: object, seeds: &["tests/golden/secrets/1/token.*"] },
    Target { name: "sealed-manifest", run: manifest, seeds: &[] },
    Target { name: "sealed-key", run: key_file, seeds: &["tests/golden/secrets/1/example.key"] },
];

const ENVIRONMENT: Uuid = Uuid::from_u128(1);
const NAME: &str = "token";
const FILE: &str = "token.0001.json";
const VALUE: &[u8] = b"only what was sealed is opened";

fn key() -> &'static Key {
    static KEY: LazyLock<Key> = LazyLock::new(|| {
        let Ok(key) = key::parse(&"5a".repeat(32), Path::new("key"), "dev") else { unreachable!("64 hex digits") };
        key
    });
    &KEY
}

/// A file that may hold anything, and one that holds a real value which the input has changed.
fn object(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(sealed::named(&text).is_none_or(|(name, _)| !name.contains(['/', '.'])), "a name is no path");
    if let Ok(object) = sealed::decode(bytes, FILE.to_owned(), NAME, 1) {
        assert!(object.open(key(), ENVIRONMENT).is_err(), "nobody else has sealed with this key");
    }
    let Ok(whole) = Sealed::seal(key(), ENVIRONMENT, NAME, 1, &Secret::new(VALUE)) else { unreachable!("sealed") };
    let Some(mut value) = whole.encode().ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
    else {
        unreachable!("a sealed value is JSON")
    };
    let field = if bytes.len().is_multiple_of(2) { "sealed" } else { "nonce" };
    let Some(mut raw) = value[field].as_str().and_then(|raw| base64::prelude::BASE64_STANDARD.decode(raw).ok()) else {
        unreachable!("a sealed value is base64")
    };
    let intact = raw.clone();
    raw.iter_mut().zip(bytes).for_each(|(byte, change)| *byte ^= change);
    value[field] = base64::prelude::BASE64_STANDARD.encode(&raw).into();
    let opened = sealed::decode(value.to_string().as_bytes(), FILE.to_owned(), NAME, 1)
        .and_then(|object| object.open(key(), ENVIRONMENT));
    assert_eq!(opened.is_ok(), raw == intact, "a changed value does not open");
}

fn manifest(bytes: &[u8]) {
    if let Ok(Manifest(secrets)) = serde_json::from_slice::<Manifest>(bytes) {
        let again = serde_json::to_vec(&Manifest(secrets.clone())).unwrap_or_default();
        assert_eq!(serde_json::from_slice::<Manifest>(&again).ok(), Some(Manifest(secrets)));
    }
    drop(serde_json::from_slice::<Recorded>(bytes));
}

fn key_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match key::parse(&text, Path::new("dev.key"), "dev") {
        Ok(key) => assert_eq!(key.id.len(), 12),
        Err(failure) => {
            let told = format!("{failure} {:?} {:?}", failure.causes(), failure.hints());
            assert!(text.trim().len() < 16 || !told.contains(text.trim()), "a key is in no message");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
