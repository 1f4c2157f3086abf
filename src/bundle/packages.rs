//! Packages of the nodes: resolved by dnf against what the base image has, signatures checked, and made a repository.
//!
//! What the base image provides goes into the bundle too, as a list, so that whoever has the bundle alone can see that the
//! packages have all that they require.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;

use crate::bundle::closure::Provided;
use crate::bundle::create::Item;
use crate::bundle::name::{FileKind, Name};
use crate::bundle::release::{Tell, length, told, web};
use crate::bundle::rpms::capability;
use crate::failure::{Exit, Failure};
use crate::supply::Packages;
use crate::tools::Tools;
use crate::tools::dnf::{MACROS, Packager};
use crate::workspace::{RealDisk, make_dir, remove, remove_tree, write_atomic};

/// What the base image provides.
pub const BASE: &str = "base-provides";
/// What dnf trusts where the environment file names a CA: dnf takes one file, and that in place of the system's.
const AUTHORITIES: &str = "ca.pem";
/// Where systems keep theirs: Red Hat's, Debian's, SUSE's, Alpine's.
const SYSTEM: [&str; 4] = [
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// How many servers are asked at once for the length of a file.
const AT_ONCE: usize = 8;

/// Where packages are resolved, and for whom.
pub struct Packaged<'a> {
    pub tools: &'a Tools,
    pub wanted: &'a Packages,
    /// What stages want beyond the packages that the environment file names; of it only what the base image has not.
    pub required: Vec<String>,
    /// The workspace, which the paths of `wanted` are relative to.
    pub root: &'a Path,
    /// The store's directory of this environment's packages.
    pub dir: &'a Path,
    /// A file with the CA of the repositories, PEM.
    pub ca: Option<PathBuf>,
    pub tell: Tell<'a>,
}

/// Packages that were resolved, and not fetched yet.
pub struct Resolved {
    urls: Vec<String>,
    /// What dnf was asked for.
    words: Vec<String>,
}

impl Resolved {
    /// How many packages.
    pub fn count(&self) -> usize {
        self.urls.len()
    }
}

