//! The journal's readers under fuzzing: entries, whole journals, and the files beside them.

use futures_util::FutureExt;
use serde_json::Value;
use uuid::Uuid;

use super::chain::Chain;
use super::entry::{canonical, digest_of};
use super::{Entry, Holder, Journal, Memory, MemoryStore, anchor, history, identity, line, usual, verify};
use crate::environment::{EnvironmentClass, Platform};
use crate::fuzz::Target;
use crate::identity::Identity;

const GOLDEN: &[&str] = &["tests/golden/journal/1.0/*"];

pub const TARGETS: &[Target] = &[
    Target { name: "journal-entry", run: entry, seeds: GOLDEN },
    Target { name: "journal-record", run: record, seeds: GOLDEN },
    Target { name: "journal-chain", run: chain, seeds: GOLDEN },
    Target { name: "journal-identity", run: identity_file, seeds: &["tests/golden/secrets/1/identity.json"] },
    Target { name: "journal-anchors", run: anchors, seeds: &[] },
    Target { name: "journal-holder", run: holder, seeds: &[] },
];

/// A chain that ends right before this entry.
fn before(value: &Value) -> Chain {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let environment = text("environment").and_then(|id| id.parse().ok()).unwrap_or_default();
    let mut chain = Chain::new(environment);
    chain.number = value.get("number").and_then(Value::as_u64).unwrap_or_default().saturating_sub(1);
    chain.head = text("previous").and_then(crate::fingerprint::Digest::parse);
    chain
}

/// Bytes as they lie on the disk: whatever is not just what was written is refused.
fn entry(bytes: &[u8]) {
    let mut chain = serde_json::from_slice(bytes).map_or_else(|_| Chain::new(Uuid::nil()), |value| before(&value));
    if chain.follow(Some(bytes)).is_ok() {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        assert_eq!(canonical(&value).ok().as_deref(), Some(bytes), "an entry has one form");
    }
}

/// The same value with a digest that is right: what is behind the digest must be total too.
fn sealed(mut value: Value) -> Option<(Vec<u8>, Value)> {
    let digest = digest_of(&mut value).ok()?;
    value.as_object_mut()?.insert("digest".to_owned(), digest.as_str().into());
    Some((canonical(&value).ok()?, value))
}

fn record(bytes: &[u8]) {
    let Some((bytes, value)) = serde_json::from_slice(bytes).ok().and_then(sealed) else { return };
    let Ok(entry) = before(&value).follow(Some(&bytes)) else { return };
    told(std::slice::from_ref(&entry));
    let again: Entry =
        serde_json::from_value(serde_json::to_value(&entry).unwrap_or_default()).unwrap_or_else(|error| {
            unreachable!("an entry that was read cannot be read again: {error}");
        });
    assert_eq!(again, entry, "an entry is the same when it is read again");
}

/// All that is ever made of entries.
fn told(entries: &[Entry]) {
    let memory = Memory::of(entries);
    memory.next_run();
    entries.iter().for_each(|entry| drop(line(entry)));
    let runs = history(entries);
    usual(&runs);
    drop(serde_json::to_value(&runs));
}

fn identity_of(id: Uuid) -> Identity {
    Identity {
        version: 1,
        id,
        name: "dev".to_owned(),
        platform: Platform::Aws,
        class: EnvironmentClass::Ephemeral,
        account: "123456789012".to_owned(),
        region: "eu-central-1".to_owned(),
        created: jiff::Timestamp::UNIX_EPOCH,
        created_by: "somebody".to_owned(),
        expires: None,
    }
}

/// Each line is an entry of one journal, brought into order; then one byte of one of them is changed.
fn chain(bytes: &[u8]) {
    let id = Uuid::from_u128(1);
    let store = MemoryStore::default();
    let mut chain = Chain::new(id);
    for text in bytes.split(|byte| *byte == b'\n') {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(text) else { continue };
        fields.insert("environment".to_owned(), id.to_string().into());
        fields.insert("number".to_owned(), (chain.number + 1).into());
        match &chain.head {
            Some(head) => fields.insert("previous".to_owned(), head.as_str().into()),
            None => fields.remove("previous"),
        };
        let Some((entry, _)) = sealed(Value::Object(fields)) else { continue };
        if chain.follow(Some(&entry)).is_ok() {
            store.tamper(|objects| objects.insert(chain.number, entry));
        }
    }
    let open = |store: &MemoryStore| Journal::open(Box::new(store.clone()), &identity_of(id)).now_or_never();
    let Some(Ok(journal)) = open(&store) else { unreachable!("a journal of verified entries opens") };
    assert_eq!(journal.memory(), &Memory::of(journal.entries()), "what is remembered is what the entries add up to");
    assert_eq!(journal.entries().len() as u64, chain.number, "no entry is lost");
    told(journal.entries());
    changed_byte_is_found(&store, id, bytes);
}

fn changed_byte_is_found(store: &MemoryStore, id: Uuid, bytes: &[u8]) {
    let pick = bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let number = store.tamper(|objects| {
        let which = pick % objects.len().max(1);
        let (number, entry) = objects.iter_mut().nth(which)?;
        let at = pick % entry.len();
        entry[at] ^= 1 << (pick % 8);
        Some(*number)
    });
    let verdict = verify(store, id, &[]).now_or_never();
    let Some(Ok(verdict)) = verdict else { unreachable!("a store in memory can be read") };
    assert_eq!(verdict.damage.map(|(number, _)| number), number, "a changed byte is found where it is");
}

fn identity_file(bytes: &[u8]) {
    if let Ok(identity) = identity::read(bytes, "identity.json") {
        identity.tags();
        identity.short();
        let text = serde_json::to_vec(&identity).unwrap_or_default();
        assert_eq!(identity::read(&text, "identity.json").ok(), Some(identity));
    }
}

fn anchors(bytes: &[u8]) {
    drop(anchor::told_in(&String::from_utf8_lossy(bytes), Uuid::nil()));
}

fn holder(bytes: &[u8]) {
    if let Ok(holder) = serde_json::from_slice::<Holder>(bytes) {
        assert!(!holder.actor.to_string().is_empty());
        assert_eq!(
            serde_json::from_slice::<Holder>(&serde_json::to_vec(&holder).unwrap_or_default()).ok(),
            Some(holder)
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
