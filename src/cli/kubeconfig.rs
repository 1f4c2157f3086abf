//! `sre-provision kubeconfig`: writes the kubeconfig of an environment, or puts it among others.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Common;
use super::desk::Desk;
use crate::environment::Via;
use crate::failure::{Exit, Failure};
use crate::node::JUMP;
use crate::report::Screen;
use crate::rke2::{Other, merged};
use crate::secret::Secret;
use crate::workspace::{Published, RealDisk, make_dir, publish, write_atomic};

#[derive(Debug, clap::Args)]
pub struct Kubeconfig {
    /// The environment
    environment: String,
    /// Where to write it, readable by you only; the environment's own place without it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Put it as a context of its own into the first file of `KUBECONFIG`, or `~/.kube/config`; other contexts stay
    #[arg(long, conflicts_with = "to")]
    merge: bool,
    /// With `--merge`: in the place of a context of that name that leads to another cluster
    #[arg(long, requires = "merge")]
    replace: bool,
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
        if self.merge {
            return self.merge_into(&usual_file()?, &sealed, screen);
        }
        let path = match &self.to {
            Some(to) => super::whole(to)?,
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

    fn merge_into(&self, path: &Path, own: &Secret, screen: Screen) -> Result<(), Failure> {
        let existing = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                let what = format!("cannot read `{}`", path.display());
                return Err(Failure::new(Exit::NotDone, what).because(error));
            }
        };
        let other = if self.replace { Other::Replace } else { Other::Refuse };
        let new = merged(&existing, own, &self.environment, other)
            .map_err(|failure| failure.because(format!("in `{}`", path.display())))?;
        let mut backup = None;
        if let Some(new) = &new {
            // Through a link, which stays one.
            let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            if let Some(dir) = target.parent() {
                make_dir(&RealDisk, dir, 0o700)?;
            }
            if !existing.is_empty() {
                backup = Some(keep_as_it_was(&target, existing.as_bytes())?);
            }
            write_atomic(&target, new.expose(), 0o600)?;
        }
        let done = if new.is_some() { "merged into" } else { "is already in" };
        let mut text =
            format!("context `{0}` {done} {1}\n  kubectl --context {0} get nodes", self.environment, path.display());
        if let Some(backup) = &backup {
            text.push_str(&format!("\n  as it was before: {}", backup.display()));
        }
        let changed = new.is_some();
        let data = json!({ "environment": self.environment, "path": path, "changed": changed, "backup": backup });
        screen.result(&text, &data);
        Ok(())
    }
}

/// The file that kubectl writes to.
fn usual_file() -> Result<PathBuf, Failure> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty()) {
        return Ok(first);
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Missing, "nowhere to merge the kubeconfig into")
            .because("neither KUBECONFIG nor HOME is set")
            .hint("`--to FILE` writes a file of its own")
    })?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// Keeps the file beside itself under the next free name `….before-N`: an earlier one is never overwritten.
fn keep_as_it_was(path: &Path, bytes: &[u8]) -> Result<PathBuf, Failure> {
    for number in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".before-{number}"));
        let backup = PathBuf::from(name);
        let is_same = std::fs::read(&backup).is_ok_and(|there| there == bytes);
        if is_same || publish(&RealDisk, &backup, bytes, 0o600)? == Published::Created {
            return Ok(backup);
        }
    }
    Err(Failure::bug("there is a last number"))
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
    fn a_file_is_kept_under_a_free_name_and_once_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config");

        let kept = [b"one", b"two", b"one"].map(|bytes| keep_as_it_was(&path, bytes).expect("kept"));

        let names = kept.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned());
        assert_eq!(names, ["config.before-1", "config.before-2", "config.before-1"]);
        assert_eq!(std::fs::read(dir.path().join("config.before-1")).expect("read"), b"one");
    }

    #[test]
    fn behind_a_jump_machine_it_is_told_how_kubectl_gets_through() {
        assert_eq!(
            through_jump("dev"),
            "\n  export HTTPS_PROXY=socks5://127.0.0.1:1080   while this runs: \
             sre-provision ssh dev jump -- -N -D 127.0.0.1:1080"
        );
    }
}
