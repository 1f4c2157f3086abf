//! Bundles made, damaged, stopped and taken in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;

use super::*;
use crate::environment::{Cni, Environment};
use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::stop::Stop;
use crate::workspace::{Dies, Disk, RealDisk};

const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// A directory with a key and two files of the release, one of them of several chunks.
struct World {
    dir: tempfile::TempDir,
    keys: TrustedKeys,
}

fn key_pair(dir: &Path, name: &str) -> String {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref()).expect("a key");
    let encode = |bytes: &[u8]| base64::prelude::BASE64_STANDARD.encode(bytes);
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", encode(key.as_ref()));
    std::fs::write(dir.join(name), text).expect("written");
    encode(&[&hex::decode(SPKI).expect("hex"), pair.public_key().as_ref()].concat())
}

fn content(seed: u32, chunks: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = u64::from(seed) * 2 + 1;
    while bytes.len() < chunks * CHUNK - 1000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let public = key_pair(dir.path(), "sign.pem");
        let keys = TrustedKeys::read(&[public], dir.path()).expect("a key");
        let names = release_files();
        let mut sums = String::new();
        for (seed, name) in names.iter().enumerate() {
            let bytes = content(seed as u32 + 1, 2);
            sums.push_str(&format!("{}  {name}\n", Digest::of(&bytes)));
            std::fs::write(dir.path().join(name), bytes).expect("written");
        }
        std::fs::write(dir.path().join(crate::rke2::checksum_file()), sums).expect("written");
        std::fs::write(dir.path().join("sre-provision"), "the program").expect("written");
        Self { dir, keys }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn items(&self) -> Vec<Item> {
        let release = release_files().into_iter().chain([crate::rke2::checksum_file()]);
        let files = release.map(|name| (FileKind::Release, name));
        let files = files.chain([(FileKind::Program, "sre-provision".to_owned())]);
        let item = |(kind, name): (FileKind, String)| Item {
            kind,
            from: self.path(&name),
            name: Name::parse(&name).expect("a name"),
            sha256: None,
        };
        files.map(item).collect()
    }

    fn create(&self, disk: &dyn Disk, to: &str, version: u64, split: u64) -> Result<Made, Failure> {
        self.create_of(disk, to, version, split, self.items())
    }

    fn create_of(
        &self,
        disk: &dyn Disk,
        to: &str,
        version: u64,
        split: u64,
        items: Vec<Item>,
    ) -> Result<Made, Failure> {
        let key = SigningKey::read("file:sign.pem", self.dir.path())?;
        let (to, stop) = (self.path(to), Stop::default());
        let order = Order { to: &to, split, have: BTreeSet::new(), stop: &stop };
        let rke2 = Release { version: "v1.35.4+rke2r1".to_owned(), cni: Cni::Canal };
        create(disk, &order, &key, items, |files| Manifest::new("airgap", version, rke2, files))
    }

    fn made(&self) -> PathBuf {
        self.create(&RealDisk, "disk", 7, u64::MAX).expect("made");
        self.path("disk")
    }

    fn open(&self, dirs: &[PathBuf]) -> Result<Opened, Failure> {
        Opened::open(dirs, &self.keys)
    }

    fn look(&self, dir: &Path) -> Sound {
        self.open(&[dir.to_owned()]).expect("signed").look(&Stop::default()).expect("read")
    }

    fn load(&self, disk: &dyn Disk, dirs: &[PathBuf]) -> Result<Loaded, Failure> {
        let mut opened = self.open(dirs)?;
        add_loaded(&mut opened, &self.path("loaded"));
        load(disk, &opened, &self.path("loaded"), &Stop::default())
    }

    fn is_loaded(&self) {
        for name in release_files() {
            let loaded = std::fs::read(self.path("loaded/release/v1.35.4+rke2r1").join(&name)).expect("loaded");
            assert!(loaded == std::fs::read(self.path(&name)).expect("there"), "{name}");
        }
        assert!(!self.path("loaded/.partial").exists());
    }
}

/// It has everything but the release and the program of its own.
fn environment() -> Environment {
    let text = include_str!("../../environments/airgap.yaml");
    crate::config::read("environments/airgap.yaml", "airgap", text).expect("valid")
}

fn release_files() -> Vec<String> {
    crate::rke2::release_files(&environment().rke2)
}

/// What is lacking, as it is told.
fn told(opened: &Opened, env: &Environment) -> Vec<String> {
    lacking(opened, env).expect("told").into_iter().map(|lack| lack.what).collect()
}

