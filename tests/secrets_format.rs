//! What an earlier program sealed is opened by this one.
//!
//! The key and the values under `tests/golden/secrets/` are examples and open nothing else.
#![expect(clippy::disallowed_methods, reason = "the world of the test is made of files")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sre_provision::failure::Exit;
use sre_provision::identity::Identity;
use sre_provision::journal::{load_identity, save_identity};
use sre_provision::secret::Secret;
use sre_provision::secrets::{KeySource, Secrets};
use sre_provision::workspace::{StateDir, Workspace};

const FORMAT: &str = "1";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/secrets").join(FORMAT)
}

/// A copy of the golden files with the modes that a checkout does not keep.
struct World {
    dir: tempfile::TempDir,
    state: StateDir,
}

impl World {
    fn golden() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let state = Workspace::open(dir.path()).expect("a workspace").state("dev");
        std::fs::create_dir_all(state.secrets()).expect("made");
        for name in ["token.0001.json", "token.0002.json"] {
            std::fs::copy(golden().join(name), state.secrets().join(name)).expect("copied");
        }
        std::fs::copy(golden().join("identity.json"), state.identity()).expect("copied");
        let world = Self { dir, state };
        std::fs::copy(golden().join("example.key"), world.key()).expect("copied");
        std::fs::set_permissions(world.key(), std::fs::Permissions::from_mode(0o600)).expect("set");
        world
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("example.key")
    }

    fn identity(&self) -> Identity {
        load_identity(&self.state).expect("read").expect("there")
    }

    fn open(&self) -> Secrets {
        Secrets::open(&self.state, &self.identity(), KeySource::File(self.key())).expect("opened")
    }
}

#[test]
fn the_golden_store_opens_and_its_newest_version_counts() {
    let store = World::golden().open();

    assert_eq!(store.version("token"), 2);
    assert_eq!(store.get("token").expect("read").expect("there").expose(), b"the second example");
    assert_eq!(
        store.fingerprint("token").expect("read").as_deref(),
        Some("9faf00a495e57577d6bce53e6abb4e92ca12ede7688749ce5a207e51e3808f3e")
    );
}

#[test]
fn the_golden_identity_is_read_and_written_back_as_it_was() {
    let world = World::golden();

    save_identity(&world.state, &world.identity()).expect("kept");

    let there = std::fs::read_to_string(golden().join("identity.json")).expect("read");
    assert_eq!(std::fs::read_to_string(world.state.identity()).expect("read"), there);
}

#[test]
fn a_store_that_lost_a_version_is_refused_by_its_number() {
    let world = World::golden();
    std::fs::remove_file(world.state.secrets().join("token.0001.json")).expect("lost");

    let failure = Secrets::open(&world.state, &world.identity(), KeySource::File(world.key())).err().expect("refused");

    assert_eq!(failure.exit(), Exit::NotDone);
    assert_eq!(failure.what(), "version 1 of secret `token` is missing");
}

/// Writes the golden files of a format that is not released yet: `cargo test --test secrets_format -- --ignored`.
#[test]
#[ignore = "writes the golden files"]
fn write_the_golden_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = Workspace::open(dir.path()).expect("a workspace").state("dev");
    std::fs::create_dir_all(golden()).expect("made");
    let identity: Identity = serde_json::from_value(serde_json::json!({
        "version": 1,
        "id": "5b1e0000-0000-4000-8000-000000000001",
        "name": "dev",
        "platform": "aws",
        "class": "ephemeral",
        "account": "123456789012",
        "region": "us-gov-west-1",
        "created": "2026-11-20T14:02:11Z",
        "created_by": "a.operator",
        "expires": "2026-11-23T14:02:11Z",
    }))
    .expect("an identity");
    save_identity(&state, &identity).expect("kept");
    let key = dir.path().join("example.key");
    std::fs::write(&key, format!("{}\n", "00112233445566778899aabbccddeeff".repeat(2))).expect("written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("set");
    let store = Secrets::open(&state, &identity, KeySource::File(key.clone())).expect("opened");
    store.put("token", &Secret::new("the first example")).expect("kept");
    store.put("token", &Secret::new("the second example")).expect("kept");

    let made =
        [state.identity(), key, state.secrets().join("token.0001.json"), state.secrets().join("token.0002.json")];
    for path in made {
        let copy = golden().join(path.file_name().expect("a name"));
        std::fs::write(copy, std::fs::read(&path).expect("read")).expect("written");
    }
}
