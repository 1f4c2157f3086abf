//! `sre-provision bundle verify`: the signature, every chunk, and whether it is enough.

use std::path::PathBuf;

use serde_json::json;

use super::{apart, counted, counts, environment, refuse_lacking, shown, trusted};
use crate::bundle::{Opened, lacking};
use crate::cli::Common;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::report::Screen;
use crate::stop::Stop;

#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The bundle; further directories carry more of its chunks
    #[arg(required = true, value_name = "DIR")]
    bundle: Vec<PathBuf>,
    /// The public key of whoever makes the bundles, PEM; without it those of the environment file
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Whether the bundle is enough for this environment, too
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Option<String>,
}

impl Verify {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let env = environment(common, self.environment.as_deref())?;
        let keys = trusted(common, &self.trust, env.as_ref())?;
        let stop = stop.clone();
        let opened = apart(move || {
            let opened = Opened::open(&self.bundle, &keys)?;
            opened.look(&stop)?.require()?;
            Ok(opened)
        });
        let opened = opened.await?;
        let manifest = &opened.manifest;
        if let Some(env) = &env {
            refuse_lacking(&lacking(&opened, env)?, &env.name)?;
        }
        let (files, chunks) = (manifest.files.len(), manifest.chunks().len());
        let mut text = format!(
            "bundle `{}` version {} is whole: {files} files, {} in {chunks} chunks, RKE2 {}{}",
            manifest.line,
            manifest.version,
            shown(manifest.size()),
            manifest.rke2.version,
            counted(manifest)
        );
        if let Some(env) = &env {
            text.push_str(&format!("; it is enough for `{}`{}", env.name, elsewhere(env)));
        }
        screen.result(
            &text,
            &json!({ "event": "bundle-verified", "line": manifest.line, "version": manifest.version, "files": files,
                "chunks": chunks, "bytes": manifest.size(), "rke2": manifest.rke2.version,
                "counts": counts(manifest),
                "elsewhere": env.as_ref().map(|env| &env.bundle.elsewhere),
                "enough_for": env.map(|env| env.name) }),
        );
        Ok(())
    }
}

/// What it is enough with, for people.
fn elsewhere(env: &Environment) -> String {
    let names: Vec<&str> = env.bundle.elsewhere.iter().map(|one| one.name()).collect();
    if names.is_empty() { String::new() } else { format!(" with its own {}", names.join(" and ")) }
}
