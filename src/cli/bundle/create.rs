//! `sre-provision bundle create`: collects what an environment needs and writes it down, signed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::collect::{Collection, Found};
use super::{apart, shown};
use crate::bundle::{Have, Made, Manifest, Order, Release, SigningKey, create};
use crate::cli::Common;
use crate::cli::ask::ask;
use crate::cli::desk::Desk;
use crate::failure::{Exit, Failure};
use crate::report::Screen;
use crate::stop::Stop;
use crate::units::ByteSize;
use crate::workspace::RealDisk;

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
        let collection = Collection::new(&desk, &self.without, screen, stop)?;
        let found = collection.look().await?;
        self.agree(&found, screen, stop).await?;
        let (size, (items, images)) = (found.size, collection.fetch(found).await?);
        let version = self.version.map_or_else(now, Ok)?;
        let rke2 = Release { version: desk.env.rke2.version.clone(), cni: desk.env.rke2.cni };
        let (line, without): (_, BTreeSet<String>) = (desk.env.name.clone(), self.without.iter().cloned().collect());
        let have = self.have.as_deref().map(Have::read).transpose()?.unwrap_or_default().chunks;
        let (to, stop) = (crate::cli::whole(&self.to)?, stop.clone());
        let made = apart(move || {
            let order = Order { to: &to, split, have, stop: &stop };
            let describe = |files| Manifest { without, images, ..Manifest::new(&line, version, rke2, files) };
            create(&RealDisk, &order, &key, items, describe)
        });
        tell(screen, &made.await?, &self.to, size);
        Ok(())
    }

    /// Whether to go on, once it is known how much is to come.
    async fn agree(&self, found: &Found, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let size = format!("{} to fetch from {}", shown(found.size), found.sources());
        if self.yes {
            screen.remark(&size);
            return Ok(());
        }
        let question = format!("{size}; go on and write a bundle to `{}`? [y/N]", self.to.display());
        match ask(screen, question, stop).await?.as_deref() {
            Some("y" | "yes") => Ok(()),
            Some(_) | None => Err(Failure::new(Exit::Approval, "nothing was fetched and no bundle was written")
                .hint("answer with `y`, or give `--yes` where nobody can answer")),
        }
    }
}

/// A version that grows with the clock: `20261130041500`.
fn now() -> Result<u64, Failure> {
    let text = Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
    text.parse().map_err(|_| Failure::bug(format!("the time `{text}` is no number")))
}

fn tell(screen: Screen, made: &Made, to: &Path, fetched: u64) {
    let manifest = &made.manifest;
    let mut text = format!(
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
    if made.removed > 0 {
        text.push_str(&format!(
            "\n  {} chunks of an earlier try, which no file has any more, are removed",
            made.removed
        ));
    }
    if made.unused > 0 {
        text.push_str(&format!(
            "\n  {} chunks of an earlier try stay for want of room in `{}`, and nobody reads them",
            made.unused,
            to.display()
        ));
    }
    screen.result(
        &text,
        &json!({ "event": "bundle-created", "line": manifest.line, "version": manifest.version, "path": to,
            "files": manifest.files.len(), "bytes": manifest.size(), "fetched": fetched, "written": made.written, "kept": made.kept,
            "left_out": made.left_out, "removed": made.removed, "unused": made.unused }),
    );
}
