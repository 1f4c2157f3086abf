//! A statement from its signing to the judgement over the image it is about.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::bundle::SigningKey;
use crate::cloud::Tags;
use crate::identity::{TAG_FINGERPRINT, TAG_IMAGE, TAG_PARENT};
use crate::images::{Provenance, seal};

/// What the public key of a P-256 pair begins with.
const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// A key pair: the one that signs, and who trusts it.
fn keys(dir: &Path) -> (SigningKey, TrustedKeys) {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref()).expect("a key");
    let text = BASE64_STANDARD.encode(key.as_ref());
    let text = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    std::fs::write(dir.join("key"), text).expect("written");
    let public = [&hex::decode(SPKI).expect("hex"), pair.public_key().as_ref()].concat();
    let trusted = TrustedKeys::read(&[BASE64_STANDARD.encode(public)], dir).expect("a public key");
    (SigningKey::read("file:key", dir).expect("a private key"), trusted)
}

fn account() -> Account {
    let [id, region, principal] = ["123456789012", "us-east-1", "tester"].map(str::to_owned);
    Account { id, region, principal }
}

fn image(id: &str) -> FoundImage {
    let tags = [(TAG_IMAGE, "node"), (TAG_PARENT, "ami-base"), (TAG_FINGERPRINT, "9c41")];
    FoundImage {
        id: id.to_owned(),
        name: "sre-node-9c41".to_owned(),
        owner: "123456789012".to_owned(),
        created: "2026-11-20T14:02:00.000Z".to_owned(),
        usable: true,
        tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        snapshots: vec!["snap-1".to_owned()],
    }
}

fn gate() -> Gate {
    let at = |text: &str| text.parse().expect("a time");
    Gate {
        measured: at("2026-11-20T14:02:00Z"),
        expires: at("2026-12-20T14:02:00Z"),
        machine: "i-1".to_owned(),
        fips: Fips { wanted: true, kernel: true },
        profile: Some(Profile { name: "stig".to_owned(), pass: 180, fail: 15, unknown: 5, ..Profile::default() }),
        hygiene: vec![Trace { what: "passwords".to_owned(), found: vec![] }],
        rke2: None,
        packages: 2,
        bill: Digest::of(b"bill"),
    }
}

struct World {
    key: SigningKey,
    trusted: TrustedKeys,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (key, trusted) = keys(dir.path());
        Self { key, trusted }
    }

    fn sealed(&self, gate: &Gate) -> Vec<u8> {
        seal(&self.key, (&account(), &image("ami-1")), &Provenance::default(), gate).expect("sealed")
    }

    fn judged(&self, image: &FoundImage, bytes: &[u8], score: u8, now: &str) -> Standing {
        let policy = Policy { keys: Some(self.trusted.clone()), score };
        let named = Digest::of(bytes);
        policy.judge(&account(), image, Some(named.as_str()), Some(bytes), now.parse().expect("a time"))
    }
}

const NOW: &str = "2026-11-30T12:00:00Z";

#[test]
fn an_image_whose_statement_holds_is_proven_until_it_expires() {
    let world = World::new();
    let bytes = world.sealed(&gate());

    assert_eq!(world.judged(&image("ami-1"), &bytes, 90, NOW), Standing::Proven(Box::new(gate())));
    assert_eq!(
        world.judged(&image("ami-1"), &bytes, 90, "2026-12-20T14:02:00Z").faults(),
        ["its statement expired 2026-12-20 14:02Z"]
    );
}

#[test]
fn a_statement_about_another_image_or_other_disks_or_another_fingerprint_does_not_count() {
    let world = World::new();
    let bytes = world.sealed(&gate());
    let mut disks = image("ami-1");
    disks.snapshots = vec!["snap-2".to_owned()];
    let mut print = image("ami-1");
    print.tags.insert(TAG_FINGERPRINT.to_owned(), "other".to_owned());

    for other in [image("ami-2"), disks, print] {
        let told = world.judged(&other, &bytes, 0, NOW).faults();
        assert_eq!(told, ["its statement is about another image, `ami-1`"], "{other:?}");
    }
}

#[test]
fn a_key_that_is_not_trusted_vouches_for_nothing() {
    let (world, other) = (World::new(), World::new());
    let bytes = other.sealed(&gate());

    let told = world.judged(&image("ami-1"), &bytes, 0, NOW).faults();

    assert_eq!(told[0], "the signature is wrong");
}

#[test]
fn no_byte_of_a_statement_can_be_changed() {
    let world = World::new();
    let bytes = world.sealed(&gate());
    let text = String::from_utf8(bytes).expect("text");
    let envelope: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let payload = BASE64_STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");

    for at in (0..payload.len()).step_by(97) {
        let mut changed = payload.clone();
        changed[at] ^= 1;
        let other = text.replace(envelope["payload"].as_str().expect("text"), &BASE64_STANDARD.encode(&changed));
        let told = world.judged(&image("ami-1"), other.as_bytes(), 0, NOW).faults();
        assert_eq!(told.first().map(String::as_str), Some("the signature is wrong"), "byte {at}");
    }
}

#[test]
fn what_was_measured_must_be_enough() {
    let world = World::new();
    let dirty = Trace { what: "passwords".to_owned(), found: vec!["root".to_owned()] };
    let poor = Gate { fips: Fips { wanted: true, kernel: false }, hygiene: vec![dirty], packages: 0, ..gate() };

    let told = world.judged(&image("ami-1"), &world.sealed(&poor), 91, NOW).faults();

    assert_eq!(
        told,
        [
            "the kernel is not in FIPS mode",
            "90 % of profile `stig` passed, 91 % are required",
            "it tells of no package",
            "passwords in it: root"
        ]
    );
}

#[test]
fn an_image_that_names_no_statement_or_one_that_is_not_kept_or_another_is_told_apart() {
    let world = World::new();
    let policy = Policy { keys: Some(world.trusted.clone()), score: 0 };
    let bytes = world.sealed(&gate());
    let judged = |named: Option<&str>, kept: Option<&[u8]>| {
        policy.judge(&account(), &image("ami-1"), named, kept, NOW.parse().expect("a time"))
    };

    assert_eq!(judged(None, None), Standing::Absent);
    assert_eq!(judged(Some("ab"), None), Standing::Missing("ab".to_owned()));
    assert_eq!(judged(Some("ab"), Some(&bytes)).word(), "refused");
    let told = Policy::default().judge(
        &account(),
        &image("ami-1"),
        Some(Digest::of(&bytes).as_str()),
        Some(&bytes),
        NOW.parse().expect("a time"),
    );
    assert_eq!(told, Standing::Told(Box::new(gate())));
}

#[test]
fn tags_beside_those_that_say_what_it_is_may_change() {
    let world = World::new();
    let mut later = image("ami-1");
    later.tags.extend(Tags::from([("sre:state".to_owned(), "ready".to_owned())]));

    assert_eq!(world.judged(&later, &world.sealed(&gate()), 0, NOW).word(), "proven");
}
