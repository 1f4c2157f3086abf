//! `sre-provision bundle create`: collects what an environment needs and writes it down, signed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::{apart, shown, whole};
use crate::bundle::{
    FileKind, Have, ImageEntry, Item, Made, Manifest, Name, Order, Pull, Release, SBOM, SigningKey, Source, Wanted,
    client, create, listed, platform_programs, plugins, sbom,
};
use crate::cli::Common;
use crate::cli::ask::ask;
use crate::cli::desk::Desk;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::report::Screen;
use crate::rke2::{checksum_file, release_files};
use crate::stop::Stop;
use crate::units::ByteSize;
use crate::workspace::{RealDisk, write_atomic};

/// Smaller volumes would be more names than chunks.
const LEAST_SPLIT: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The environment
    environment: String,
    /// Where to write the bundle: a directory, such as where a disk is mounted
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The key that signs it: ECDSA on P-256, PKCS#8 in PEM
    #[arg(long, value_name = "file:KEY")]
    sign: String,
    /// No file of the bundle gets this large: `4GiB` for FAT
    #[arg(long, value_name = "SIZE")]
    split: Option<ByteSize>,
    /// Its version, higher than that of every earlier one; without it the time: 20261130041500
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1 << 53))]
    version: Option<u64>,
    /// What is left out
    #[arg(long, value_name = "PROGRAM", value_parser = ["packer"])]
    without: Vec<String>,
    /// What the other side has already, as `bundle have` wrote it there
    #[arg(long, value_name = "FILE")]
    have: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Create {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let split = self.split.map_or(u64::MAX, |split| split.0);
        if split < LEAST_SPLIT {
            return Err(Failure::new(Exit::Usage, "the volumes would be too small")
                .hint(format!("give at least {} to `--split`", shown(LEAST_SPLIT))));
        }
        let desk = Desk::open(common, &self.environment).await?;
        let key = SigningKey::read(&self.sign, Path::new("."))?;
        let (items, images) = self.collect(&desk, screen, stop).await?;
        let version = self.version.map_or_else(now, Ok)?;
        let rke2 = Release { version: desk.env.rke2.version.clone(), cni: desk.env.rke2.cni };
        let (line, without): (_, BTreeSet<String>) = (desk.env.name.clone(), self.without.iter().cloned().collect());
        let have = self.have.as_deref().map(Have::read).transpose()?.unwrap_or_default().chunks;
        let (to, stop) = (whole(&self.to)?, stop.clone());
        let made = apart(move || {
            let order = Order { to: &to, split, have, stop: &stop };
            let describe = |files| Manifest { without, images, ..Manifest::new(&line, version, rke2, files) };
            create(&RealDisk, &order, &key, items, describe)
        });
        tell(screen, &made.await?, &self.to);
        Ok(())
    }

    /// Brings together the files; asks before anything is fetched.
    async fn collect(&self, desk: &Desk, screen: Screen, stop: &Stop) -> Result<(Vec<Item>, Vec<ImageEntry>), Failure> {
        let (env, version) = (&desk.env, &desk.env.rke2.version);
        let dir = desk.workspace.release(version);
        let tell = |text: String| screen.remark(&text);
        let wanted = Wanted { version, files: release_files(env.rke2.cni), dir: &dir, stop, tell: &tell };
        let source = Source::of(env.rke2.release.as_deref(), desk.workspace.root());
        let size = wanted.size(&source).await?;
        let question =
            format!("fetch {} from {source} and write a bundle to `{}`? [y/N]", shown(size), self.to.display());
        if !self.yes && ask(screen, question, stop).await?.is_none_or(|answer| !matches!(answer.as_str(), "y" | "yes"))
        {
            return Err(Failure::new(Exit::Approval, "nothing was fetched and no bundle was written")
                .hint("answer with `y`, or give `--yes` where nobody can answer"));
        }
        let files = wanted.fetch(&source).await?;
        let mut items = vec![item(FileKind::Release, &checksum_file(), &dir, None)?];
        for (name, file) in files {
            items.push(item(FileKind::Release, &name, &dir, Some(file.sha256))?);
        }
        items.push(Item { from: own_program()?, ..item(FileKind::Program, "sre-provision", &dir, None)? });
        for program in platform_programs(env.platform).iter().filter(|program| !self.is_left_out(program)) {
            let tool = desk.tools.get(program)?;
            let known = item(FileKind::Program, program, &dir, Some(tool.digest.clone()))?;
            items.push(Item { from: tool.path.clone(), ..known });
        }
        items.extend(self.directories(desk).await?);
        let (blobs, images) = pulled(desk, screen).await?;
        items.extend(blobs);
        let version = |name: &str| desk.tools.get(name).ok().map(|tool| tool.version.clone());
        let bill = desk.workspace.store().join(format!("{}.{SBOM}", env.name));
        write_atomic(&bill, &sbom(&env.name, &items, &images, version)?, 0o644)?;
        items.push(Item { from: bill, ..item(FileKind::Sbom, SBOM, &dir, None)? });
        Ok((items, images))
    }

    /// What the environment file names of the operator's own files.
    async fn directories(&self, desk: &Desk) -> Result<Vec<Item>, Failure> {
        let supply = &desk.env.bundle;
        let given = [
            (FileKind::Plugin, supply.plugins.as_ref().filter(|_| !self.is_left_out("packer"))),
            (FileKind::Provider, supply.providers.as_ref()),
            (FileKind::Wheel, supply.wheels.as_ref()),
            (FileKind::Rpm, supply.rpms.as_ref()),
            (FileKind::Chart, supply.charts.as_ref()),
            (FileKind::Iso, supply.iso.as_ref()),
        ];
        let given = given.into_iter().filter_map(|(kind, dir)| Some((kind, desk.workspace.root().join(dir?))));
        let given: Vec<(FileKind, PathBuf)> = given.collect();
        apart(move || {
            let taken = given.iter().map(|(kind, dir)| match kind {
                FileKind::Plugin => plugins(dir),
                kind => listed(*kind, dir),
            });
            Ok(taken.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        })
        .await
    }

    fn is_left_out(&self, program: &str) -> bool {
        self.without.iter().any(|without| without == program)
    }
}

