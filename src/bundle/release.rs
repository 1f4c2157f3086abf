//! Where the files of an RKE2 release come from, and how they get into the store: each verified against the release's
//! own checksums before it has its name there.
//!
//! The source is a directory or a URL in the release page's own layout, so a mirror, a disk and the release page itself are
//! all the same to it. What is in the store already and right is not fetched again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use reqwest::{Certificate, Client, Method, Response};

use crate::artifact::BundleFile;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::{Checksums, Version, checksum_file, release_url};
use crate::stop::{Level, Stop};
use crate::units::ByteSize;
use crate::workspace::{Incoming, RealDisk, large_file_digest, remove, require_space, write_atomic};

/// Where a release is when the environment names no source.
const RELEASES: &str = "https://github.com/rancher/rke2/releases/download";
/// How long a source may take to answer, and then to say anything more.
const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(60);
const UNKNOWN_CA: &str = "name the CA of the source in `bundle.ca`: `file:PATH`, PEM";
/// The most that a list of checksums is read of.
const LIST: usize = 1 << 20;
/// Told while a file is read: its name.
pub type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// The files of a release that are wanted, and where they go.
pub struct Wanted<'a> {
    pub version: &'a str,
    pub files: Vec<String>,
    /// The store's directory of this release.
    pub dir: &'a Path,
    /// The CA of the source, PEM, beside those of the system.
    pub ca: Option<Vec<u8>>,
    pub stop: &'a Stop,
    pub tell: Tell<'a>,
}

impl Wanted<'_> {
    /// Brings all of them, and the list of their checksums, into the store.
    ///
    /// # Errors
    /// Exit 1: a file is not there, not as the list says, or not listed; the source does not answer, which may pass.
    pub async fn fetch(&self, source: &Source) -> Result<BTreeMap<String, BundleFile>, Failure> {
        let stopped = || Failure::cancelled("bundle: stopped while fetching");
        let list = checksum_file();
        let sums = tokio::select! {
            sums = source.read(self, &list) => sums?,
            () = self.stop.reached(Level::Finish) => return Err(stopped()),
        };
        let wanted = wanted(&sums, &self.files, source)?;
        let fetched = wanted.iter().map(|(name, digest)| self.fetch_one(source, name, digest));
        let files = tokio::select! {
            files = try_join_all(fetched) => files?,
            // A server that says nothing must not keep us from hearing it; what has half arrived goes when it is dropped.
            () = self.stop.reached(Level::Finish) => return Err(stopped()),
        };
        write_atomic(&self.dir.join(list), &sums, 0o644)?;
        Ok(files.into_iter().collect())
    }

    /// How many bytes are still to be fetched, as far as the source tells.
    pub async fn size(&self, source: &Source) -> Result<u64, Failure> {
        let mut size = 0;
        for name in self.files.iter().filter(|name| !self.dir.join(name).exists()) {
            size += source.size(self, name).await?;
        }
        Ok(size)
    }

    /// One file into the store, unless it is there and right.
    async fn fetch_one(&self, source: &Source, name: &str, digest: &Digest) -> Result<(String, BundleFile), Failure> {
        let target = self.dir.join(name);
        if target.exists() {
            if large_file_digest(&target).await? == *digest {
                let size = target.metadata().map_or(0, |found| found.len());
                return Ok((name.to_owned(), BundleFile { sha256: digest.clone(), size }));
            }
            remove(&RealDisk, &target)?;
        }
        (self.tell)(format!("fetching {name}"));
        let mut incoming = Incoming::start(&target)?;
        source.copy(self, name, &mut incoming).await?;
        let size = incoming.accept(digest).await?;
        Ok((name.to_owned(), BundleFile { sha256: digest.clone(), size }))
    }

    fn checkpoint(&self) -> Result<(), Failure> {
        match self.stop.is_asked() {
            true => Err(Failure::cancelled("bundle: stopped between two steps")),
            false => Ok(()),
        }
    }
}

