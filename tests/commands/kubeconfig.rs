//! `kubeconfig`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use sre_provision::secret::Secret;

use crate::World;

const TEXT: &str = "apiVersion: v1\nkind: Config\n";

fn sealed() -> World {
    let world = World::made();
    world.secrets().put("kubeconfig", &Secret::new(TEXT.as_bytes().to_vec())).expect("sealed");
    world
}

#[test]
fn the_sealed_kubeconfig_is_written_to_its_place_for_its_owner_alone() {
    let world = sealed();

    let ended = world.run(&["kubeconfig", "dev"]);

    let path = world.path(".sre-provision/dev/kubeconfig");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let shown = path.canonicalize().expect("there");
    let told = format!(".sre-provision/dev/kubeconfig (context `dev`)\n  export KUBECONFIG={}\n", shown.display());
    assert_eq!(ended.out, told);
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), TEXT);
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn it_is_written_where_the_caller_says_and_programs_are_told_where() {
    let world = sealed();

    let (code, data) = world.json(&["kubeconfig", "dev", "--to", "here"]);
    let told = world.run(&["kubeconfig", "dev", "--to", "here"]);

    let path = world.path("here").canonicalize().expect("there");
    assert_eq!((code, data), (0, json!({ "environment": "dev", "path": path })));
    let wanted = format!("here (context `dev`)\n  export KUBECONFIG={}\n", path.display());
    assert_eq!((told.code, told.out), (0, wanted));
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), TEXT);
    assert!(!world.path(".sre-provision/dev/kubeconfig").exists(), "nowhere else");
}

#[test]
fn a_place_that_cannot_be_written_is_told() {
    let world = sealed();

    let ended = world.run(&["kubeconfig", "dev", "--to", "no/such/directory"]);

    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{}", ended.err);
    assert!(ended.err.contains("no/such/directory"), "{}", ended.err);
}

#[test]
fn before_the_cluster_serves_there_is_none() {
    for world in [World::new(), World::made()] {
        let ended = world.run(&["kubeconfig", "dev"]);
        let (code, failure) = world.json(&["kubeconfig", "dev"]);

        ended.fails(1, "error: `dev` has no kubeconfig yet\nhint:  sre-provision up dev");
        assert_eq!((code, &failure["error"]), (1, &json!("`dev` has no kubeconfig yet")));
    }
}
