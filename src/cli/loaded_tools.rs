//! The tools that a bundle brought: found behind the caller's own, and where they find their plugins and providers.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::tools::{ToolEnvironment, Tools};

/// Where Packer and OpenTofu are told of what was loaded, unless the caller told them otherwise.
const PLACES: [(&str, &str); 2] = [("PACKER_PLUGIN_PATH", "plugins"), ("TF_CLI_CONFIG_FILE", "tofu.rc")];

/// Ansible out of the wheels of a bundle, and the file in it that says that it is whole.
pub const PYTHON: &str = "python";
pub const PYTHON_DONE: &str = "installed";

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
    let python = loaded.join(PYTHON);
    let programs = loaded.join("bin");
    let programs =
        [programs.is_dir().then_some(programs), python.join(PYTHON_DONE).is_file().then(|| python.join("bin"))];
    if programs.iter().any(Option::is_some) {
        let path = variables.entry("PATH".into()).or_default();
        let programs = programs.into_iter().flatten();
        let all = std::env::split_paths(path).filter(|dir| !dir.as_os_str().is_empty()).chain(programs);
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
        // One that was not finished counts no more than none.
        std::fs::create_dir_all(dir.path().join("python/bin")).expect("made");

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
        std::fs::write(dir.path().join("python/installed"), "").expect("written");
        let last = format!("PATH=/bin:{loaded}/bin:{loaded}/python/bin");
        assert!(told(dir.path(), &[("PATH", "/bin")]).contains(&last));
    }

    #[test]
    fn where_nothing_was_loaded_nothing_changes() {
        let set = [("HOME", "/root"), ("PATH", "/usr/bin")];

        assert_eq!(told(Path::new("/nowhere"), &set), ["HOME=/root", "PATH=/usr/bin"]);
    }
}
