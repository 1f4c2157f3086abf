//! One sealed store per environment: RKE2 tokens, SSH keys, the kubeconfig.
//!
//! Each value is an AES-256-GCM object of its own under `.sre-provision/<name>/secrets/`, or in S3 where several machines
//! share the state, and a new value is a new version: nothing is overwritten, so a crash cannot lose what a node already knows. The key lies elsewhere. The
//! journal gets a name, a version and a keyed fingerprint, never a value; children get a file on tmpfs.
//!
//! # Why
//! A value is read back from the disk before anybody may use it, because a token that a server has started with and that
//! we have lost cannot be made again. All versions are opened at the start, because what is written to logs must be
//! searched for old values too. (2026-11-21)

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod key;
mod manifest;
mod sealed;
mod ssh;
mod vault;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::failure::{Class, Exit, Failure};
use crate::identity::Identity;
use crate::objects::Objects;
use crate::secret::Secret;
use crate::workspace::{Published, StateDir, TmpFile};

use key::Key;
pub use key::KeySource;
pub use manifest::{Manifest, Recorded};
pub use ssh::SshKey;
use vault::Vault;

/// The name of the key pair that opens the nodes.
const SSH_KEY: &str = "ssh-key";
/// Shorter words than this are not searched for on their own.
const PIECE: usize = 32;

/// The sealed store of one environment.
pub struct Secrets {
    vault: Vault,
    environment: Identity,
    source: KeySource,
    key: Mutex<Option<Arc<Key>>>,
    /// Every version of every name, the first one first.
    values: Mutex<BTreeMap<String, Vec<Secret>>>,
}

impl Secrets {
    /// Opens everything that is sealed. A store that is still empty needs no key yet.
    ///
    /// # Errors
    /// The key is missing, is another one or is open to others; an object was altered.
    pub fn open(state: &StateDir, environment: &Identity, key: KeySource) -> Result<Self, Failure> {
        key.refuse_inside(state)?;
        Self::open_in(Vault::Local(state.secrets()), environment, key)
    }

    /// Opens everything that is sealed where several machines share it. Here and later it waits for the store, so only on
    /// a thread of the runtime of many threads.
    ///
    /// # Errors
    /// Besides those of [`open`](Self::open): the store does not answer.
    pub fn open_shared(objects: Arc<dyn Objects>, environment: &Identity, key: KeySource) -> Result<Self, Failure> {
        Self::open_in(shared(objects, environment), environment, key)
    }

    fn open_in(vault: Vault, environment: &Identity, key: KeySource) -> Result<Self, Failure> {
        let store = Self::unopened_in(vault, environment, key);
        let sealed = sealed::list(&store.vault)?;
        if !sealed.is_empty() {
            let key = store.existing_key()?;
            let mut values = store.values();
            for object in sealed {
                let value = object.open(&key, environment.id)?;
                values.entry(object.name).or_default().push(value);
            }
        }
        Ok(store)
    }

    /// The store with everything in it left sealed, for who takes the environment away: it can be forgotten, and nothing
    /// in it is known.
    pub fn unopened(state: &StateDir, environment: &Identity, key: KeySource) -> Self {
        Self::unopened_in(Vault::Local(state.secrets()), environment, key)
    }

    /// As [`unopened`](Self::unopened), where several machines share it.
    pub fn unopened_shared(objects: Arc<dyn Objects>, environment: &Identity, key: KeySource) -> Self {
        Self::unopened_in(shared(objects, environment), environment, key)
    }

    fn unopened_in(vault: Vault, environment: &Identity, key: KeySource) -> Self {
        Self { vault, environment: environment.clone(), source: key, key: Mutex::default(), values: Mutex::default() }
    }

    /// The newest version of a secret.
    pub fn get(&self, name: &str) -> Result<Option<Secret>, Failure> {
        sealed::check_name(name)?;
        Ok(self.values().get(name).and_then(|versions| versions.last()).cloned())
    }

    /// The newest version of a secret, made now if there is none. When two make it at once, both get the first.
    pub fn get_or_create(&self, name: &str, make: impl FnOnce() -> Result<Secret, Failure>) -> Result<Secret, Failure> {
        if let Some(value) = self.get(name)? {
            return Ok(value);
        }
        self.seal(name, 1, &make()?)?;
        // What counts is what lies on the disk, whoever wrote it.
        self.admit(name, 1)
    }