impl Packaged<'_> {
    /// Asks dnf what is to be installed beyond the base image. Blocks the thread.
    ///
    /// # Errors
    /// Exit 1: a package or what it requires is nowhere. Exit 3: a repository cannot be one. Exit 4: dnf is missing.
    pub fn resolve(&self) -> Result<Resolved, Failure> {
        self.prepare()?;
        let base = if self.required.is_empty() { String::new() } else { self.packager().base()? };
        let words = words(&self.wanted.packages, &self.required, &base);
        (self.tell)(format!("resolving {} packages", words.len()));
        Ok(Resolved { urls: self.packager().resolve(&words)?, words })
    }

    /// How many bytes are still to be fetched, as far as their servers tell.
    pub async fn size(&self, resolved: &Resolved, ca: Option<&[u8]>) -> Result<u64, Failure> {
        let unanswered = |url: &str, error: &reqwest::Error| {
            Failure::new(Exit::NotDone, format!("`{url}` is not answered")).because(told(error)).transient()
        };
        let client = &web(ca).map_err(|error| unanswered("bundle.ca", &error))?;
        let far = resolved.urls.iter().filter(|url| url.starts_with("http") && !self.is_here(url));
        let mut lengths = futures_util::stream::iter(far)
            .map(|url| async move { (url, client.head(url).send().await) })
            .buffer_unordered(AT_ONCE);
        let mut sum = 0;
        while let Some((url, answer)) = lengths.next().await {
            sum += length(&answer.map_err(|error| unanswered(url, &error))?);
        }
        Ok(sum)
    }

    fn is_here(&self, url: &str) -> bool {
        file_name(url).is_some_and(|name| self.rpms().join(name).exists())
    }

    /// Brings the packages, checks who signed each, and makes them a repository. Blocks the thread.
    ///
    /// # Errors
    /// Exit 1: a package is signed by none of the keys that its repositories name.
    pub fn fetch(&self, resolved: &Resolved) -> Result<Vec<Item>, Failure> {
        let (packager, rpms) = (self.packager(), self.rpms());
        make_dir(&RealDisk, &rpms, 0o755)?;
        (self.tell)(format!("fetching {} packages", resolved.urls.len()));
        packager.download(&resolved.words, &rpms)?;
        let names: BTreeSet<&str> = resolved.urls.iter().filter_map(|url| file_name(url)).collect();
        let mut files = Vec::new();
        for path in listed(&rpms)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rpm")) {
            match path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names.contains(name)) {
                true => files.push(path),
                false => remove(&RealDisk, &path)?,
            }
        }
        if files.len() < names.len() {
            let failure = Failure::new(Exit::NotDone, "the repositories gave other packages than they had named");
            return Err(failure.hint("they changed meanwhile: run the same command again"));
        }
        packager.check(&self.keys(), &files)?;
        packager.repository(&rpms)?;
        let base = self.dir.join(BASE);
        write_atomic(&base, packager.base()?.as_bytes(), 0o644)?;
        let packages = files.into_iter().map(|file| item(FileKind::Rpm, file));
        let metadata = listed(&rpms.join("repodata"))?.into_iter().chain([base]);
        packages.chain(metadata.map(|file| item(FileKind::RpmMetadata, file))).collect()
    }

    fn packager(&self) -> Packager<'_> {
        Packager { tools: self.tools, home: self.dir }
    }

    fn rpms(&self) -> PathBuf {
        self.dir.join("rpms")
    }

    fn keys(&self) -> Vec<PathBuf> {
        let keys = self.wanted.repositories.values().flat_map(|repository| &repository.keys);
        let paths: BTreeSet<PathBuf> =
            keys.map(|key| self.root.join(key.strip_prefix("file:").unwrap_or(key))).collect();
        paths.into_iter().collect()
    }

    /// A home for dnf and rpm without anything of an earlier call but what was fetched.
    fn prepare(&self) -> Result<(), Failure> {
        for old in ["root", "keys", "persist"] {
            remove_tree(&self.dir.join(old))?;
        }
        let database = self.dir.join("root/var/lib/rpm");
        for dir in [&database, &self.dir.join("keys")] {
            make_dir(&RealDisk, dir, 0o755)?;
        }
        for file in listed(&self.root.join(&self.wanted.base))?.iter().filter(|file| file.is_file()) {
            let bytes = std::fs::read(file).map_err(|error| unread(file, &error))?;
            write_atomic(&database.join(file.file_name().unwrap_or_default()), &bytes, 0o644)?;
        }
        write_atomic(&self.dir.join(".rpmmacros"), MACROS.as_bytes(), 0o644)?;
        if let Some(ca) = &self.ca {
            let own = std::fs::read(ca).map_err(|error| unread(ca, &error))?;
            write_atomic(&self.dir.join(AUTHORITIES), &authorities(&SYSTEM.map(Path::new), &own), 0o644)?;
        }
        write_atomic(&self.dir.join("dnf.conf"), self.configuration()?.as_bytes(), 0o644)
    }

    /// dnf's configuration: the repositories that the environment file names, and no other.
    fn configuration(&self) -> Result<String, Failure> {
        let dir = self.dir.display();
        let mut text = format!(
            "[main]\nreposdir=/nonexistent\ncachedir={dir}/cache\nlogdir={dir}/log\npersistdir={dir}/persist\n\
             install_weak_deps=0\nbest=1\ngpgcheck=1\nmetadata_expire=0\n"
        );
        for (name, repository) in &self.wanted.repositories {
            let is_plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
            let is_name = Name::parse(name).is_some_and(|name| !name.as_str().contains('/'));
            if !is_name || !is_plain(&repository.from) || repository.keys.is_empty() {
                return Err(Failure::new(Exit::Environment, format!("`{}` is no repository", name.escape_debug()))
                    .because("it wants a plain name, where it is, and at least one key")
                    .hint("see `bundle.rpms.repositories` in the environment file"));
            }
            let is_url = ["http://", "https://"].iter().any(|scheme| repository.from.starts_with(scheme));
            let from = match is_url {
                true => repository.from.clone(),
                false => format!("file://{}", self.root.join(&repository.from).display()),
            };
            text.push_str(&format!("[{name}]\nname={name}\nbaseurl={from}\ngpgcheck=1\n"));
            if self.ca.is_some() {
                text.push_str(&format!("sslcacert={}\n", self.dir.join(AUTHORITIES).display()));
            }
        }
        Ok(text)
    }
}

