//! `nodes`.

use serde_json::json;

use crate::World;

#[test]
fn nodes_tells_a_machine_that_does_not_answer_in_its_own_line() {
    let world = World::reached();

    let (code, data) = world.json(&["nodes", "dev"]);
    let table = world.run(&["nodes", "dev"]);

    world.forget_the_way();
    assert_eq!((code, data.as_array().map(Vec::len)), (0, Some(1)), "{data}");
    let line = &data[0];
    for (key, value) in [("node", "server-1"), ("role", "server"), ("machine", "i-0abc"), ("version", "")] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["ready"], &line["age"]), (&json!(null), &json!(null)), "nobody tells");
    let state = line["state"].as_str().unwrap_or_default();
    assert!(state.starts_with("no SSH connection to `server-1` (127.0.0.1): "), "{line}");
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    let head: Vec<&str> = table.out.lines().next().expect("a head").split_whitespace().collect();
    assert_eq!(
        head,
        [
            "NODE", "ROLE", "RKE2", "READY", "AGE", "VERSION", "ETCD", "CERTS", "ADDRESS", "ZONE", "SIZE", "IMAGE",
            "MACHINE"
        ]
    );
    assert_eq!(table.rows()[0][..2], ["server-1", "server"], "{}", table.out);
}

#[test]
fn machines_that_were_never_reached_are_not_asked() {
    let world = World::made();

    let ended = world.run(&["nodes", "dev"]);
    let (code, failure) = world.json(&["nodes", "dev"]);

    ended.fails(1, "error: `dev` has no nodes that can be reached yet\nhint:  sre-provision up dev");
    assert_eq!((code, &failure["hints"]), (1, &json!(["sre-provision up dev"])));
}
