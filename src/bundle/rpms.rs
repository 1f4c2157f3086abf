//! The RPMs of a bundle as a set: which of them somebody needs, and what is lacking then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::artifact::BundleFile;
use crate::bundle::closure::{Provided, sense, shown};
use crate::bundle::load::loaded_manifest;
use crate::bundle::manifest::{FileEntry, Manifest};
use crate::bundle::name::FileKind;
use crate::bundle::packages::BASE;
use crate::bundle::record::CHUNK;
use crate::bundle::rpm::{self, Capability, Package, Read};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// Packages, each with the name of its file.
#[derive(Debug, Default)]
pub struct Rpms {
    all: Vec<(String, Package)>,
}

impl Rpms {
    /// Reads the header of each; `extend` appends the next piece of a file, and says whether there was one.
    pub fn read<'a>(
        files: impl Iterator<Item = &'a FileEntry>,
        mut extend: impl FnMut(&'a FileEntry, usize, &mut Vec<u8>) -> Result<bool, Failure>,
    ) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for file in files {
            let (mut beginning, mut index) = (Vec::new(), 0);
            let package = loop {
                if file.size == 0 {
                    return Err(no_rpm(file));
                }
                let is_more = extend(file, index, &mut beginning)?;
                match rpm::read(&beginning) {
                    Read::Whole(package) => break package,
                    Read::More if is_more => index += 1,
                    Read::More | Read::No => return Err(no_rpm(file)),
                }
            };
            all.push((file.name.to_string(), package));
        }
        Ok(Self { all })
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that `dnf install` may take for these words, with what they require, as far as it is here.
    pub fn needed(&self, words: &[&str]) -> BTreeSet<&str> {
        let mut by_capability: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, (_, package)) in self.all.iter().enumerate() {
            let names = package.provides.iter().map(|one| one.name.as_str());
            names.chain(package.files.iter().map(String::as_str)).for_each(|name| {
                by_capability.entry(name).or_default().push(at);
            });
        }
        let providers = |name: &str| by_capability.get(name).cloned().unwrap_or_default();
        let called = |word: &&str| {
            let named = (0..self.all.len()).filter(|at| self.all[*at].1.is_called(word));
            named.chain(providers(&capability(word).name)).collect::<Vec<_>>()
        };
        let mut waiting: Vec<usize> = words.iter().flat_map(called).collect();
        let mut needed = BTreeSet::new();
        while let Some(at) = waiting.pop().filter(|_| !self.all.is_empty()) {
            if needed.insert(at) {
                let requires = self.all[at].1.requires.iter();
                waiting.extend(requires.flat_map(|one| names(&one.name)).flat_map(providers));
            }
        }
        needed.into_iter().map(|at| self.all[at].0.as_str()).collect()
    }

    /// What nobody provides of the words and of what those of the packages require that are `among` these, beside what is
    /// there already.
    pub fn lacking(&self, words: &[&str], mut there: Provided, among: impl Fn(&str) -> bool) -> Vec<String> {
        let taken: Vec<&(String, Package)> = self.all.iter().filter(|(file, _)| among(file)).collect();
        taken.iter().for_each(|(_, package)| there.add_package(package));
        let is_there =
            |word: &&str| there.meets(&capability(word)) || taken.iter().any(|(_, package)| package.is_called(word));
        let mut lacking: Vec<String> =
            words.iter().filter(|word| !is_there(word)).map(|word| format!("rpm `{word}`")).collect();
        for (file, package) in &taken {
            for wanted in package.requires.iter().filter(|wanted| !there.meets(wanted)) {
                lacking.push(format!("`{}`, which rpm `{file}` requires", shown(wanted)));
            }
        }
        lacking
    }

    /// What these packages are called, by the names of their files.
    pub fn names(&self, files: &BTreeSet<&str>) -> Vec<&str> {
        let of = self.all.iter().filter(|(file, _)| files.contains(file.as_str()));
        of.map(|(_, package)| package.name.as_str()).collect()
    }
}

fn no_rpm(file: &FileEntry) -> Failure {
    Failure::new(Exit::NotDone, format!("`{}` of the bundle is no RPM", file.name))
}

/// What a word asks for as a capability: `app`, `app >= 2`.
pub fn capability(word: &str) -> Capability {
    let words: Vec<&str> = word.split_whitespace().collect();
    let (name, sense, version) = match words[..] {
        [name, sign, version] => (name, sense(sign).unwrap_or_default(), version),
        _ => (word, 0, ""),
    };
    Capability { name: name.to_owned(), sense, version: version.to_owned() }
}

/// The names in a requirement: itself, or of one with `and` and `or` each word that may be one.
fn names(requirement: &str) -> Vec<&str> {
    match requirement.strip_prefix('(') {
        Some(inner) => inner.split(' ').map(|word| word.trim_matches(['(', ')'])).collect(),
        None => vec![requirement],
    }
}

/// The RPMs of a bundle that was loaded.
#[derive(Debug)]
pub struct LoadedRpms {
    dir: PathBuf,
    manifest: Manifest,
    rpms: Rpms,
}

