//! `bundle`: made from servers of the test, damaged, stopped, exchanged, compared and taken in.

mod create;
mod load;
mod rpms;
mod verify;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sre_provision::fingerprint::Digest;

use crate::sources::{Server, openssl};
use crate::{Ended, World, ended, root};

const VERSION: &str = "v1.35.4+rke2r1";
const FILES: [&str; 3] =
    ["rke2-images-canal.linux-amd64.tar.zst", "rke2-images-core.linux-amd64.tar.zst", "rke2.linux-amd64.tar.gz"];
const LIST: &str = "sha256sum-amd64.txt";
/// What the three files have together.
const SIZE: usize = 3 * 2_500_000;

/// A workspace with `environments/airgap.yaml`, keys, and the directory of a release.
struct Side {
    world: World,
}

impl Side {
    fn new() -> Self {
        let side = Self { world: World::new() };
        for dir in ["release", "keys"] {
            std::fs::create_dir(side.path(dir)).expect("made");
        }
        let mut sums = String::new();
        for (seed, name) in (1..).zip(FILES) {
            let bytes = noise(seed, SIZE / FILES.len());
            sums.push_str(&format!("{}  {name}\n", Digest::of(&bytes)));
            std::fs::write(side.path("release").join(name), bytes).expect("written");
        }
        std::fs::write(side.path("release").join(LIST), sums).expect("written");
        side.key("sign.pem", "trust.pem");
        let text = std::fs::read_to_string(root().join("environments/airgap.yaml")).expect("a file");
        std::fs::write(side.path("environments/airgap.yaml"), text).expect("written");
        side.release("release");
        side
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// A key pair in `keys/`.
    fn key(&self, private: &str, public: &str) {
        let keys = self.path("keys");
        openssl(&keys, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private]);
        openssl(&keys, &["pkey", "-in", private, "-pubout", "-out", public]);
    }

    /// Appends to the environment file; `bundle: {…}` goes beside what stands there.
    fn add(&self, text: &str) {
        let file = self.path("environments/airgap.yaml");
        let before = std::fs::read_to_string(&file).expect("a file");
        let (before, text) = match text.strip_prefix("bundle: {") {
            Some(more) => (
                before.split("bundle:\n").next().unwrap_or_default(),
                format!("bundle: {{elsewhere: [ansible, packages], {more}"),
            ),
            None => (before.as_str(), text.to_owned()),
        };
        std::fs::write(file, format!("{before}{text}\n")).expect("written");
    }

    /// Names the source of the release.
    fn release(&self, source: &str) {
        let file = self.path("environments/airgap.yaml");
        let text = std::fs::read_to_string(&file).expect("a file");
        let lines = text.lines().filter(|line| !line.starts_with("  release:"));
        let line =
            |line: &str| if line == "rke2:" { format!("rke2:\n  release: {source}\n") } else { format!("{line}\n") };
        std::fs::write(file, lines.map(line).collect::<String>()).expect("written");
    }

    /// As somebody calls it who has this environment's proxies and CAs, and no other.
    fn run_with(&self, args: &[&str], variables: &[(&str, String)]) -> Ended {
        ended(self.world.command(args).envs(variables.iter().map(|(name, value)| (name, value))))
    }

    /// `bundle create` of `airgap` in `to`.
    fn create<'a>(&self, to: &'a str, more: &[&'a str]) -> Ended {
        self.world.run(&create(to, more))
    }

    /// The bundle of version 7 in `disk`.
    fn made(&self) -> PathBuf {
        let made = self.create("disk", &["--version", "7"]);
        assert_eq!(made.code, 0, "{}", made.err);
        self.path("disk")
    }

    /// The same call in a process that is killed by the kernel where it makes a file larger than this.
    fn killed_at(&self, bytes: usize, args: &[&str]) {
        let program = self.world.command(args);
        let mut command = Command::new("prlimit");
        command.args(["--core=0", &format!("--fsize={bytes}")]).arg(program.get_program()).args(program.get_args());
        command.current_dir(self.world.dir.path()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().expect("prlimit");
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(25), "SIGXFSZ: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn loaded(&self, name: &str) -> PathBuf {
        self.path(".sre-provision/airgap/loaded").join(name)
    }

    /// That all of the release was loaded as it was published.
    fn is_loaded(&self) {
        for name in FILES {
            let loaded = std::fs::read(self.loaded("release").join(VERSION).join(name)).expect("loaded");
            assert!(loaded == std::fs::read(self.path("release").join(name)).expect("there"), "{name}");
        }
        assert!(!self.loaded(".partial").exists());
    }
}

fn create<'a>(to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["bundle", "create", "airgap", "--to", to, "--sign", "file:keys/sign.pem", "--yes"][..], more].concat()
}

/// Bytes that do not get smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Changes a byte.
fn change(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

fn cut(path: &Path, less: u64) {
    let file = std::fs::File::options().write(true).open(path).expect("a file");
    file.set_len(file.metadata().expect("there").len() - less).expect("cut");
}

/// The manifest of a bundle, as anybody reads it.
fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).expect("there")).expect("JSON")
}

/// The digest of a chunk of a file.
fn digest(dir: &Path, file: &str, index: usize) -> String {
    let manifest = manifest(dir);
    let files = manifest["files"].as_array().expect("files");
    let file = files.iter().find(|entry| entry["name"] == json!(file)).expect("in the bundle");
    file["chunks"][index].as_str().expect("a digest").to_owned()
}

/// Changes a byte of a chunk where it lies in the first volume: behind its header, which ends with its digest.
fn damage(dir: &Path, file: &str, index: usize) {
    let volume = dir.join("chunks-0001");
    let digest = hex::decode(digest(dir, file, index)).expect("hex");
    let bytes = std::fs::read(&volume).expect("read");
    let at = bytes.windows(digest.len()).position(|bytes| *bytes == digest).expect("in the volume");
    change(&volume, at + digest.len() + 10);
}