fn change(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn what_was_made_is_whole_enough_and_taken_in_once() {
    let world = World::new();
    let disk = world.made();

    let opened = world.open(std::slice::from_ref(&disk)).expect("opened");
    let first = world.load(&RealDisk, std::slice::from_ref(&disk)).expect("loaded");
    let second = world.load(&RealDisk, &[disk]).expect("loaded");

    assert_eq!(opened.look(&Stop::default()).expect("read").wrong, []);
    assert_eq!(told(&opened, &environment()), Vec::<String>::new());
    assert_eq!(first, Loaded { files: 5, kept: 0, removed: 0 });
    assert_eq!(second, Loaded { files: 5, kept: 5, removed: 0 });
    world.is_loaded();
}

#[test]
fn a_flipped_byte_and_a_cut_end_name_their_chunk_and_a_supplement_heals_both() {
    let world = World::new();
    let disk = world.made();
    let whole = world.open(std::slice::from_ref(&disk)).expect("opened");
    std::fs::create_dir(world.path("bad")).expect("made");
    for name in [MANIFEST, SIGNATURE, "chunks-0001"] {
        std::fs::copy(disk.join(name), world.path("bad").join(name)).expect("copied");
    }
    let bad = world.path("bad");
    let length = bad.join("chunks-0001").metadata().expect("there").len();
    change(&bad.join("chunks-0001"), 5000);
    std::fs::File::options().write(true).open(bad.join("chunks-0001")).expect("open").set_len(length - 1).expect("cut");

    let sound = world.look(&bad);
    let failure = sound.require().expect_err("damaged");
    let refused = world.load(&RealDisk, std::slice::from_ref(&bad)).expect_err("damaged");
    let (chunks, _) = missing(&whole, &Have::new(sound.right.clone()));
    let (more, stop) = (world.path("more"), Stop::default());
    let order = Order { to: &more, split: u64::MAX, have: BTreeSet::new(), stop: &stop };
    supplement(&RealDisk, &whole, &chunks, &order).expect("written");

    assert_eq!((chunks.len(), failure.exit()), (2, crate::failure::Exit::NotDone));
    assert!(failure.what().starts_with("2 of "), "{failure}");
    assert!(failure.causes().iter().any(|cause| cause.ends_with("` is damaged")), "{:?}", failure.causes());
    assert!(failure.causes().iter().any(|cause| cause.ends_with("` is missing")), "{:?}", failure.causes());
    assert_eq!(refused.exit(), crate::failure::Exit::NotDone);
    assert!(!world.path("loaded/release").exists(), "nothing has its name before all is right");
    world.load(&RealDisk, &[bad, more]).expect("healed");
    world.is_loaded();
}

#[test]
fn a_supplement_that_dies_at_any_write_is_gone_on_with_per_chunk() {
    let world = World::new();
    let whole = world.open(&[world.made()]).expect("opened");
    let (chunks, _) = missing(&whole, &Have::default());
    let (more, stop) = (world.path("more"), Stop::default());
    let order = Order { to: &more, split: 3 << 20, have: BTreeSet::new(), stop: &stop };
    let mut most = 0;
    for operations in 0..60 {
        drop(crate::workspace::remove_tree(&more));
        if supplement(&Dies::after(operations), &whole, &chunks, &order).is_ok() {
            assert!(most > 0, "nothing was ever kept");
            let again = supplement(&RealDisk, &whole, &chunks, &order).expect_err("it is whole");
            return assert!(again.what().ends_with("holds a bundle already"), "{again}");
        }
        if more.join(SIGNATURE).exists() {
            continue;
        }
        let made = supplement(&RealDisk, &whole, &chunks, &order).expect("gone on");
        assert_eq!(made.written + made.kept, chunks.len(), "{operations}");
        assert_eq!(world.look(&more).wrong, [], "{operations}");
        most = most.max(made.kept);
    }
    panic!("it never came to its end");
}

#[test]
fn a_wrong_signature_is_refused_and_a_key_inside_the_bundle_counts_for_nothing() {
    let world = World::new();
    let disk = world.made();
    let other = world.dir.path().join("other");
    std::fs::create_dir(&other).expect("made");
    let theirs = key_pair(&other, "sign.pem");
    let forged = SigningKey::read("file:sign.pem", &other).expect("a key");
    let bytes = std::fs::read(disk.join(MANIFEST)).expect("read");
    std::fs::write(disk.join(SIGNATURE), forged.sign(&bytes).expect("signed")).expect("written");
    std::fs::write(disk.join("trust.pem"), &theirs).expect("written");

    let failure = world.open(std::slice::from_ref(&disk)).expect_err("refused");
    std::fs::write(disk.join(SIGNATURE), "garbage").expect("written");
    let garbage = world.open(&[disk]).expect_err("refused");

    assert!(failure.what().ends_with("the signature is wrong"), "{failure}");
    assert!(failure.causes()[0].starts_with("it was made by none of the trusted keys ("), "{failure}");
    assert_eq!(
        (failure.exit(), garbage.causes().join("")),
        (crate::failure::Exit::NotDone, "it is no base64".to_owned())
    );
}

#[test]
fn an_older_bundle_is_refused_and_another_one_of_the_same_version() {
    let world = World::new();
    world.create(&RealDisk, "old", 6, u64::MAX).expect("made");
    let new = world.open(&[world.made()]).expect("opened");
    let old = world.open(&[world.path("old")]).expect("opened");
    let accepted = Accepted::default().with(&new.manifest, &new.bytes);

    let failure = refuse_older(&accepted, &old.manifest, &old.bytes).expect_err("older");
    let other = refuse_older(&accepted, &new.manifest, b"other").expect_err("another");

    assert_eq!(failure.what(), "version 6 of bundle `airgap` is refused");
    assert_eq!(failure.causes(), ["version 7 was accepted before"]);
    assert_eq!(other.causes(), ["another bundle of this version was accepted before"]);
    assert!(refuse_older(&accepted, &new.manifest, &new.bytes).is_ok(), "the same one again");
}

#[test]
fn volumes_stay_below_the_size_of_the_medium() {
    let world = World::new();
    let split = 3 << 20;

    world.create(&RealDisk, "disk", 7, split).expect("made");

    let sizes: Vec<u64> =
        (1..=9).filter_map(|n| Some(world.path(&format!("disk/chunks-{n:04}")).metadata().ok()?.len())).collect();
    assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size < split), "{sizes:?}");
    assert_eq!(world.look(&world.path("disk")).wrong, []);
}

