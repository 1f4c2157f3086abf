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
fn merged_it_is_one_context_among_the_others_and_a_second_time_changes_nothing() {
    let world = World::made();
    let own = "apiVersion: v1\nkind: Config\ncurrent-context: dev\n\
               clusters: [{name: dev, cluster: {server: 'https://api:6443', certificate-authority-data: Q0E=}}]\n\
               users: [{name: dev-admin, user: {client-key-data: S0VZ}}]\n\
               contexts: [{name: dev, context: {cluster: dev, user: dev-admin}}]\n";
    world.secrets().put("kubeconfig", &Secret::new(own.as_bytes().to_vec())).expect("sealed");
    let others = "apiVersion: v1\nkind: Config\ncurrent-context: work\n\
                  clusters: [{name: work, cluster: {server: 'https://work:6443'}}]\n\
                  users: [{name: me, user: {token: 'yes'}}]\n\
                  contexts: [{name: work, context: {cluster: work, user: me, namespace: '007'}}]\n";
    std::fs::create_dir(world.path(".kube")).expect("made");
    std::fs::write(world.path(".kube/config"), others).expect("written");

    let (first, merged) = world.json(&["kubeconfig", "dev", "--merge"]);
    let text = std::fs::read_to_string(world.path(".kube/config")).expect("a file");
    let (second, again) = world.json(&["kubeconfig", "dev", "--merge"]);

    assert_eq!((first, &merged["changed"], second, &again["changed"]), (0, &json!(true), 0, &json!(false)));
    let backup = merged["backup"].as_str().expect("a place");
    assert_eq!(std::fs::read_to_string(backup).expect("a file"), others);
    for kept in ["https://work:6443", "'yes'", "'007'", "current-context: work", "https://api:6443"] {
        assert!(text.replace('"', "'").contains(kept), "{kept}: {text}");
    }
    assert_eq!(std::fs::read_to_string(world.path(".kube/config")).expect("a file"), text);
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
