//! `sre-provision bundle have`: writes down what this side has, for the one that makes bundles.

use std::path::PathBuf;

use serde_json::json;

use super::{apart, trusted};
use crate::bundle::{Have, Opened, loaded_chunks};
use crate::cli::Common;
use crate::failure::Failure;
use crate::report::Screen;
use crate::stop::Stop;

#[derive(Debug, clap::Args)]
pub struct HaveArgs {
    /// The environment that bundles were loaded for, or the directory of a bundle
    #[arg(value_name = "ENVIRONMENT|DIR")]
    of: String,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The public key of whoever made the bundle, PEM, where a directory is named
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
}

impl HaveArgs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let workspace = common.open()?;
        let chunks = if workspace.environment_file(&self.of).exists() {
            let dir = workspace.state(&self.of).loaded();
            apart(move || Ok(loaded_chunks(&dir))).await?
        } else {
            let keys = trusted(common, &self.trust, None)?;
            let (dir, stop) = (PathBuf::from(&self.of), stop.clone());
            apart(move || Ok(Opened::open(&[dir], &keys)?.look(&stop)?.right)).await?
        };
        let have = Have::new(chunks);
        have.write(&std::path::absolute(&self.to).unwrap_or_else(|_| self.to.clone()))?;
        let text = format!("{} chunks are in `{}`", have.chunks.len(), self.to.display());
        screen.result(&text, &json!({ "event": "bundle-have", "chunks": have.chunks.len(), "path": self.to }));
        Ok(())
    }
}