/// The checksums of the files we want. A list with a line that is none is refused whole: it is not the release's.
fn wanted(sums: &[u8], names: &[String], source: &Source) -> Result<BTreeMap<String, Digest>, Failure> {
    let with_source = |failure: Failure| {
        failure
            .because(format!("read from {source}"))
            .hint("check `rke2.version` and `rke2.cni`, or the source in `rke2.release`")
    };
    let listed = Checksums::parse(&String::from_utf8_lossy(sums)).map_err(with_source)?;
    names.iter().map(|name| Ok((name.clone(), listed.of(name).map_err(with_source)?.clone()))).collect()
}

/// Where a release comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Holds `<version>/<file>`, or the files themselves.
    Directory(PathBuf),
    /// The part of the URL before `<version>/<file>`.
    Url(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(dir) => write!(f, "`{}`", dir.display()),
            Self::Url(url) => write!(f, "`{url}`"),
        }
    }
}

impl Source {
    /// What `rke2.release` names, relative to `root`; the release page itself where it names nothing.
    pub fn of(release: Option<&str>, root: &Path) -> Self {
        match release {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Self::Url(url.trim_end_matches('/').to_owned())
            }
            Some(dir) => Self::Directory(root.join(dir)),
            None => Self::Url(RELEASES.to_owned()),
        }
    }

    async fn read(&self, wanted: &Wanted<'_>, name: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Directory(dir) => {
                std::fs::read(in_directory(dir, wanted.version, name)).map_err(|error| unreadable(self, name, &error))
            }
            Self::Url(_) => {
                let mut pieces = self.ask(wanted, name, Method::GET).await?.bytes_stream();
                let mut bytes = Vec::new();
                while let Some(piece) = pieces.next().await {
                    bytes.extend_from_slice(&piece.map_err(|error| unreadable(self, name, &error).transient())?);
                    if bytes.len() > LIST {
                        return Err(unreadable(self, name, &"it is too long for a list of checksums"));
                    }
                }
                Ok(bytes)
            }
        }
    }

    /// The bytes of a file, as far as the source tells.
    async fn size(&self, wanted: &Wanted<'_>, name: &str) -> Result<u64, Failure> {
        match self {
            Self::Directory(dir) => {
                let meta = in_directory(dir, wanted.version, name).metadata();
                Ok(meta.map_err(|error| unreadable(self, name, &error))?.len())
            }
            Self::Url(_) => Ok(length(&self.ask(wanted, name, Method::HEAD).await?)),
        }
    }

    /// Streams a file; memory stays bounded whatever its size.
    async fn copy(&self, wanted: &Wanted<'_>, name: &str, into: &mut Incoming) -> Result<(), Failure> {
        match self {
            Self::Directory(dir) => {
                use tokio::io::AsyncReadExt;
                let path = in_directory(dir, wanted.version, name);
                let mut file = tokio::fs::File::open(&path).await.map_err(|error| unreadable(self, name, &error))?;
                let size = file.metadata().await.map_err(|error| unreadable(self, name, &error))?.len();
                require_space(wanted.dir, ByteSize(size), name)?;
                loop {
                    wanted.checkpoint()?;
                    let mut piece = Vec::with_capacity(1 << 20);
                    match file.read_buf(&mut piece).await.map_err(|error| unreadable(self, name, &error))? {
                        0 => return Ok(()),
                        _ => into.write(piece).await?,
                    }
                }
            }
            Self::Url(_) => {
                let answer = self.ask(wanted, name, Method::GET).await?;
                require_space(wanted.dir, ByteSize(length(&answer)), name)?;
                let mut pieces = answer.bytes_stream();
                while let Some(piece) = pieces.next().await {
                    wanted.checkpoint()?;
                    into.write(piece.map_err(|error| unreadable(self, name, &error).transient())?.into()).await?;
                }
                Ok(())
            }
        }
    }

    async fn ask(&self, wanted: &Wanted<'_>, name: &str, method: Method) -> Result<Response, Failure> {
        let Self::Url(base) = self else { return Err(Failure::bug("a directory was asked as a URL")) };
        let version: Version = wanted.version.parse().map_err(|why: String| Failure::new(Exit::Environment, why))?;
        let url = release_url(base, version, name);
        let client = web(wanted.ca.as_deref()).map_err(|error| unreadable(self, name, &told(&error)))?;
        let answer = client.request(method, &url).send().await.map_err(|error| {
            let failure = unreadable(self, name, &told(&error));
            // Who is silent or gone may come back; a certificate stays as it is.
            if told(&error).contains("certificate") { failure.hint(UNKNOWN_CA) } else { failure.transient() }
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let failure = Failure::new(Exit::NotDone, format!("`{url}` was answered with {status}"))
            .hint("check `rke2.version`, or name another source in `rke2.release`");
        let may_pass = status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS;
        let failure = if may_pass { failure.transient() } else { failure };
        let told = answer.headers().get("retry-after").and_then(|told| told.to_str().ok()?.trim().parse().ok());
        Err(failure.not_before(told.map(Duration::from_secs)))
    }
}

/// A client of servers; proxies are those of the environment.
///
/// # Errors
/// The CA is no PEM.
pub fn web(ca: Option<&[u8]>) -> reqwest::Result<Client> {
    let ca = ca.map(Certificate::from_pem_bundle).transpose()?.unwrap_or_default();
    Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).tls_certs_merge(ca).build()
}

