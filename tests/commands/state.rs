//! `state`, without a bucket to ask.

use crate::World;

#[test]
fn a_state_that_is_where_its_file_says_is_not_moved() {
    World::made().run(&["state", "migrate", "dev"]).fails(
        2,
        "error: the state of `dev` is where its file says\n\
         hint:  set `state.s3` in the file to move it there, or name where it is with `--from s3://BUCKET/PREFIX`",
    );
}

#[test]
fn a_file_that_says_another_place_than_where_the_state_is_begins_nothing_there() {
    let world = World::made();
    world.describe("class: ephemeral", "state: {s3: {bucket: acme-state}}\nclass: ephemeral");
    let state = world.dir.path().canonicalize().expect("a path").join(".sre-provision/dev");

    for command in ["up", "plan", "history", "unlock"] {
        let ended = world.run(&[command, "dev"]);

        assert_eq!(ended.code, 3, "{command}: {}", ended.err);
        assert_eq!(
            ended.err,
            format!(
                "error: the state of `dev` is not where its file says\n\
                 cause: the file says `s3://acme-state/dev`, and it is in `{}`\n\
                 hint:  sre-provision state migrate dev   moves it; or take `state.s3` out of the file\n",
                state.display()
            )
        );
    }
}
