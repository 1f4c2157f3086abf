//! `sre-provision kubeconfig`: writes the kubeconfig of an environment.

use std::path::PathBuf;

use serde_json::json;

use super::Common;
use super::desk::Desk;
use crate::environment::Via;
use crate::failure::{Exit, Failure};
use crate::node::JUMP;
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
        let desk = Desk::open(common, &self.environment).await?;
        let none = || {
            Failure::new(Exit::NotDone, format!("`{}` has no kubeconfig yet", self.environment))
                .hint(format!("sre-provision up {}", self.environment))
        };
        let identity = desk.recorded_identity().await?.ok_or_else(none)?;
        let sealed = desk.secrets(&identity)?.get("kubeconfig")?.ok_or_else(none)?;
        let path = match &self.to {
            // As a whole, since the line to type holds in every directory.
            Some(to) => std::path::absolute(to).map_err(|error| {
                Failure::new(Exit::Usage, format!("`{}` is no place for a file", to.display())).because(error)
            })?,
            None => {
                // On a machine that shares the state it need not be there yet.
                desk.state.create()?;
                desk.state.kubeconfig()
            }
        };
        write_atomic(&path, sealed.expose(), 0o600)?;
        let shown = desk.workspace.shown(&path).display().to_string();
        let mut text = format!("{shown} (context `{}`)\n  export KUBECONFIG={}", self.environment, path.display());
        if desk.env.access.via == Via::Jump {
            text.push_str(&through_jump(&self.environment));
        }
        screen.result(&text, &json!({ "environment": self.environment, "path": path }));
        Ok(())
    }
}

/// How kubectl goes the way that everything else goes; the API's name is looked up by the jump machine.
fn through_jump(environment: &str) -> String {
    format!(
        "\n  export HTTPS_PROXY=socks5://127.0.0.1:1080   while this runs: \
         sre-provision ssh {environment} {JUMP} -- -N -D 127.0.0.1:1080"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_jump_machine_it_is_told_how_kubectl_gets_through() {
        assert_eq!(
            through_jump("dev"),
            "\n  export HTTPS_PROXY=socks5://127.0.0.1:1080   while this runs: \
             sre-provision ssh dev jump -- -N -D 127.0.0.1:1080"
        );
    }
}
