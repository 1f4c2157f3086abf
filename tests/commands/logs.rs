//! `logs`.

use serde_json::json;

use crate::World;

#[test]
fn logs_lists_those_of_the_last_run_and_prints_the_named_one() {
    let world = World::made();
    for (run, log, text) in
        [("0001", "network", "old\n"), ("0002", "nodes", "made\n"), ("0002", "servers-server-1", "ok\n")]
    {
        let dir = world.path(".sre-provision/dev/runs").join(run);
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join(format!("{log}.log")), text).expect("written");
    }

    let list = world.run(&["logs", "dev"]);
    let earlier = world.run(&["logs", "dev", "network", "--run", "1"]);
    let unknown = world.run(&["logs", "dev", "network"]);
    let (code, data) = world.json(&["logs", "dev", "nodes"]);

    let shown = ["nodes", "servers-server-1"].map(|name| format!(".sre-provision/dev/runs/0002/{name}.log\n"));
    assert_eq!((list.code, list.out), (0, shown.concat()));
    assert_eq!((earlier.code, earlier.out.as_str()), (0, "old\n"));
    assert_eq!(unknown.code, 1, "{}", unknown.err);
    assert!(unknown.err.contains("hint:  there are nodes, servers-server-1"), "{}", unknown.err);
    assert_eq!((code, &data["text"]), (0, &json!("made\n")));
}

#[test]
fn a_run_that_left_no_log_has_none_to_print() {
    let world = World::made();
    std::fs::create_dir_all(world.path(".sre-provision/dev/runs/0001")).expect("made");

    let list = world.json(&["logs", "dev"]);
    let unknown = world.run(&["logs", "dev", "network", "--run", "7"]);

    assert_eq!(list, (0, json!({ "logs": [] })));
    assert_eq!((unknown.code, unknown.out.as_str()), (1, ""));
    assert!(
        unknown.err.starts_with("error: .sre-provision/dev/runs/0007 holds no log of `network`\n"),
        "{}",
        unknown.err
    );
}
