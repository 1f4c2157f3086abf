//! Entries that a newer or an older program wrote.

use super::*;

/// Rewrites an entry as another program would have written it.
fn rewritten(bytes: &[u8], rewrite: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).expect("json");
    rewrite(value.as_object_mut().expect("an object"));
    let digest = entry::digest_of(&mut value).expect("a digest");
    value.as_object_mut().expect("an object").insert("digest".to_owned(), digest.as_str().into());
    entry::canonical(&value).expect("bytes")
}

#[tokio::test]
async fn a_newer_minor_format_is_read_and_never_written_after() {
    let world = World::with(vec![fact("a", 1)]).await;
    world.store.tamper(|objects| {
        let newer = rewritten(&objects[&3], |fields| {
            fields.insert("version".to_owned(), "1.9".into());
            fields.insert("kind".to_owned(), "weather".into());
        });
        objects.insert(3, newer)
    });
    let mut journal = world.open().await;

    let failure = journal.append(&world.lease(), 2, fact("b", 2)).await.expect_err("read-only");

    assert_eq!(failure.what(), "the journal of `dev` is read-only");
    assert_eq!(failure.causes(), ["a newer program wrote to it, in format 1.9; this one knows 1.0"]);
    assert_eq!(journal.entries()[2].record, Record::Unrecognised);
}

#[tokio::test]
async fn a_newer_major_format_is_refused_and_an_unknown_kind_of_our_own_is_damage() {
    let world = World::with(vec![fact("a", 1)]).await;
    let entry = world.store.tamper(|objects| objects[&3].clone());
    let open_with = async |field: &str, value: &str| {
        let changed = rewritten(&entry, |fields| drop(fields.insert(field.to_owned(), value.into())));
        world.store.tamper(|objects| objects.insert(3, changed));
        world.try_open().await.err().expect("refused")
    };

    let major = open_with("version", "2.0").await;
    let kind = open_with("kind", "weather").await;

    assert_eq!(major.what(), "the journal of `dev` was written by a newer program");
    assert_eq!(kind.causes()[0], "entry 3 was altered: its kind is unknown");
}

#[tokio::test]
async fn an_entry_of_an_older_format_is_read_goes_on_in_ours_and_stays_as_it_was() {
    let world = World::with(vec![fact("a", 1)]).await;
    let older = world.store.tamper(|objects| {
        let older = rewritten(&objects[&3], |fields| drop(fields.insert("version".to_owned(), "0.9".into())));
        objects.insert(3, older.clone());
        older
    });
    let mut journal = world.open().await;

    journal.append(&world.lease(), 2, fact("b", 2)).await.expect("written");

    assert_eq!((&journal.memory().facts["a"], &journal.memory().facts["b"]), (&1.into(), &2.into()));
    assert_eq!(journal.entries()[3].version, format::CURRENT);
    assert_eq!(world.store.tamper(|objects| objects[&3].clone()), older);
}
