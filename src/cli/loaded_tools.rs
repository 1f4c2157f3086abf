//! The tools that a bundle brought: found behind the caller's own, and where they find their plugins and providers.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::tools::{ToolEnvironment, Tools};

/// Where Packer and OpenTofu are told of what was loaded, unless the caller told them otherwise.
const PLACES: [(&str, &str); 2] = [("PACKER_PLUGIN_PATH", "plugins"), ("TF_CLI_CONFIG_FILE", "tofu.rc")];

/// The tools of whoever called us, and behind them those of what was loaded; `more` adds what this environment tells them.
pub fn tools(loaded: &Path, more: impl FnOnce(ToolEnvironment) -> ToolEnvironment) -> Tools {
    let set = variables(loaded, std::env::vars_os());
    let path = set.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    Tools::new(&path, more(ToolEnvironment::of(set)))
}

/// The caller's variables, with those of what was loaded where the caller has none; on `PATH` the bundle's programs come
/// last.
fn variables(loaded: &Path, set: impl IntoIterator<Item = (OsString, OsString)>) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = set.into_iter().collect();
    let programs = loaded.join("bin");
    if programs.is_dir() {
        let path = variables.entry("PATH".into()).or_default();
        let all = std::env::split_paths(path).filter(|dir| !dir.as_os_str().is_empty()).chain([programs]);
        // A directory with a colon in its name cannot be on a search path: then it stays off.
        if let Ok(joined) = std::env::join_paths(all) {
            *path = joined;
        }
    }
    for (name, place) in
        PLACES.iter().map(|(name, place)| (name, loaded.join(place))).filter(|(_, place)| place.exists())
    {
        variables.entry((*name).into()).or_insert_with(|| place.into());
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(dir: &Path, set: &[(&str, &str)]) -> Vec<String> {
        let set = set.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let line = |(name, value): (OsString, OsString)| format!("{}={}", name.display(), value.display());
        variables(dir, set).into_iter().map(line).collect()
    }

    #[test]
    fn what_was_loaded_comes_behind_what_the_caller_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let loaded = dir.path().display();
        for name in ["bin", "plugins"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        std::fs::write(dir.path().join("tofu.rc"), "").expect("written");

        assert_eq!(
            told(dir.path(), &[("PATH", "/usr/bin:/bin"), ("HOME", "/root")]),
            [
                "HOME=/root".to_owned(),
                format!("PACKER_PLUGIN_PATH={loaded}/plugins"),
                format!("PATH=/usr/bin:/bin:{loaded}/bin"),
                format!("TF_CLI_CONFIG_FILE={loaded}/tofu.rc"),
            ]
        );
        assert_eq!(told(dir.path(), &[("TF_CLI_CONFIG_FILE", "/own")])[2], "TF_CLI_CONFIG_FILE=/own");
    }

    #[test]
    fn where_nothing_was_loaded_nothing_changes() {
        let set = [("HOME", "/root"), ("PATH", "/usr/bin")];

        assert_eq!(told(Path::new("/nowhere"), &set), ["HOME=/root", "PATH=/usr/bin"]);
    }
}
