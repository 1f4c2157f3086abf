//! A statement about one image: in-toto's form, SLSA's predicate, signed in an envelope of DSSE.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::gate::Gate;
use crate::bundle::{SigningKey, TrustedKeys};
use crate::cloud::{Account, FoundImage};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::{TAG_FINGERPRINT, TAG_IMAGE, TAG_PARENT};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const PAYLOAD: &str = "application/vnd.in-toto+json";
const BUILD: &str = "https://sre-provision.invalid/image/v1";
const BUILDER: &str = "https://sre-provision.invalid/builder";

/// What an image was made of and by what.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// `base` or `node`.
    pub which: String,
    pub environment: String,
    pub run: u32,
    /// What the environment file says of it.
    pub parameters: Value,
    /// Images it stems from, oldest first.
    pub lineage: Vec<String>,
    /// Trees and values by name.
    pub inputs: BTreeMap<String, Digest>,
    /// The files of RKE2 by name.
    pub files: BTreeMap<String, Digest>,
    /// The programs that made it.
    pub tools: BTreeMap<String, Digest>,
}

/// What was signed, as far as it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub image: String,
    pub content: Digest,
    pub gate: Gate,
}

#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    kind: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

/// What stands for the image itself: its id and place, what it was made of, and its disks. No platform tells a digest of
/// an image's bytes.
pub fn content(account: &Account, image: &FoundImage) -> Digest {
    let tag = |name: &str| image.tags.get(name).cloned().unwrap_or_default();
    let mut disks = image.snapshots.clone();
    disks.sort();
    Digest::of_value(&json!({
        "account": account.id,
        "region": account.region,
        "id": image.id,
        "kind": tag(TAG_IMAGE),
        "fingerprint": tag(TAG_FINGERPRINT),
        "parent": tag(TAG_PARENT),
        "disks": disks,
    }))
}

/// The signed envelope of a statement.
///
/// # Errors
/// It cannot be signed, which is a bug.
pub fn seal(
    key: &SigningKey,
    (account, image): (&Account, &FoundImage),
    made: &Provenance,
    gate: &Gate,
) -> Result<Vec<u8>, Failure> {
    let statement = json!({
        "_type": STATEMENT,
        "subject": [subject(account, image)],
        "predicateType": PREDICATE,
        "predicate": predicate(made, gate),
    });
    sealed(key, &statement)
}

/// The statement about a copy: what was measured on the image that it was copied from, and that it was.
///
/// # Errors
/// The original cannot be read.
pub fn seal_copy(
    key: &SigningKey,
    original: &[u8],
    (account, copy): (&Account, &FoundImage),
) -> Result<Vec<u8>, Failure> {
    let envelope: Envelope = serde_json::from_slice(original).map_err(|error| refused(&error))?;
    let payload = BASE64_STANDARD.decode(&envelope.payload).map_err(|error| refused(&error))?;
    let mut statement: Value = serde_json::from_slice(&payload).map_err(|error| refused(&error))?;
    let mut from = statement["subject"][0].take();
    from["annotations"]["is"] = json!("the image it was copied from");
    statement["subject"] = json!([subject(account, copy)]);
    match statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array_mut() {
        Some(dependencies) => dependencies.push(from),
        None => return Err(refused(&"it does not tell what the image was made of")),
    }
    sealed(key, &statement)
}

fn subject(account: &Account, image: &FoundImage) -> Value {
    json!({
        "name": image.id,
        "digest": { "sha256": content(account, image) },
        "annotations": { "account": account.id, "region": account.region, "disks": image.snapshots,
            "fingerprint": image.tags.get(TAG_FINGERPRINT) },
    })
}