/// The images of the environment file, pulled into the store. Parts that several share are there once.
async fn pulled(desk: &Desk, screen: Screen) -> Result<(Vec<Item>, Vec<ImageEntry>), Failure> {
    let registry = desk.env.bundle.registry.as_ref();
    let client = client(registry.is_some_and(|registry| registry.plain_http), None);
    let (blobs, tell) = (desk.workspace.blobs(), |text: String| screen.remark(&text));
    let pull = Pull { client: &client, blobs: &blobs, tell: &tell };
    let (mut items, mut images) = (BTreeMap::new(), Vec::new());
    for text in desk.env.images() {
        let (image, parts) = pull.image(&text).await?;
        items.extend(parts);
        images.push(image);
    }
    Ok((items.into_values().collect(), images))
}

fn item(kind: FileKind, name: &str, dir: &Path, sha256: Option<Digest>) -> Result<Item, Failure> {
    let from = dir.join(name);
    let name = Name::parse(name).ok_or_else(|| Failure::bug(format!("`{name}` is no name of a file")))?;
    Ok(Item { kind, name, from, sha256 })
}

fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::new(Exit::Missing, "our own program is not found").because(error))
}

/// A version that grows with the clock: `20261130041500`.
fn now() -> Result<u64, Failure> {
    let text = Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
    text.parse().map_err(|_| Failure::bug(format!("the time `{text}` is no number")))
}

fn tell(screen: Screen, made: &Made, to: &Path) {
    let manifest = &made.manifest;
    let text = format!(
        "bundle `{}` version {} is in `{}`: {} files, {}, {} chunks written, {} were there\n  \
         sre-provision bundle verify {} --environment {}",
        manifest.line,
        manifest.version,
        to.display(),
        manifest.files.len(),
        shown(manifest.size()),
        made.written,
        made.kept,
        to.display(),
        manifest.line,
    );
    screen.result(
        &text,
        &json!({ "event": "bundle-created", "line": manifest.line, "version": manifest.version, "path": to,
            "files": manifest.files.len(), "bytes": manifest.size(), "written": made.written, "kept": made.kept,
            "left_out": made.left_out }),
    );
}
