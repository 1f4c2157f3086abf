//! `sre-provision kubeconfig`: writes the kubeconfig of an environment.

use std::path::PathBuf;

use serde_json::json;

use super::Common;
use super::desk::Desk;
use crate::failure::{Exit, Failure};
use crate::report::Screen;
use crate::workspace::write_atomic;

#[derive(Debug, clap::Args)]
pub struct Kubeconfig {
    /// The environment
    environment: String,
    /// Where to write it, readable by you only; the environment's own place without it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Kubeconfig {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let desk = Desk::open(common, &self.environment)?;
        let none = || {
            Failure::new(Exit::NotDone, format!("`{}` has no kubeconfig yet", self.environment))
                .hint(format!("sre-provision up {}", self.environment))
        };
        let identity = desk.recorded_identity()?.ok_or_else(none)?;
        let sealed = desk.secrets(&identity)?.get("kubeconfig")?.ok_or_else(none)?;
        let path = self.to.clone().unwrap_or_else(|| desk.state.kubeconfig());
        write_atomic(&path, sealed.expose(), 0o600)?;
        let shown = desk.workspace.shown(&path).display().to_string();
        let text = format!("{shown} (context `{}`)\n  export KUBECONFIG={}", self.environment, path.display());
        screen.result(&text, &json!({ "environment": self.environment, "path": path }));
        Ok(())
    }
}