fn sealed(key: &SigningKey, statement: &Value) -> Result<Vec<u8>, Failure> {
    let bytes = serde_json_canonicalizer::to_vec(statement)
        .map_err(|error| Failure::bug("a statement is no JSON").because(error))?;
    let sig = key.sign(&encoding(&bytes))?.trim_end().to_owned();
    let envelope = Envelope {
        kind: PAYLOAD.to_owned(),
        payload: BASE64_STANDARD.encode(&bytes),
        signatures: vec![Signature { keyid: key.name(), sig }],
    };
    serde_json::to_vec_pretty(&envelope).map_err(|error| Failure::bug("an envelope is no JSON").because(error))
}

fn refused(cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NotDone, "the statement cannot be read").because(cause.to_string())
}

fn predicate(made: &Provenance, gate: &Gate) -> Value {
    let digest = |(name, sha256): (&String, &Digest)| json!({ "name": name, "digest": { "sha256": sha256 } });
    let images = made.lineage.iter().map(|id| json!({ "name": id, "annotations": { "is": "image" } }));
    let dependencies: Vec<Value> =
        images.chain(made.inputs.iter().map(digest)).chain(made.files.iter().map(digest)).collect();
    json!({
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": { "image": made.which, "environment": made.environment, "asked": made.parameters },
            "internalParameters": {},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": { "id": BUILDER, "version": { "sre-provision": env!("CARGO_PKG_VERSION") },
                "builderDependencies": made.tools.iter().map(digest).collect::<Vec<_>>() },
            "metadata": { "invocationId": format!("{}/{:04}", made.environment, made.run), "finishedOn": gate.measured },
            "byproducts": [
                { "name": "gate", "mediaType": "application/json", "digest": { "sha256": Digest::of_value(gate) },
                    "annotations": gate },
                { "name": "packages.cdx.json", "mediaType": "application/vnd.cyclonedx+json",
                    "digest": { "sha256": gate.bill } },
            ],
        },
    })
}

/// What is signed of a payload: its type and itself, each with its length.
fn encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Reads an envelope that one of these keys signed; with no keys it is read and nobody vouches for it.
///
/// # Errors
/// Exit 1: none of the keys signed it, or it is no statement about an image that is known.
pub fn open(bytes: &[u8], keys: Option<&TrustedKeys>) -> Result<Statement, Failure> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| refused(&error))?;
    if envelope.kind != PAYLOAD {
        return Err(refused(&format!("it holds `{}`; `{PAYLOAD}` is known", envelope.kind)));
    }
    let payload = BASE64_STANDARD.decode(&envelope.payload).map_err(|error| refused(&error))?;
    if let Some(keys) = keys {
        let signed = encoding(&payload);
        let checks = envelope.signatures.iter().map(|one| keys.check(&signed, one.sig.as_bytes()));
        let mut refusal = None;
        let is_good = checks.into_iter().any(|check| check.map_err(|failure| refusal = Some(failure)).is_ok());
        if !is_good {
            return Err(refusal.unwrap_or_else(|| refused(&"nobody has signed it")));
        }
    }
    let value: Value = serde_json::from_slice(&payload).map_err(|error| refused(&error))?;
    read(&value).map_err(|cause| refused(&cause))
}

fn read(value: &Value) -> Result<Statement, String> {
    if value["_type"] != STATEMENT || value["predicateType"] != PREDICATE {
        return Err(format!("it is a `{}` about `{}`", value["_type"], value["predicateType"]));
    }
    let [subject] = value["subject"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err("it is not about one image".to_owned());
    };
    let content = subject["digest"]["sha256"].as_str().and_then(Digest::parse).ok_or("its subject has no digest")?;
    let image = subject["name"].as_str().ok_or("its subject has no name")?.to_owned();
    let byproducts = value["predicate"]["runDetails"]["byproducts"].as_array();
    let gate = byproducts.into_iter().flatten().find(|one| one["name"] == "gate").ok_or("nothing was measured")?;
    let gate: Gate = serde_json::from_value(gate["annotations"].clone()).map_err(|error| error.to_string())?;
    Ok(Statement { image, content, gate })
}