    /// Keeps a new version, unless the newest one has the same value; gives the version's number.
    ///
    /// # Errors
    /// Besides those of writing: somebody else kept a new version at the same time.
    pub fn put(&self, name: &str, value: &Secret) -> Result<u32, Failure> {
        sealed::check_name(name)?;
        let (count, same) = {
            let values = self.values();
            let versions = values.get(name).map_or(&[][..], Vec::as_slice);
            (versions.len(), versions.last().is_some_and(|last| last.expose() == value.expose()))
        };
        let newest = u32::try_from(count).map_err(|_| Failure::bug(format!("too many versions of `{name}`")))?;
        if same {
            return Ok(newest);
        }
        let version = newest + 1;
        if self.seal(name, version, value)? == Published::Existed {
            return Err(Failure::new(Exit::Held, format!("secret `{name}` was changed by somebody else"))
                .class(Class::Conflict)
                .because(format!("version {version} exists already")));
        }
        self.admit(name, version)?;
        Ok(version)
    }

    /// The newest version's number; 0 when there is none.
    pub fn version(&self, name: &str) -> u32 {
        self.values().get(name).map_or(0, |versions| versions.len().try_into().unwrap_or(u32::MAX))
    }

    /// An HMAC over the newest version: what the journal and fingerprints may hold of it.
    pub fn fingerprint(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        Ok(Some(self.existing_key()?.fingerprint(name, &value)))
    }

    /// Puts the newest version into a file on tmpfs, for a child to read.
    ///
    /// # Errors
    /// There is no such secret: it must be made before anything that needs it starts.
    pub fn for_child(&self, name: &str) -> Result<TmpFile, Failure> {
        let value = self.get(name)?.ok_or_else(|| Failure::bug(format!("secret `{name}` was asked for too early")))?;
        TmpFile::create(&self.scope(), name, value.expose())
    }

    /// Removes every sealed value: the environment is gone and nothing of it is to be opened again. The key stays where
    /// it is; it is the person's.
    pub fn forget(&self) -> Result<(), Failure> {
        self.values().clear();
        self.vault.empty()
    }

    /// The id of the environment whose secrets these are.
    pub fn environment(&self) -> uuid::Uuid {
        self.environment.id
    }

    /// The scope of this store's files on tmpfs, for [`crate::workspace::sweep_temporary`].
    pub fn scope(&self) -> String {
        self.environment.short()
    }

    /// Everything that must not appear in a log: each value of each version and, of those of many lines, also each
    /// long word, since tools print line by line.
    pub fn known(&self) -> Vec<Secret> {
        let values = self.values();
        let whole = values.values().flatten();
        whole.flat_map(|value| pieces(value).into_iter().chain([value.clone()])).collect()
    }

    /// The key pair that opens the nodes: ECDSA P-256, which FIPS and every OpenSSH accept.
    pub fn ssh_key(&self) -> Result<SshKey, Failure> {
        let comment = format!("sre-provision {}", self.environment.name);
        let private = self.get_or_create(SSH_KEY, || ssh::generate(&comment))?;
        SshKey::from_private(private)
    }

    fn seal(&self, name: &str, version: u32, value: &Secret) -> Result<Published, Failure> {
        sealed::check_name(name)?;
        let object = sealed::Sealed::seal(&*self.key()?, self.environment.id, name, version, value)?;
        self.vault.publish(&object.file(), &object.encode()?)
    }

    /// Reads a version back from where it lies; only what was read back is used.
    fn admit(&self, name: &str, version: u32) -> Result<Secret, Failure> {
        let object = sealed::read(&self.vault, name, version)?;
        let value = object.open(&*self.existing_key()?, self.environment.id)?;
        let mut values = self.values();
        let versions = values.entry(name.to_owned()).or_default();
        if versions.len() < version as usize {
            versions.push(value.clone());
        }
        Ok(value)
    }

    /// The key, made now if there is none and nothing is sealed yet.
    fn key(&self) -> Result<Arc<Key>, Failure> {
        if sealed::list(&self.vault)?.is_empty() {
            key::create(&self.source)?;
        }
        self.existing_key()
    }

