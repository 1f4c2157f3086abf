//! Brings the files of one RKE2 release into the local store, each verified against the release's checksums.
//!
//! The source is a directory or a URL in the release page's own layout, so a mirror, a disk and the release page itself
//! are all the same to it. What is in the store already and right is not fetched again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::try_join_all;

use crate::artifact::{Artifact, Bundle, BundleFile, Kind};
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::fingerprint::{Digest, Inputs};
use crate::rke2::{self, Checksums, Version, checksum_file, release_url};
use crate::stages::{Context, Given, Made, Presence, Stage};
use crate::stop::Level;
use crate::units::ByteSize;
use crate::workspace::{Incoming, RealDisk, large_file_digest, remove, require_space, write_atomic};

/// Where a release is when the environment names no source.
const RELEASES: &str = "https://github.com/rancher/rke2/releases/download";
/// How long a source may take to answer, and then to say anything more.
const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(60);

pub struct BundleStage;

#[async_trait]
impl Stage for BundleStage {
    fn makes(&self) -> Kind {
        Kind::Bundle
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new().value("rke2.version", &env.rke2.version).value("rke2.cni", &env.rke2.cni)
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Bundle(bundle) = recorded else { return Ok(Presence::Gone) };
        let dir = cx.workspace.release(&bundle.version);
        let missing = bundle.files.iter().find(|(name, file)| !has_size(&dir.join(name), file.size));
        Ok(match missing {
            None => Presence::Standing,
            Some((name, _)) => Presence::Altered(format!("`{name}` is not in the store as it was verified")),
        })
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let version = &cx.env.rke2.version;
        let source = Source::of(cx);
        let dir = cx.workspace.release(version);
        let stopped = || Failure::cancelled("bundle: stopped while fetching");
        let list = checksum_file();
        let sums = tokio::select! {
            sums = source.read(version, &list) => sums?,
            () = cx.stop.reached(Level::Finish) => return Err(stopped()),
        };
        let wanted = wanted(&sums, &rke2::release_files(cx.env.rke2.cni), &source)?;
        let fetched = wanted.iter().map(|(name, digest)| fetch(cx, &source, version, &dir, name, digest));
        let files = tokio::select! {
            files = try_join_all(fetched) => files?,
            // A server that says nothing must not keep us from hearing it; what has half arrived goes when it is dropped.
            () = cx.stop.reached(Level::Finish) => return Err(stopped()),
        };
        let files: BTreeMap<String, BundleFile> = files.into_iter().collect();
        write_atomic(&dir.join(list), &sums, 0o644)?;
        Ok(Artifact::Bundle(Bundle { version: version.clone(), files }).into())
    }

    /// The store is shared by all environments and holds nothing that costs: it stays.
    async fn destroy(&self, _: Option<&Artifact>, _: &Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn has_size(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == size)
}

/// The checksums of the files we want. A list with a line that is none is refused whole: it is not the release's.
fn wanted(sums: &[u8], names: &[String], source: &Source) -> Result<BTreeMap<String, Digest>, Failure> {
    let told = |failure: Failure| {
        failure
            .because(format!("read from {source}"))
            .hint("check `rke2.version` and `rke2.cni`, or the source in `rke2.release`")
    };
    let listed = Checksums::parse(&String::from_utf8_lossy(sums)).map_err(told)?;
    names.iter().map(|name| Ok((name.clone(), listed.of(name).map_err(told)?.clone()))).collect()
}

/// One file into the store, unless it is there and right.
async fn fetch(
    cx: &Context<'_>,
    source: &Source,
    version: &str,
    dir: &Path,
    name: &str,
    digest: &Digest,
) -> Result<(String, BundleFile), Failure> {
    let target = dir.join(name);
    if target.exists() {
        if large_file_digest(&target).await? == *digest {
            let size = target.metadata().map_or(0, |found| found.len());
            return Ok((name.to_owned(), BundleFile { sha256: digest.clone(), size }));
        }
        remove(&RealDisk, &target)?;
    }
    cx.progress(format!("fetching {name}"));
    let mut incoming = Incoming::start(&target)?;
    source.copy(version, name, &mut incoming, cx).await?;
    let size = incoming.accept(digest).await?;
    Ok((name.to_owned(), BundleFile { sha256: digest.clone(), size }))
}

/// Where a release comes from.
enum Source {
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
    fn of(cx: &Context<'_>) -> Self {
        match cx.env.rke2.release.as_deref() {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Self::Url(url.trim_end_matches('/').to_owned())
            }
            Some(dir) => Self::Directory(cx.workspace.root().join(dir)),
            None => Self::Url(RELEASES.to_owned()),
        }
    }

    async fn read(&self, version: &str, name: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Directory(dir) => {
                std::fs::read(in_directory(dir, version, name)).map_err(|error| unreadable(self, name, &error))
            }
            Self::Url(_) => {
                let answer = self.get(version, name).await?;
                let bytes = answer.bytes().await.map_err(|error| unreadable(self, name, &error).transient())?;
                Ok(bytes.to_vec())
            }
        }
    }

    /// Streams a file; memory stays bounded whatever its size.
    async fn copy(&self, version: &str, name: &str, into: &mut Incoming, cx: &Context<'_>) -> Result<(), Failure> {
        match self {
            Self::Directory(dir) => {
                use tokio::io::AsyncReadExt;
                let path = in_directory(dir, version, name);
                let mut file = tokio::fs::File::open(&path).await.map_err(|error| unreadable(self, name, &error))?;
                let size = file.metadata().await.map_err(|error| unreadable(self, name, &error))?.len();
                require_space(&cx.workspace.release(version), ByteSize(size), name)?;
                loop {
                    cx.checkpoint()?;
                    let mut piece = Vec::with_capacity(1 << 20);
                    match file.read_buf(&mut piece).await.map_err(|error| unreadable(self, name, &error))? {
                        0 => return Ok(()),
                        _ => into.write(piece).await?,
                    }
                }
            }
            Self::Url(_) => {
                let answer = self.get(version, name).await?;
                let size = answer.content_length().unwrap_or_default();
                require_space(&cx.workspace.release(version), ByteSize(size), name)?;
                let mut pieces = answer.bytes_stream();
                while let Some(piece) = pieces.next().await {
                    cx.checkpoint()?;
                    into.write(piece.map_err(|error| unreadable(self, name, &error).transient())?.into()).await?;
                }
                Ok(())
            }
        }
    }

    async fn get(&self, version: &str, name: &str) -> Result<reqwest::Response, Failure> {
        let Self::Url(base) = self else { return Err(Failure::bug("a directory was asked as a URL")) };
        let version: Version = version.parse().map_err(|why: String| Failure::new(Exit::Environment, why))?;
        let url = release_url(base, version, name);
        let client = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build();
        let client = client.map_err(|error| unreadable(self, name, &error))?;
        let answer = client.get(&url).send().await.map_err(|error| unreadable(self, name, &error).transient())?;
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