/// An error with all that caused it: its own text says little more than what was asked for.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What an answer says of its length; that to a question for the head alone has no body to be measured.
pub fn length(answer: &Response) -> u64 {
    let length = answer.headers().get(reqwest::header::CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or_default()
}

fn in_directory(dir: &Path, version: &str, name: &str) -> PathBuf {
    let versioned = dir.join(version);
    if versioned.is_dir() { versioned.join(name) } else { dir.join(name) }
}

fn unreadable(source: &Source, name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot read `{name}` of the release from {source}"))
        .because(error)
        .hint("name a directory or URL that holds the release in `rke2.release`, or in INSTALL_RKE2_ARTIFACT_PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const HINT: &str = "check `rke2.version` and `rke2.cni`, or the source in `rke2.release`";

    #[test]
    fn a_file_without_a_checksum_is_refused_by_name() {
        let source = Source::Directory("/mnt/release".into());
        let sums = format!("{SUM}  rke2.linux-amd64.tar.gz\n");

        let failure = wanted(sums.as_bytes(), &["rke2-images-core.linux-amd64.tar.zst".to_owned()], &source)
            .expect_err("not listed");

        assert_eq!(failure.what(), "the release has no `rke2-images-core.linux-amd64.tar.zst`");
        assert_eq!(failure.causes(), ["`sha256sum-amd64.txt` does not name it", "read from `/mnt/release`"]);
        assert_eq!(failure.hints(), [HINT]);
    }

    #[test]
    fn a_list_with_a_line_that_is_none_is_refused_though_it_names_what_we_want() {
        let source = Source::Url("https://mirror".to_owned());
        let sums = format!("{SUM}  rke2.linux-amd64.tar.gz\n<html>busy</html>\n");

        let failure =
            wanted(sums.as_bytes(), &["rke2.linux-amd64.tar.gz".to_owned()], &source).expect_err("not a list");

        assert_eq!(failure.what(), "`sha256sum-amd64.txt` is no list of checksums");
        assert_eq!(failure.causes(), ["line 2 is `<html>busy</html>`", "read from `https://mirror`"]);
        assert_eq!(failure.exit(), Exit::NotDone);
    }

    #[test]
    fn checksums_are_taken_by_exact_name() {
        let source = Source::Url("https://mirror".to_owned());
        let sums = format!("{SUM}  rke2.linux-amd64.tar.gz\n{SUM}  rke2.linux-amd64\n");

        let found = wanted(sums.as_bytes(), &["rke2.linux-amd64.tar.gz".to_owned()], &source).expect("listed");

        assert_eq!(found, BTreeMap::from([("rke2.linux-amd64.tar.gz".to_owned(), Digest::parse(SUM).expect("hex"))]));
    }
}