#[test]
fn what_is_missing_for_the_environment_is_named() {
    let world = World::new();
    let opened = world.open(&[world.made()]).expect("opened");
    let digest = "a".repeat(64);
    let image = format!("registry.example/app:1@sha256:{digest}");
    let mut env = environment();
    env.rke2.cni = Cni::Cilium;
    env.bundle.images = vec![image.clone()];
    env.bundle.charts = Some("charts".into());
    env.bundle.rpms = Some(packages());

    let lacking = told(&opened, &env);

    let file = "release file `rke2-images-cilium.linux-amd64.tar.zst`, which stage `servers` wants";
    let image = format!("image `{image}`");
    assert_eq!(lacking, [file, &image, "any chart", "rpm `app`"]);
}

fn packages() -> crate::supply::Packages {
    let packages = vec!["app".to_owned()];
    crate::supply::Packages { packages, repositories: std::collections::BTreeMap::new(), base: "base".into() }
}

#[test]
fn what_a_package_requires_and_neither_the_bundle_nor_the_base_image_has_is_named() {
    let world = World::new();
    let capability = |name: &str, sense, version: &str| rpm::Capability {
        name: name.to_owned(),
        sense,
        version: version.to_owned(),
    };
    let app = rpm::Package {
        name: "app".to_owned(),
        version: "2-1".to_owned(),
        provides: vec![capability("app", 8, "2-1")],
        requires: vec![capability("/bin/sh", 0, ""), capability("lib", 12, "1.4"), capability("glibc", 0, "")],
        ..rpm::Package::default()
    };
    std::fs::write(world.path("app-2-1.noarch.rpm"), rpm::tests::written(&app)).expect("written");
    std::fs::write(world.path("base-provides"), "F\t/bin/sh\nP\tlib\t8\t1.3-1\nP\tglibc\t8\t2.34\n").expect("written");
    std::fs::write(world.path("repomd.xml"), "<repomd/>").expect("written");
    let more = [
        (FileKind::Rpm, "app-2-1.noarch.rpm"),
        (FileKind::RpmMetadata, "base-provides"),
        (FileKind::RpmMetadata, "repomd.xml"),
    ];
    let more = more.map(|(kind, name)| Item {
        kind,
        from: world.path(name),
        name: Name::parse(name).expect("a name"),
        sha256: None,
    });
    let items = world.items().into_iter().chain(more).collect();
    world.create_of(&RealDisk, "disk", 7, u64::MAX, items).expect("made");
    let mut env = environment();
    env.bundle.rpms = Some(packages());

    let opened = world.open(&[world.path("disk")]).expect("opened");
    let lacking = told(&opened, &env);
    env.bundle.elsewhere.clear();
    let strictly = told(&opened, &env);

    assert_eq!(lacking, ["`lib >= 1.4`, which rpm `app-2-1.noarch.rpm` requires"]);
    assert!(strictly.contains(&"rpm `iptables-nft`, which stage `servers` wants".to_owned()), "{strictly:?}");
    assert!(strictly.contains(&"wheel `ansible-core`, which stage `hardening` wants".to_owned()), "{strictly:?}");
}

