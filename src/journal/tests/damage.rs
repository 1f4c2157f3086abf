//! Every way in which entries may have been changed since they were written is found and named.

use super::*;

type Objects = BTreeMap<u64, Vec<u8>>;

#[tokio::test]
async fn a_stray_file_with_a_huge_number_is_a_gap_and_costs_nothing() {
    let world = World::with(vec![]).await;
    world.store.tamper(|objects| objects.insert(9_999_999_999, b"{}".to_vec()));

    let failure = world.try_open().await.err().expect("refused");

    assert_eq!(failure.exit(), Exit::EntryMissing);
    assert_eq!(failure.causes()[0], "entry 3 is missing, and later ones exist");
}

#[tokio::test]
async fn every_changed_byte_of_every_entry_is_found() {
    let world = World::with(vec![intent(None, Deed::Make), settled(None, Deed::Make, Outcome::Succeeded)]).await;
    let intact = world.store.tamper(|objects| objects.clone());

    for (number, bytes) in &intact {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x01;
            world.store.tamper(|objects| objects.insert(*number, changed));
            let verdict = verify(&world.store, world.identity.id, &[]).await.expect("read");
            let (damaged, damage) = verdict.damage.clone().expect("found");
            assert_eq!(damaged, *number, "byte {at}: {damage:?}");
        }
        world.store.tamper(|objects| objects.insert(*number, bytes.clone()));
    }
}

#[tokio::test]
async fn a_digest_in_capital_letters_is_an_altered_entry() {
    let world = World::with(vec![fact("a", 1)]).await;
    world.store.tamper(|objects| {
        let text = String::from_utf8(objects[&3].clone()).expect("text");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let digest = value["digest"].as_str().expect("a digest");
        objects.insert(3, text.replace(digest, &digest.to_uppercase()).into_bytes())
    });

    let verdict = verify(&world.store, world.identity.id, &[]).await.expect("read");

    let (number, damage) = verdict.damage.expect("found");
    assert_eq!(damage.describe(number), "entry 3 was altered: its content does not match its digest");
}

#[tokio::test]
async fn an_altered_journal_is_not_opened_and_the_failure_names_entry_place_and_how() {
    let world = World::with(vec![fact("servers.first", "server-2")]).await;
    world.store.tamper(|objects| {
        let text = String::from_utf8(objects[&3].clone()).expect("text").replace("server-2", "server-1");
        objects.insert(3, text.into_bytes())
    });

    let failure = world.try_open().await.err().expect("refused");

    assert_eq!(failure.exit(), Exit::Altered);
    assert_eq!(failure.what(), "the journal of `dev` is damaged");
    assert_eq!(failure.causes(), ["entry 3 was altered: its content does not match its digest", "entry 3"]);
}

#[tokio::test]
async fn a_missing_a_swapped_and_a_foreign_entry_are_told_apart() {
    let world = World::with(vec![fact("a", 1), fact("b", 2)]).await;
    let intact = world.store.tamper(|objects| objects.clone());
    let damage = async |tamper: &dyn Fn(&mut Objects)| {
        world.store.tamper(|objects| {
            *objects = intact.clone();
            tamper(objects);
        });
        let verdict = verify(&world.store, world.identity.id, &[]).await.expect("read");
        verdict.damage.map(|(number, damage)| damage.describe(number)).unwrap_or_default()
    };

    let missing = damage(&|objects| drop(objects.remove(&2))).await;
    let swapped = damage(&|objects| drop(objects.insert(3, intact[&4].clone()))).await;
    let torn = damage(&|objects| drop(objects.insert(3, intact[&3][..40].to_vec()))).await;
    let foreign = verify(&world.store, Uuid::nil(), &[]).await.expect("read").damage.expect("foreign");

    assert_eq!(missing, "entry 2 is missing, and later ones exist");
    assert_eq!(swapped, "entry 3 was altered: it says that it is entry 4");
    assert!(torn.starts_with("entry 3 was altered: no JSON: "), "{torn}");
    assert_eq!(foreign.1.describe(1), format!("entry 1 was altered: it belongs to environment {}", world.identity.id));
}

#[tokio::test]
async fn a_torn_last_entry_is_no_shorter_journal_and_nothing_is_written_after_it() {
    let world = World::with(vec![fact("a", 1), fact("b", 2)]).await;
    let whole = world.store.tamper(|objects| objects[&4].clone());

    for length in 0..whole.len() {
        world.store.tamper(|objects| objects.insert(4, whole[..length].to_vec()));
        let failure = world.try_open().await.err().expect("refused");
        let cause = &failure.causes()[0];
        assert!(cause.starts_with("entry 4 was altered: "), "{length} bytes: {cause}");
    }
}

#[tokio::test]
async fn an_entry_that_is_there_twice_is_found_behind_the_last_and_before_it() {
    let world = World::with(vec![fact("a", 1), fact("b", 2)]).await;
    let intact = world.store.tamper(|objects| objects.clone());
    let opened = async |number: u64, copy_of: u64| {
        world.store.tamper(|objects| {
            *objects = intact.clone();
            objects.insert(number, intact[&copy_of].clone())
        });
        world.try_open().await.err().expect("refused").causes()[0].clone()
    };

    let (behind, before) = (opened(5, 4).await, opened(4, 3).await);

    assert_eq!(behind, "entry 5 was altered: it says that it is entry 4");
    assert_eq!(before, "entry 4 was altered: it says that it is entry 3");
}

#[tokio::test]
async fn a_cut_tail_is_found_only_with_an_anchor() {
    let world = World::with(vec![fact("a", 1), fact("b", 2)]).await;
    let anchor = world.open().await.head().expect("a head");
    let whole = verify(&world.store, world.identity.id, std::slice::from_ref(&anchor)).await.expect("read");
    world.store.tamper(|objects| objects.remove(&4));

    let without = verify(&world.store, world.identity.id, &[]).await.expect("read");
    let with = verify(&world.store, world.identity.id, std::slice::from_ref(&anchor)).await.expect("read");

    assert_eq!(whole.exit(), None);
    assert_eq!((without.exit(), without.entries), (Some(Exit::Unanchored), 3));
    assert_eq!(with.exit(), Some(Exit::Truncated));
}

#[tokio::test]
async fn a_journal_that_was_written_anew_as_a_whole_is_found_only_with_an_anchor() {
    let world = World::with(vec![fact("a", 1)]).await;
    let anchor = world.open().await.head().expect("a head");
    let forged = World { identity: world.identity.clone(), ..World::new() };
    let writer = Writer::begin(forged.open().await, forged.lease(), "up dev", None).await.expect("begun");
    writer.append(fact("a", 2)).await.expect("written");

    let without = verify(&forged.store, world.identity.id, &[]).await.expect("read");
    let with = verify(&forged.store, world.identity.id, &[anchor]).await.expect("read");

    assert_eq!((without.exit(), without.damage), (Some(Exit::Unanchored), None));
    assert_eq!(with.exit(), Some(Exit::Altered));
}
