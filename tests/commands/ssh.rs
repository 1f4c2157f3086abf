//! `ssh`.

use crate::World;

#[test]
fn a_node_that_was_never_made_cannot_be_entered() {
    World::new()
        .run(&["ssh", "dev", "server-1"])
        .fails(1, "error: `dev` was never made here\nhint:  sre-provision up dev");
    World::made()
        .run(&["ssh", "dev", "server-1"])
        .fails(1, "error: `dev` has no nodes that can be reached yet\nhint:  sre-provision up dev");
}

#[test]
fn an_unknown_node_is_told_with_those_that_there_are() {
    let world = World::reached();

    let unknown = world.run(&["ssh", "dev", "server-9"]);
    let jump = world.run(&["ssh", "dev", "jump"]);

    unknown.fails(2, "error: `dev` has no node `server-9`\nhint:  the nodes are server-1");
    jump.fails(2, "error: `dev` has no node `jump`\nhint:  the nodes are server-1");
}

#[test]
fn it_becomes_the_real_ssh_and_ends_with_its_code() {
    let world = World::reached();

    let ended = world.run(&["ssh", "dev", "server-1", "--", "true"]);

    world.forget_the_way();
    assert_eq!((ended.code, ended.out.as_str()), (255, ""));
    assert!(ended.err.contains("Connection refused"), "{}", ended.err);
}
