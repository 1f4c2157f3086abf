//! `sre-provision bundle diff`: what of a bundle the other side lacks.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use super::{apart, shown};
use crate::bundle::Order;
use crate::bundle::{Have, Opened, Supplement, missing, supplement};
use crate::cli::whole;
use crate::failure::Failure;
use crate::report::Screen;
use crate::stop::Stop;
use crate::units::ByteSize;
use crate::workspace::RealDisk;

#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The bundle
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// What the other side has, as `bundle have` wrote it there
    #[arg(long, value_name = "FILE")]
    have: PathBuf,
    /// The public key of whoever made the bundle, PEM
    #[arg(long, value_name = "FILE", required = true)]
    trust: Vec<PathBuf>,
    /// Write what is lacking to this directory, under the same signature
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// No file of it gets this large
    #[arg(long, value_name = "SIZE", requires = "to")]
    split: Option<ByteSize>,
}

impl Diff {
    pub async fn run(self, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let references: Vec<String> = self.trust.iter().map(|path| format!("file:{}", path.display())).collect();
        let keys = crate::bundle::TrustedKeys::read(&references, std::path::Path::new("."))?;
        let have = Have::read(&self.have)?;
        let to = self.to.as_deref().map(whole).transpose()?;
        let (bundle, stop) = (self.bundle, stop.clone());
        let split = self.split.map_or(u64::MAX, |split| split.0);
        let done = apart(move || {
            let opened = Opened::open(&[bundle], &keys)?;
            let (chunks, bytes) = missing(&opened, &have);
            let mut made = Supplement::default();
            if let Some(to) = &to {
                let order = Order { to, split, have: BTreeSet::new(), stop: &stop };
                made = supplement(&RealDisk, &opened, &chunks, &order)?;
            }
            Ok((opened.manifest, chunks.len(), bytes, made))
        });
        let (manifest, chunks, bytes, made) = done.await?;
        let mut text = format!(
            "the other side lacks {chunks} of {} chunks, {} of {}",
            manifest.chunks().len(),
            shown(bytes),
            shown(manifest.size())
        );
        if let Some(to) = &self.to {
            let kept = if made.kept > 0 { format!(", {} were there", made.kept) } else { String::new() };
            text.push_str(&format!("; they are in `{}`{kept}", to.display()));
        }
        screen.result(
            &text,
            &json!({ "event": "bundle-diff", "line": manifest.line, "version": manifest.version, "chunks": chunks,
                "bytes": bytes, "path": self.to, "written": made.written, "kept": made.kept }),
        );
        Ok(())
    }
}
