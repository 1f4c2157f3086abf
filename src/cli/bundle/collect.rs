//! What goes into a bundle: first looked for, so that its size is known, then fetched, each file checked before it is taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::apart;
use crate::bundle::{
    FileKind, ImageEntry, Item, Looked, Name, Packaged, Pull, Resolved, SBOM, Source, Tell, Wanted, listed, plugins,
    referred, refuse_ambiguous, required_packages, required_programs, sbom,
};
use crate::cli::desk::Desk;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::report::Screen;
use crate::rke2::{checksum_file, release_files};
use crate::stop::Stop;
use crate::workspace::write_atomic;

/// What is collected, and for whom.
pub struct Collection<'a> {
    desk: &'a Desk,
    /// Programs that are left out.
    without: &'a [String],
    screen: Screen,
    stop: &'a Stop,
    /// Where the release, parts of images, and packages are kept.
    release: PathBuf,
    blobs: PathBuf,
    rpms: PathBuf,
    ca: Option<Vec<u8>>,
}

/// What was found and is not fetched yet.
pub struct Found {
    source: Source,
    images: Vec<Looked>,
    packages: Option<Resolved>,
    /// The bytes that are still to come.
    pub size: u64,
}

impl Found {
    /// Where from, for people.
    pub fn sources(&self) -> String {
        let images = Some(format!(", {} images", self.images.len())).filter(|_| !self.images.is_empty());
        let packages = self.packages.as_ref().map(|resolved| format!(", {} packages", resolved.count()));
        format!("{}{}{}", self.source, images.unwrap_or_default(), packages.unwrap_or_default())
    }
}

impl<'a> Collection<'a> {
    pub fn new(desk: &'a Desk, without: &'a [String], screen: Screen, stop: &'a Stop) -> Result<Self, Failure> {
        let workspace = &desk.workspace;
        let ca = referred(workspace.root(), desk.env.bundle.ca.as_ref())?;
        let rpms = workspace.store().join("rpms").join(&desk.env.name);
        let (release, blobs) = (workspace.release(&desk.env.rke2.version), workspace.blobs());
        Ok(Self { desk, without, screen, stop, release, blobs, rpms, ca })
    }

    /// Asks servers and registries what there is, and how much.
    pub async fn look(&self) -> Result<Found, Failure> {
        let tell = |text: String| self.screen.remark(&text);
        let env = &self.desk.env;
        let source = Source::of(env.rke2.release.as_deref(), self.desk.workspace.root());
        let mut size = self.wanted(&tell).size(&source).await?;
        let (pull, mut images) = (self.pull(&tell)?, Vec::new());
        for text in env.pulled() {
            let looked = pull.look(text).await?;
            size += pull.size(&looked);
            images.push(looked);
        }
        let mut packages = None;
        if let Some(packaged) = self.packaged(&tell) {
            let resolved = tokio::task::block_in_place(|| packaged.resolve())?;
            size += packaged.size(&resolved, self.ca.as_deref()).await?;
            packages = Some(resolved);
        }
        Ok(Found { source, images, packages, size })
    }

    /// Brings everything together.
    pub async fn fetch(&self, found: Found) -> Result<(Vec<Item>, Vec<ImageEntry>), Failure> {
        let tell = |text: String| self.screen.remark(&text);
        let (desk, env, dir) = (self.desk, &self.desk.env, &self.release);
        let files = self.wanted(&tell).fetch(&found.source).await?;
        let mut items = vec![item(FileKind::Release, &checksum_file(), dir, None)?];
        for (name, file) in files {
            items.push(item(FileKind::Release, &name, dir, Some(file.sha256))?);
        }
        items.push(Item { from: own_program()?, ..item(FileKind::Program, "sre-provision", dir, None)? });
        for program in required_programs(env, |program| self.is_left_out(program)) {
            let tool = desk.tools.get(program)?;
            let known = item(FileKind::Program, program, dir, Some(tool.digest.clone()))?;
            items.push(Item { from: tool.path.clone(), ..known });
        }
        items.extend(self.directories().await?);
        if let (Some(packaged), Some(resolved)) = (self.packaged(&tell), &found.packages) {
            items.extend(tokio::task::block_in_place(|| packaged.fetch(resolved))?);
        }
        let (pull, mut pulled, mut images) = (self.pull(&tell)?, BTreeMap::new(), Vec::new());
        for looked in found.images {
            pulled.extend(pull.fetch(&looked).await?);
            items.extend(looked.chart.as_ref().map(|(name, digest)| pull.chart(name, digest)));
            images.push(looked.image);
        }
        items.extend(pulled.into_values());
        refuse_ambiguous(&items, &images)?;
        let version = |name: &str| desk.tools.get(name).ok().map(|tool| tool.version.clone());
        let bill = desk.workspace.store().join(format!("{}.{SBOM}", env.name));
        write_atomic(&bill, &sbom(&env.name, &items, &images, version)?, 0o644)?;
        items.push(Item { from: bill, ..item(FileKind::Sbom, SBOM, dir, None)? });
        Ok((items, images))
    }

    fn wanted<'b>(&'b self, tell: Tell<'b>) -> Wanted<'b> {
        let rke2 = &self.desk.env.rke2;
        let (files, ca) = (release_files(rke2), self.ca.clone());
        Wanted { version: &rke2.version, files, dir: &self.release, ca, stop: self.stop, tell }
    }

    fn pull<'b>(&'b self, tell: Tell<'b>) -> Result<Pull<'b>, Failure> {
        Pull::new(&self.desk.env.bundle, self.desk.workspace.root(), &self.blobs, tell)
    }

    fn packaged<'b>(&'b self, tell: Tell<'b>) -> Option<Packaged<'b>> {
        let (root, supply) = (self.desk.workspace.root(), &self.desk.env.bundle);
        let ca = supply.ca.as_ref().and_then(|ca| ca.strip_prefix("file:")).map(|path| root.join(path));
        let (wanted, required) = (supply.rpms.as_ref()?, required_packages(&self.desk.env));
        Some(Packaged { tools: &self.desk.tools, wanted, required, root, dir: &self.rpms, ca, tell })
    }

    /// What the environment file names of the operator's own files.
    async fn directories(&self) -> Result<Vec<Item>, Failure> {
        let supply = &self.desk.env.bundle;
        let given = [
            (FileKind::Plugin, supply.plugins.as_ref().filter(|_| !self.is_left_out("packer"))),
            (FileKind::Provider, supply.providers.as_ref()),
            (FileKind::Wheel, supply.wheels.as_ref()),
            (FileKind::Chart, supply.charts.as_ref()),
            (FileKind::Iso, supply.iso.as_ref()),
        ];
        let root = self.desk.workspace.root();
        let given: Vec<(FileKind, PathBuf)> =
            given.into_iter().filter_map(|(kind, dir)| Some((kind, root.join(dir?)))).collect();
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

fn item(kind: FileKind, name: &str, dir: &Path, sha256: Option<Digest>) -> Result<Item, Failure> {
    let from = dir.join(name);
    let name = Name::parse(name).ok_or_else(|| Failure::bug(format!("`{name}` is no name of a file")))?;
    Ok(Item { kind, name, from, sha256 })
}

fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::new(Exit::Missing, "our own program is not found").because(error))
}