impl LoadedRpms {
    /// `None` where no bundle was loaded, or none with RPMs. Blocks the thread.
    ///
    /// # Errors
    /// Exit 1: one of them cannot be read.
    pub fn open(dir: &Path) -> Result<Option<Self>, Failure> {
        let Some(manifest) = loaded_manifest(dir) else { return Ok(None) };
        let rpms = Rpms::read(manifest.of_kind(FileKind::Rpm), |file, index, content| {
            let path = dir.join(FileKind::Rpm.place(&manifest.rke2.version, &file.name));
            beginning(&path, (index + 1) * CHUNK, content).map_err(|error| {
                Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)
            })?;
            Ok(content.len() == (index + 1) * CHUNK)
        })?;
        Ok((!rpms.is_empty()).then(|| Self { dir: dir.to_owned(), manifest, rpms }))
    }

    /// Of all of them, by the word of what was loaded: another one where they differ. `None` where there are none.
    pub fn digest(dir: &Path) -> Option<Digest> {
        let manifest = loaded_manifest(dir)?;
        let files = [FileKind::Rpm, FileKind::RpmMetadata].into_iter().flat_map(|kind| manifest.of_kind(kind));
        let files: BTreeMap<&str, &Digest> = files.map(|file| (file.name.as_str(), &file.sha256)).collect();
        manifest.of_kind(FileKind::Rpm).next().map(|_| Digest::of_value(&files))
    }

    /// What of these packages, and of what they require, is neither here nor on a machine that says of itself what it
    /// provides, as [`PROVIDED`](crate::tools::dnf::PROVIDED) asks.
    pub fn lacking(&self, packages: &[&str], provided: &str) -> Vec<String> {
        let mut there = Provided::default();
        there.add_base(provided);
        let needed = self.rpms.needed(packages);
        self.rpms.lacking(packages, there, |file| needed.contains(file))
    }

    /// The files that make a repository of these packages with what they require, by their path below `rpms/`.
    pub fn files(&self, packages: &[&str]) -> BTreeMap<String, BundleFile> {
        let needed = self.rpms.needed(packages);
        let entry = |file: &FileEntry| BundleFile { sha256: file.sha256.clone(), size: file.size };
        let rpms = self.manifest.of_kind(FileKind::Rpm).filter(|file| needed.contains(file.name.as_str()));
        let metadata = self.manifest.of_kind(FileKind::RpmMetadata).filter(|file| file.name.as_str() != BASE);
        rpms.map(|file| (file.name.to_string(), entry(file)))
            .chain(metadata.map(|file| (format!("repodata/{}", file.name), entry(file))))
            .collect()
    }

    /// The names of these packages and of what they require, as far as it is here.
    pub fn names(&self, packages: &[&str]) -> Vec<&str> {
        self.rpms.names(&self.rpms.needed(packages))
    }

    /// Where a file lies here.
    pub fn local(&self, name: &str) -> PathBuf {
        self.dir.join("rpms").join(name)
    }
}

/// Reads up to so many bytes of a file.
fn beginning(path: &Path, length: usize, content: &mut Vec<u8>) -> std::io::Result<()> {
    content.clear();
    File::open(path)?.take(length as u64).read_to_end(content).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, requires: &[&str]) -> (String, Package) {
        let capability =
            |name: &str, sense, version: &str| Capability { name: name.to_owned(), sense, version: version.to_owned() };
        let package = Package {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "noarch".to_owned(),
            provides: vec![capability(name, 8, version)],
            requires: requires.iter().map(|name| capability(name, 0, "")).collect(),
            files: vec![],
        };
        (format!("{name}-{}.noarch.rpm", version.replace(':', "_")), package)
    }

    fn rpms() -> Rpms {
        let all = vec![
            package("container-selinux", "4:2.229.0-1.el9", &["policycoreutils", "(selinux-policy >= 38 if systemd)"]),
            package("rke2-selinux", "0.18-1.el9", &["container-selinux"]),
            package("policycoreutils", "3.6-2.1.el9", &["glibc"]),
            package("chrony", "4.5-1.el9", &[]),
        ];
        Rpms { all }
    }

    #[test]
    fn a_package_is_needed_with_all_that_it_requires_and_nothing_else() {
        let rpms = rpms();

        let needed = rpms.needed(&["rke2-selinux", "iptables-nft"]);

        assert_eq!(rpms.names(&needed), ["container-selinux", "rke2-selinux", "policycoreutils"]);
        assert_eq!(rpms.needed(&["chrony >= 4"]).len(), 1);
        assert_eq!(Rpms::default().needed(&["chrony"]).len(), 0);
    }

    #[test]
    fn what_is_neither_here_nor_there_is_told() {
        let rpms = rpms();
        let lacking = |words: &[&str], there: &str| {
            let mut provided = Provided::default();
            provided.add_base(there);
            let needed = rpms.needed(words);
            rpms.lacking(words, provided, |file| needed.contains(file))
        };

        let there = "P\tglibc\t8\t2.34\nP\tselinux-policy\t8\t38.1\nP\tsystemd\t8\t252\n";
        assert_eq!(lacking(&["rke2-selinux"], there), Vec::<String>::new());
        assert_eq!(
            lacking(&["rke2-selinux", "iptables-nft"], "P\tsystemd\t8\t252\n"),
            [
                "rpm `iptables-nft`",
                "`(selinux-policy >= 38 if systemd)`, which rpm `container-selinux-4_2.229.0-1.el9.noarch.rpm` requires",
                "`glibc`, which rpm `policycoreutils-3.6-2.1.el9.noarch.rpm` requires",
            ]
        );
    }

    #[test]
    fn a_word_with_a_version_is_met_by_that_version_alone() {
        let rpms = rpms();
        let is_met = |word: &str| {
            let lacking = rpms.lacking(&[word], Provided::default(), |_| true);
            !lacking.contains(&format!("rpm `{word}`"))
        };

        for word in
            ["container-selinux", "container-selinux-4:2.229.0", "container-selinux.noarch", "container-selinux >= 4:2"]
        {
            assert!(is_met(word), "{word}");
        }
        for word in ["container-selinux-3:2.229.0", "container-selinux-2.228.0", "container-selinux < 4:2", "container"]
        {
            assert!(!is_met(word), "{word}");
        }
    }
}