    fn existing_key(&self) -> Result<Arc<Key>, Failure> {
        let mut loaded = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*loaded {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(key::load(&self.source, &self.environment.name)?);
        *loaded = Some(Arc::clone(&key));
        Ok(key)
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Secret>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token with 256 bits of randomness, as hex digits: no tool has to quote it.
pub fn random_token() -> Result<Secret, Failure> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| Failure::bug("the system gives no random numbers"))?;
    Ok(Secret::new(hex::encode(*bytes)))
}

fn shared(objects: Arc<dyn Objects>, environment: &Identity) -> Vault {
    Vault::Shared(objects, format!("{}/secrets/", environment.id))
}

fn pieces(value: &Secret) -> Vec<Secret> {
    let text = value.expose_str().unwrap_or_default();
    let is_key = |word: &&str| {
        word.len() >= PIECE && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    let words = text.split_whitespace().filter(|word| word.len() < text.len());
    words.filter(is_key).map(|word| Secret::new(word.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::environment::{EnvironmentClass, Platform};
    use crate::objects::MemoryObjects;
    use crate::workspace::Workspace;

    struct World {
        dir: tempfile::TempDir,
        identity: Identity,
    }

    impl World {
        fn new() -> Self {
            let identity = Identity {
                version: 1,
                id: uuid::Uuid::new_v4(),
                name: "dev".to_owned(),
                platform: Platform::Aws,
                class: EnvironmentClass::Standard,
                account: "123456789012".to_owned(),
                region: "us-gov-west-1".to_owned(),
                created: jiff::Timestamp::UNIX_EPOCH,
                created_by: "a.operator".to_owned(),
                expires: None,
            };
            Self { dir: tempfile::tempdir().expect("a directory"), identity }
        }

        fn state(&self) -> StateDir {
            std::fs::create_dir_all(self.dir.path().join("workspace")).expect("created");
            Workspace::open(&self.dir.path().join("workspace")).expect("a workspace").state("dev")
        }

        fn key_file(&self) -> PathBuf {
            self.dir.path().join("config/keys/dev.key")
        }

        fn try_open(&self) -> Result<Secrets, Failure> {
            Secrets::open(&self.state(), &self.identity, KeySource::File(self.key_file()))
        }

        fn open(&self) -> Secrets {
            self.try_open().expect("opened")
        }
    }

    fn refused(result: Result<Secrets, Failure>) -> Failure {
        result.err().expect("refused")
    }

    #[test]
    fn a_secret_is_the_same_after_the_store_was_closed() {
        let world = World::new();
        let made = world.open().get_or_create("server-token", random_token).expect("made");

        let found = world.open().get_or_create("server-token", || panic!("made twice")).expect("found");

        assert_eq!(found.expose(), made.expose());
        assert_eq!(found.expose().len(), 64);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]

        // Safety 12
        #[test]
        fn a_secret_that_was_given_out_stays_the_same_whoever_opens_closes_or_is_killed(
            turns in proptest::collection::vec((0usize..3, 0u8..4), 1..14),
        ) {
            let world = World::new();
            let mut programs: [Option<Secrets>; 3] = [None, None, None];
            let mut given: Option<Secret> = None;
            for (who, what) in turns {
                match what {
                    // A program that is killed leaves an unfinished file.
                    0 => {
                        programs[who] = None;
                        let left = world.state().secrets().join(".unfinished");
                        if left.parent().is_some_and(std::path::Path::is_dir) {
                            std::fs::write(left, "half").expect("left");
                        }
                    }
                    _ => {
                        let store = programs[who].get_or_insert_with(|| world.open());
                        let value = store.get_or_create("rke2-server-token", random_token).expect("given");
                        proptest::prop_assert!(world.state().secrets().join("rke2-server-token.0001.json").is_file());
                        let first = given.get_or_insert_with(|| value.clone());
                        proptest::prop_assert_eq!(value.expose(), first.expose());
                    }
                }
            }
        }
    }

    #[test]
    fn a_new_value_is_a_new_version_and_the_old_one_is_still_known() {
        let store = World::new().open();

        let versions = ["one", "two", "two"].map(|value| store.put("token", &Secret::new(value)).expect("kept"));

        assert_eq!(versions, [1, 2, 2]);
        assert_eq!(store.get("token").expect("read").expect("there").expose(), b"two");
        let known: Vec<_> = store.known().iter().map(|value| value.expose().to_vec()).collect();
        assert_eq!(known, [b"one", b"two"]);
    }

    #[test]
    fn two_programs_that_make_a_secret_at_once_get_the_same() {
        let world = World::new();
        let (one, two) = (world.open(), world.open());

        let first = one.get_or_create("token", random_token).expect("made");
        let second = two.get_or_create("token", random_token).expect("found");

        assert_eq!(first.expose(), second.expose());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_several_machines_share_is_sealed_and_found_by_each_that_has_the_key() {
        let world = World::new();
        let objects = MemoryObjects::default();
        let open = || {
            let key = KeySource::File(world.key_file());
            Secrets::open_shared(Arc::new(objects.clone()), &world.identity, key)
        };
        let (one, two) = (open().expect("empty"), open().expect("empty"));
        let made = one.get_or_create("token", random_token).expect("made");

        let found = two.get_or_create("token", random_token).expect("found");
        two.put("kubeconfig", &Secret::new("hunter2-hunter2")).expect("kept");
        let third = open().expect("opened");

        assert_eq!((found.expose(), third.version("kubeconfig")), (made.expose(), 1));
        let keys: Vec<String> = objects.tamper(|all| all.keys().cloned().collect());
        let id = world.identity.id;
        assert_eq!(keys, [format!("{id}/secrets/kubeconfig.0001.json"), format!("{id}/secrets/token.0001.json")]);
        let values = [b"hunter2-hunter2", &made.expose()[..15]];
        let all = objects.tamper(|all| all.values().flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<u8>>());
        assert!(values.iter().all(|value| !all.windows(15).any(|window| window == *value)), "a value lies open");
        third.forget().expect("forgotten");
        assert!(objects.tamper(|all| all.is_empty()));
    }

    #[test]
    fn no_file_of_the_state_directory_holds_a_value_and_none_is_open_to_others() {
        let world = World::new();
        let store = world.open();
        store.put("token", &Secret::new("hunter2-hunter2")).expect("kept");
        let key = store.ssh_key().expect("a key");

        for entry in walkdir::WalkDir::new(world.state().path()) {
            let entry = entry.expect("listed");
            assert_eq!(entry.metadata().expect("there").permissions().mode() & 0o077, 0, "{}", entry.path().display());
            if entry.file_type().is_file() {
                let content = std::fs::read_to_string(entry.path()).expect("read");
                assert!(!content.contains("hunter2"));
                assert!(!content.contains(key.private.expose_str().expect("text").lines().nth(2).expect("a line")));
            }
        }
    }

    #[test]
    fn a_lost_key_is_never_replaced_by_a_new_one() {
        let world = World::new();
        world.open().put("token", &Secret::new("value")).expect("kept");
        std::fs::remove_file(world.key_file()).expect("lost");

        let failure = refused(world.try_open());

        assert_eq!(failure.exit(), Exit::Missing);
        assert_eq!(failure.what(), "the key of the secrets of `dev` is missing");
        assert_eq!(failure.causes(), [format!("`{}` does not exist", world.key_file().display())]);
        assert!(!world.key_file().exists());
    }

    #[test]
    fn a_store_whose_key_is_lost_can_be_forgotten_and_tells_nothing() {
        let world = World::new();
        world.open().put("token", &Secret::new("value")).expect("kept");
        std::fs::remove_file(world.key_file()).expect("lost");

        let store = Secrets::unopened(&world.state(), &world.identity, KeySource::File(world.key_file()));

        assert_eq!((store.known().len(), store.version("token")), (0, 0));
        assert!(store.get_or_create("token", random_token).is_err(), "a second token beside the one that is sealed");
        store.forget().expect("forgotten");
        assert!(!world.state().secrets().exists());
    }

    #[test]
    fn another_key_is_named_as_such() {
        let world = World::new();
        world.open().put("token", &Secret::new("value")).expect("kept");
        std::fs::remove_file(world.key_file()).expect("removed");
        key::create(&KeySource::File(world.key_file())).expect("another key");

        let failure = refused(world.try_open());

        assert_eq!(failure.what(), "secret `token` cannot be opened");
        assert!(failure.causes()[0].starts_with("it was sealed with key "), "{failure}");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let world = World::new();
        world.open().put("token", &Secret::new("value")).expect("kept");
        std::fs::set_permissions(world.key_file(), PermissionsExt::from_mode(0o644)).expect("set");

        let failure = refused(world.try_open());

        assert_eq!(failure.what(), format!("the key `{}` is open to others (mode 644)", world.key_file().display()));
        assert_eq!(failure.hints(), [format!("chmod 600 {}", world.key_file().display())]);
    }

    #[test]
    fn a_key_beside_what_it_opens_is_refused() {
        let world = World::new();

        let failure =
            refused(Secrets::open(&world.state(), &world.identity, KeySource::File(world.state().path().join("key"))));

        assert!(failure.what().ends_with("lies beside the secrets that it opens"), "{failure}");
    }

    #[test]
    fn an_object_moved_to_another_name_version_or_environment_does_not_open() {
        let world = World::new();
        world.open().put("token", &Secret::new("value")).expect("kept");
        let dir = world.state().secrets();
        std::fs::rename(dir.join("token.0001.json"), dir.join("agent-token.0001.json")).expect("moved");

        let failure = refused(world.try_open());

        assert_eq!(failure.what(), "secret `agent-token` cannot be opened");
        assert_eq!(failure.causes(), ["the file says that it is version 1 of `token`"]);
    }

    #[test]
    fn one_changed_bit_is_found() {
        let world = World::new();
        world.open().put("token", &Secret::new("value")).expect("kept");
        let path = world.state().secrets().join("token.0001.json");
        let mut object: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("an object");
        let sealed = object["sealed"].as_str().expect("text").to_owned();
        let flipped = if sealed.starts_with('A') { "B" } else { "A" };
        object["sealed"] = format!("{flipped}{}", &sealed[1..]).into();
        std::fs::write(&path, object.to_string()).expect("written");

        let failure = refused(world.try_open());

        assert_eq!(failure.what(), "secret `token` cannot be opened");
        assert_eq!(failure.causes(), [format!("`{}` was altered", path.display())]);
    }

    #[test]
    fn the_fingerprint_tells_equal_from_different_and_nothing_else() {
        let world = World::new();
        let store = world.open();
        store.put("token", &Secret::new("one")).expect("kept");
        let one = store.fingerprint("token").expect("read");
        store.put("token", &Secret::new("two")).expect("kept");

        let two = store.fingerprint("token").expect("read");

        assert_ne!(one, two);
        assert_eq!(two, world.open().fingerprint("token").expect("read"));
        assert_eq!(store.fingerprint("none").expect("read"), None);
    }

    #[test]
    fn a_lost_and_a_replaced_secret_are_noticed_and_a_newer_one_is_not() {
        let world = World::new();
        let store = world.open();
        store.put("token", &Secret::new("one")).expect("kept");
        let first = store.manifest().expect("read");
        store.put("token", &Secret::new("two")).expect("kept");
        let second = store.manifest().expect("read");
        let path = world.state().secrets().join("token.0002.json");
        store.require(&first).expect("a newer one");

        std::fs::remove_file(&path).expect("lost");
        let lost = world.open().require(&second).expect_err("lost");
        world.open().put("token", &Secret::new("three")).expect("kept");
        let replaced = world.open().require(&second).expect_err("replaced");

        assert_eq!(lost.what(), "secret `token` of `dev` is lost");
        assert_eq!(lost.causes(), ["the journal knows version 2 of it, and the newest here is version 1"]);
        assert_eq!(replaced.causes(), ["the journal knows version 2 of it, and another value has its place"]);
    }

    #[test]
    fn a_child_reads_its_secret_from_a_file_that_goes_with_the_invocation() {
        let store = World::new().open();
        store.put("token", &Secret::new("value")).expect("kept");

        let file = store.for_child("token").expect("written");

        assert_eq!(std::fs::read(file.path()).expect("read"), b"value");
    }

    #[test]
    fn the_key_pair_is_made_once_and_its_lines_are_known_to_the_redactor() {
        let world = World::new();
        let key = world.open().ssh_key().expect("made");

        let again = world.open();

        assert!(key.public.starts_with("ecdsa-sha2-nistp256 AAAA"), "{}", key.public);
        assert!(key.public.ends_with(" sre-provision dev"), "{}", key.public);
        assert_eq!(again.ssh_key().expect("found").public, key.public);
        let line = key.private.expose_str().expect("text").lines().nth(2).expect("a line").as_bytes().to_vec();
        assert!(again.known().iter().any(|piece| piece.expose() == line));
    }
}
