//! The identity file beside the journal.

use super::*;

#[test]
fn an_identity_is_kept_and_never_overwritten_by_another() {
    let world = World::new();
    assert_eq!(load_identity(&world.state).expect("read"), None);
    save_identity(&world.state, &world.identity).expect("kept");
    save_identity(&world.state, &world.identity).expect("kept again");

    let failure = save_identity(&world.state, &identity()).expect_err("another");

    assert_eq!(failure.what(), "`dev` is another environment here");
    assert_eq!(load_identity(&world.state).expect("read"), Some(world.identity));
}

#[test]
fn a_damaged_or_newer_identity_is_not_taken_for_none() {
    let world = World::new();
    save_identity(&world.state, &world.identity).expect("kept");
    let text = std::fs::read_to_string(world.state.identity()).expect("read");
    std::fs::write(world.state.identity(), &text[..20]).expect("cut");
    let damaged = load_identity(&world.state).expect_err("damaged");
    std::fs::write(world.state.identity(), text.replace("\"version\": 1", "\"version\": 2")).expect("written");

    let newer = load_identity(&world.state).expect_err("newer");

    assert_eq!(damaged.what(), format!("cannot understand `{}`", world.state.identity().display()));
    assert_eq!(newer.what(), format!("a newer program wrote `{}`", world.state.identity().display()));
}