#[test]
fn a_creation_that_dies_at_any_write_is_gone_on_with() {
    for operations in 0..60 {
        let world = World::new();
        let died = world.create(&Dies::after(operations), "disk", 7, 4 << 20);
        let made = match died {
            Ok(_) => return assert!(operations > 10),
            Err(_) if world.path("disk").join(SIGNATURE).exists() => continue,
            Err(_) => world.create(&RealDisk, "disk", 7, 4 << 20).expect("gone on"),
        };
        assert_eq!(made.written + made.kept, made.manifest.chunks().len(), "{operations}");
        assert_eq!(world.look(&world.path("disk")).wrong, [], "{operations}");
    }
    panic!("it never came to its end");
}

#[test]
fn a_load_that_dies_at_any_write_is_gone_on_with() {
    let world = World::new();
    let disk = [world.made()];
    for operations in 0..90 {
        drop(crate::workspace::remove_tree(&world.path("loaded")));
        if world.load(&Dies::after(operations), &disk).is_ok() {
            return assert!(operations > 10);
        }
        world.load(&RealDisk, &disk).expect("gone on");
        world.is_loaded();
    }
    panic!("it never came to its end");
}

#[test]
fn a_key_of_another_kind_is_refused_with_what_makes_one() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("key.pem"), "-----BEGIN EC PRIVATE KEY-----\nAA==\n").expect("written");

    let failure = SigningKey::read("file:key.pem", dir.path()).err().expect("refused");
    let none = TrustedKeys::read(&[], dir.path()).expect_err("refused");

    assert_eq!(failure.causes(), ["it is no PKCS#8 key in PEM"]);
    assert!(failure.hints()[0].starts_with("openssl pkcs8 -topk8"), "{:?}", failure.hints());
    assert_eq!(none.what(), "no key is trusted");
}

#[test]
fn chunks_that_a_changed_source_left_behind_go_and_all_others_stay() {
    let world = World::new();
    world.create(&RealDisk, "disk", 7, 3 << 20).expect("made");
    // As if stopped before it was signed.
    for name in [MANIFEST, SIGNATURE] {
        std::fs::remove_file(world.path("disk").join(name)).expect("removed");
    }
    std::fs::write(world.path(&release_files()[0]), content(99, 2)).expect("written");

    let made = world.create(&RealDisk, "disk", 7, 3 << 20).expect("made");

    assert_eq!((made.removed, made.unused, made.written), (2, 0, 2));
    let mut held = super::volume::Chunks::default();
    held.add_directory(&world.path("disk")).expect("read");
    let wanted = made.manifest.chunks();
    assert_eq!(
        held.lengths().map(|(digest, _)| digest).collect::<Vec<_>>(),
        wanted.keys().copied().collect::<Vec<_>>()
    );
    assert_eq!((world.look(&world.path("disk")).right.len(), made.kept), (wanted.len(), wanted.len() - 2));
    let left = std::fs::read_dir(world.path("disk")).expect("read").filter_map(Result::ok);
    assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().ends_with(".partial")));
}

#[test]
fn who_is_stopped_while_volumes_are_tidied_leaves_them_as_they_were() {
    let world = World::new();
    world.create(&RealDisk, "disk", 7, u64::MAX).expect("made");
    let dir = world.path("disk");
    let names = || {
        let listed = std::fs::read_dir(&dir).expect("read").map(|entry| entry.expect("an entry").file_name());
        listed.collect::<BTreeSet<_>>()
    };
    let digest = |name: &str| Digest::of(&std::fs::read(dir.join(name)).expect("read"));
    let (before, volume) = (names(), super::volume::volume_name(1));
    let whole = digest(&volume);
    let mut held = super::volume::Chunks::default();
    held.add_directory(&dir).expect("read");
    let unused: BTreeSet<Digest> = held.lengths().map(|(digest, _)| digest.clone()).take(1).collect();
    let stop = Stop::default();
    stop.raise();

    let failure = super::prune::prune(&RealDisk, &dir, &unused, &stop).expect_err("stopped");

    assert_eq!(failure.what(), "bundle: stopped while its volumes were tidied");
    assert_eq!((names(), digest(&volume)), (before, whole));
    assert_eq!(super::prune::prune(&RealDisk, &dir, &unused, &Stop::default()).expect("tidied"), unused);
}
