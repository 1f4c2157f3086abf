//! Packer's plugins: whether those are there that our templates require.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Exit, Failure};
use crate::process::quick;
use crate::tools::{ToolEnvironment, Tools};

/// Sees that every plugin is there, in a version that the templates in `dir` take. Packer builds nothing without all of
/// them, whichever source is built.
///
/// # Errors
/// Exit 4, naming those that are missing with the versions that are wanted; packer itself is missing, or cannot tell.
pub fn require_plugins(tools: &Tools, dir: &Path) -> Result<(), Failure> {
    let packer = tools.get("packer")?;
    let mut env = tools.environment().variables().clone();
    env.insert("CHECKPOINT_DISABLE".to_owned(), "1".into());
    if let Some(path) = plugin_path(tools.environment()) {
        env.insert("PACKER_PLUGIN_PATH".to_owned(), path.into());
    }
    let shown = dir.display().to_string();
    let output = quick(&packer.path, &["plugins", "required", &shown], &env, Duration::from_secs(60))?;
    if output.code != Some(0) {
        let said = output.stderr.lines().chain(output.stdout.lines()).find(|line| !line.trim().is_empty());
        return Err(Failure::new(Exit::Missing, format!("packer cannot tell which plugins `{shown}` requires"))
            .because(said.unwrap_or_default().trim()));
    }
    let missing = missing(&output.stdout);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Missing, format!("packer lacks plugins: {}", missing.join(", ")))
        .because(format!("`{shown}` requires them"))
        .hint(format!("packer init {shown}")))
}

/// Where Packer looks for plugins, if not below its configuration directory, which is a fresh one while it builds.
pub(super) fn plugin_path(environment: &ToolEnvironment) -> Option<PathBuf> {
    let home = || environment.get("HOME").map(|home| Path::new(home).join(".config/packer/plugins"));
    environment.get("PACKER_PLUGIN_PATH").map(PathBuf::from).or_else(home)
}

/// `amazon github.com/hashicorp/amazon ">= 1.8.0" /path/of/what/is/installed`, the path only where something is.
pub(super) fn missing(output: &str) -> Vec<String> {
    let missing = output.lines().filter_map(|line| {
        let mut parts = line.split('"');
        let (named, version, path) = (parts.next()?, parts.next()?, parts.next()?);
        path.trim().is_empty().then(|| format!("`{}` {version}", named.split_whitespace().last().unwrap_or_default()))
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// packer 1.16.0, with the amazon plugin installed and the vsphere plugin not.
    const REQUIRED: &str = "vsphere github.com/hashicorp/vsphere \">= 1.4.0\"\n\
                            amazon github.com/hashicorp/amazon \">= 1.8.0\" /p/packer-plugin-amazon_v1.8.2_x5.0_linux_amd64\n";

    fn tools(said: &str) -> (tempfile::TempDir, Tools) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("packer");
        let version = "1763726000,,version,1.16.0";
        let script = format!("#!/bin/sh\ncase $1 in plugins) cat <<'E'\n{said}E\n;; *) echo {version} ;; esac\n");
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        let path = std::env::join_paths([dir.path(), Path::new("/usr/bin"), Path::new("/bin")]).expect("a path");
        let environment = ToolEnvironment::of([("PATH".into(), path.clone())]);
        let tools = Tools::new(&path, environment);
        (dir, tools)
    }

    #[test]
    fn a_plugin_that_is_missing_is_named_with_its_version_and_what_installs_it() {
        let (_dir, tools) = tools(REQUIRED);

        let failure = require_plugins(&tools, Path::new("packer/base")).expect_err("one is missing");

        assert_eq!(failure.exit(), Exit::Missing);
        assert_eq!(failure.what(), "packer lacks plugins: `github.com/hashicorp/vsphere` >= 1.4.0");
        assert_eq!(failure.hints(), ["packer init packer/base"]);
    }

    #[test]
    fn nothing_is_said_where_all_are_there() {
        let (_dir, tools) = tools(REQUIRED.lines().last().map(|line| format!("{line}\n")).as_deref().expect("a line"));

        require_plugins(&tools, Path::new("packer/base")).expect("all are there");
    }
}