/// What dnf is asked for: what the file names, and of what stages want that which the base image does not provide. dnf would
/// fetch a package though it is installed, and end where no repository has it.
fn words(named: &[String], required: &[String], base: &str) -> Vec<String> {
    let mut provided = Provided::default();
    provided.add_base(base);
    let mut words = named.to_vec();
    for word in required {
        if !words.contains(word) && !provided.meets(&capability(word)) {
            words.push(word.clone());
        }
    }
    words
}

/// The system's authorities, as the first of these files that is there has them, and ours beside them.
fn authorities(system: &[&Path], own: &[u8]) -> Vec<u8> {
    let there = system.iter().find_map(|file| std::fs::read(file).ok()).unwrap_or_default();
    [&there[..], b"\n", own].concat()
}

fn file_name(url: &str) -> Option<&str> {
    url.rsplit('/').next()
}

fn item(kind: FileKind, from: PathBuf) -> Result<Item, Failure> {
    let name = from.file_name().and_then(|name| name.to_str()).and_then(Name::parse);
    let name = name.filter(|name| kind.has_form(name)).ok_or_else(|| {
        Failure::new(Exit::NotDone, format!("`{}` has a name that no {kind} may have", from.display()))
    })?;
    Ok(Item { kind, name, from, sha256: None })
}

/// What lies in a directory, by name.
fn listed(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir).map_err(|error| unread(dir, &error))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(|error| unread(dir, &error)));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn unread(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::supply::Repository;
    use crate::tools::ToolEnvironment;

    fn configuration(name: &str, from: &str, keys: &[&str]) -> Result<String, Failure> {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let repository = Repository { from: from.to_owned(), keys };
        let repositories = BTreeMap::from([(name.to_owned(), repository)]);
        let wanted = Packages { packages: vec![], repositories, base: "base".into() };
        let tools = Tools::new("".as_ref(), ToolEnvironment::of([]));
        let (root, dir) = (Path::new("/w"), Path::new("/w/store"));
        Packaged { tools: &tools, wanted: &wanted, required: vec![], root, dir, ca: None, tell: &|_| () }
            .configuration()
    }

    #[test]
    fn dnf_is_asked_for_what_is_named_and_for_what_stages_want_and_the_base_image_has_not() {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (named, required) = (strings(&["chrony", "audit"]), strings(&["audit", "sudo", "iptables-nft"]));

        let words = words(&named, &required, "P\tsudo\t8\t1.9.5\nP\tchrony\t8\t4\n");

        assert_eq!(words, ["chrony", "audit", "iptables-nft"]);
    }

    #[test]
    fn a_ca_of_ones_own_counts_beside_those_of_the_system() {
        let dir = tempfile::tempdir().expect("a directory");
        let (none, system) = (dir.path().join("none"), dir.path().join("system"));
        std::fs::write(&system, "system").expect("written");

        assert_eq!(authorities(&[&none, &system], b"own"), b"system\nown");
        assert_eq!(authorities(&[&none], b"own"), b"\nown");
    }

    #[test]
    fn dnf_is_told_the_repositories_of_the_environment_file_and_no_other() {
        let near = configuration("baseos", "mirror/baseos", &["file:keys/rocky.asc"]).expect("one");
        let far = configuration("baseos", "https://mirror.lan/baseos", &["file:keys/rocky.asc"]).expect("one");

        assert!(near.starts_with("[main]\nreposdir=/nonexistent\n"), "{near}");
        assert!(near.ends_with("[baseos]\nname=baseos\nbaseurl=file:///w/mirror/baseos\ngpgcheck=1\n"), "{near}");
        assert!(far.contains("\nbaseurl=https://mirror.lan/baseos\n"), "{far}");
    }

    #[test]
    fn a_repository_without_a_key_or_with_more_than_a_name_is_none() {
        for (name, from, keys) in
            [("a", "mirror", &[][..]), ("a]\n[b", "mirror", &["file:k"]), ("a", "mirror\ngpgcheck=0", &["file:k"])]
        {
            let failure = configuration(name, from, keys).expect_err("refused");
            assert_eq!(failure.exit(), Exit::Environment, "{name}");
        }
    }
}
