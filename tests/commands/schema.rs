//! `schema`.

use crate::{World, root};

#[test]
fn schema_prints_what_lies_beside_the_environments() {
    let world = World::new();

    let ended = world.run(&["schema"]);

    let copy = std::fs::read_to_string(root().join("environments/environment.schema.json")).expect("the copy");
    assert_eq!((ended.code, ended.out.trim_end()), (0, copy.trim_end()));
    assert_eq!(world.json(&["schema"]), (0, serde_json::from_str(&copy).expect("JSON")));
}

#[test]
fn schema_needs_no_workspace_and_takes_no_environment() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("environments")).expect("removed");

    let bare = world.run(&["schema"]);
    let named = world.run(&["schema", "dev"]);

    assert_eq!((bare.code, bare.err.as_str()), (0, ""));
    assert_eq!((named.code, named.out.as_str()), (2, ""));
    assert!(named.err.contains("unexpected argument 'dev' found"), "{}", named.err);
}
