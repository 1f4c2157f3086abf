//! Finds the tools and checks that their versions are ones we know.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::{Output, quick};
use crate::tools::ToolEnvironment;
use crate::tools::memory::{Looks, Memory};
use crate::workspace::file_digest;

/// A tool that was found and is of an accepted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    pub path: PathBuf,
    pub version: String,
    /// Of the program's file; for a script also of what it runs in.
    pub digest: Digest,
}

/// What we know of a tool before we have found it.
struct Known {
    name: &'static str,
    /// How it is asked for its version.
    ask: &'static [&'static str],
    read: fn(&str) -> Option<String>,
    /// From this version on, below the other: (major, minor).
    from: (u32, u32),
    below: (u32, u32),
    hint: &'static str,
}

const KNOWN: [Known; 3] = [
    Known {
        name: "packer",
        ask: &["-machine-readable", "version"],
        read: packer_version,
        from: (1, 12),
        below: (2, 0),
        hint: "install Packer 1.16 (https://developer.hashicorp.com/packer/install) and put it on PATH",
    },
    Known {
        name: "tofu",
        ask: &["version", "-json"],
        read: tofu_version,
        from: (1, 12),
        below: (2, 0),
        hint: "install OpenTofu 1.12 (https://opentofu.org/docs/intro/install/) and put it on PATH",
    },
    Known {
        name: "ansible-playbook",
        ask: &["--version"],
        read: ansible_version,
        from: (2, 19),
        below: (2, 23),
        hint: "install ansible-core 2.21 (`pip install ansible-core==2.21.*` with Python 3.12 or newer) and put it on PATH",
    },
];

/// What connections to nodes are made with, and how to get it.
const CONNECTING: [(&str, &str); 2] =
    [("ssh", "install OpenSSH's client (`openssh-clients` or `openssh-client`)"), ("setsid", "install util-linux")];

/// `1732190000,,version,1.16.0`
fn packer_version(output: &str) -> Option<String> {
    let line = output.lines().find_map(|line| line.split_once(",version,"))?.1;
    Some(line.trim().to_owned())
}

fn tofu_version(output: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(output).ok()?;
    Some(value.get("terraform_version")?.as_str()?.to_owned())
}

/// `ansible-playbook [core 2.21.5]`
fn ansible_version(output: &str) -> Option<String> {
    let rest = output.lines().next()?.split_once("[core ")?.1;
    Some(rest.split_once(']')?.0.to_owned())
}

/// What each tool's reader makes of an output, and whether that version would do.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn versions_in(output: &str) -> Vec<(String, bool)> {
    let told = KNOWN.iter().filter_map(|known| Some((known, (known.read)(output)?)));
    told.map(|(known, version)| {
        let accepted = is_accepted(known, &version);
        (version, accepted)
    })
    .collect()
}

/// The tools on a search path; each is looked for when it is first asked for.
pub struct Tools {
    path: OsString,
    environment: ToolEnvironment,
    memory: Option<PathBuf>,
    found: [OnceLock<Tool>; KNOWN.len()],
}

impl Tools {
    /// `path` is a search path such as `PATH`.
    pub fn new(path: &OsStr, environment: ToolEnvironment) -> Self {
        Self { path: path.to_owned(), environment, memory: None, found: Default::default() }
    }

    /// Remembers in this file what each program said of itself, as long as its file is the same: asking Ansible takes half
    /// a second, and reading 100 MB as long.
    pub fn with_memory(mut self, file: PathBuf) -> Self {
        self.memory = Some(file);
        self
    }

    pub fn environment(&self) -> &ToolEnvironment {
        &self.environment
    }

    /// # Errors
    /// Exit 4: it is not on the path, cannot be started, or is of a version that we do not know.
    pub fn get(&self, name: &str) -> Result<&Tool, Failure> {
        let index = KNOWN.iter().position(|known| known.name == name);
        let (Some(known), Some(found)) = (index.map(|index| &KNOWN[index]), index.map(|index| &self.found[index]))
        else {
            return Err(Failure::bug(format!("`{name}` is no tool that we know")));
        };
        if let Some(tool) = found.get() {
            return Ok(tool);
        }
        let tool = self.find(known)?;
        Ok(found.get_or_init(|| tool))
    }

    /// Sees that the programs are there that others start by name, of whatever version.
    ///
    /// # Errors
    /// Exit 4: one is not on the path.
    pub fn require_connecting(&self) -> Result<(), Failure> {
        match CONNECTING.iter().find(|(name, _)| self.search(name).is_none()) {
            Some((name, hint)) => Err(self.missing(name, hint)),
            None => Ok(()),
        }
    }

    /// A program of whatever version.
    ///
    /// # Errors
    /// Exit 4: it is not on the path.
    pub fn other(&self, name: &str, hint: &str) -> Result<PathBuf, Failure> {
        self.search(name).ok_or_else(|| self.missing(name, hint))
    }

    fn missing(&self, name: &str, hint: &str) -> Failure {
        Failure::new(Exit::Missing, format!("`{name}` is not installed"))
            .because(format!("no program of that name in {}", self.path.display()))
            .hint(hint)
    }

    fn find(&self, known: &Known) -> Result<Tool, Failure> {
        let name = known.name;
        let path = self.search(name).ok_or_else(|| self.missing(name, known.hint))?;
        self.check_configuration(name)?;
        let tool = self.asked(known, path)?;
        if !is_accepted(known, &tool.version) {
            let ((from, from_minor), (below, below_minor)) = (known.from, known.below);
            let what = format!("`{}` is version {}", tool.path.display(), tool.version);
            return Err(Failure::new(Exit::Missing, what)
                .because(format!("accepted are versions from {from}.{from_minor} on, below {below}.{below_minor}"))
                .hint(known.hint));
        }
        Ok(tool)
    }

    /// What a program says of itself, or said when its file was the same.
    fn asked(&self, known: &Known, path: PathBuf) -> Result<Tool, Failure> {
        let mut memory = Memory::read(self.memory.as_deref());
        let looks = Looks::of(&path);
        if let Some(tool) = looks.as_ref().and_then(|looks| memory.recall(&path, looks)) {
            return Ok(tool);
        }
        let output = quick(&path, known.ask, &self.asking(), Duration::from_secs(60))
            .map_err(|failure| failure.hint(known.hint))?;
        let version = (known.read)(&output.stdout).ok_or_else(|| unreadable(&path, known, &output))?;
        // A script of a few lines says nothing; what it prints of itself names its Python and modules too.
        let digest = match known.name {
            "ansible-playbook" => Digest::of_value(&(file_digest(&path)?, &output.stdout)),
            _ => file_digest(&path)?,
        };
        let tool = Tool { path, version, digest };
        if let (Some(looks), Some(file)) = (looks, &self.memory) {
            memory.learn(&tool, looks).write(file)?;
        }
        Ok(tool)
    }

    fn search(&self, name: &str) -> Option<PathBuf> {
        let is_program =
            |path: &Path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        let path = std::env::split_paths(&self.path).map(|dir| dir.join(name)).find(|path| is_program(path))?;
        std::path::absolute(path).ok()
    }

    /// OpenTofu does not start when this variable names nothing, and its message does not say so.
    fn check_configuration(&self, name: &str) -> Result<(), Failure> {
        let Some(file) = self.environment.get("TF_CLI_CONFIG_FILE").filter(|_| name == "tofu").map(Path::new) else {
            return Ok(());
        };
        if file.is_file() {
            return Ok(());
        }
        Err(Failure::new(Exit::Missing, format!("TF_CLI_CONFIG_FILE names `{}`, which does not exist", file.display()))
            .hint("unset TF_CLI_CONFIG_FILE, or let it name OpenTofu's configuration file"))
    }

    /// What a tool sees that is asked for its version.
    fn asking(&self) -> BTreeMap<String, OsString> {
        let mut env = self.environment.variables().clone();
        env.insert("CHECKPOINT_DISABLE".to_owned(), "1".into());
        env
    }
}

fn unreadable(path: &Path, known: &Known, output: &Output) -> Failure {
    let said =
        output.stderr.lines().chain(output.stdout.lines()).find(|line| !line.trim().is_empty()).unwrap_or_default();
    let asked = known.ask.join(" ");
    Failure::new(Exit::Missing, format!("`{} {asked}` does not tell a version", path.display()))
        .because(said.trim())
        .hint(known.hint)
}

fn is_accepted(known: &Known, version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else { return false };
    (known.from..known.below).contains(&(major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with one scripted tool.
    fn tools(name: &str, script: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Tools) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        let environment = ToolEnvironment::of(variables.iter().map(|(name, value)| (name.into(), value.into())));
        let tools = Tools::new(dir.path().as_os_str(), environment);
        (dir, tools)
    }

    #[test]
    fn each_tool_is_known_by_the_words_it_prints_of_itself() {
        // packer 1.16.0, tofu 1.12.6, ansible-core 2.21.5
        assert_eq!(packer_version("1763726000,,version,1.16.0\n").as_deref(), Some("1.16.0"));
        assert_eq!(
            tofu_version(r#"{"terraform_version":"1.12.6","platform":"linux_amd64"}"#).as_deref(),
            Some("1.12.6")
        );
        assert_eq!(
            ansible_version("ansible-playbook [core 2.21.5]\n  config file = None\n").as_deref(),
            Some("2.21.5")
        );
    }

    #[test]
    fn a_tool_that_is_not_there_is_named_with_the_way_to_get_it() {
        let (_dir, tools) = tools("tofu", "", &[]);

        let failure = tools.get("packer").expect_err("missing");

        assert_eq!((failure.what(), failure.exit()), ("`packer` is not installed", Exit::Missing));
        assert!(failure.hints()[0].starts_with("install Packer 1.16"), "{:?}", failure.hints());
    }

    #[test]
    fn a_program_of_another_machine_is_named_with_the_way_to_get_the_right_one() {
        let (dir, tools) = tools("tofu", "", &[]);
        // The header of an ELF file for a machine that does not exist.
        let mut foreign = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\xff\x01\0\0\0".to_vec();
        foreign.resize(64, 0);
        std::fs::write(dir.path().join("tofu"), foreign).expect("written");

        let failure = tools.get("tofu").expect_err("refused");

        assert_eq!(failure.what(), format!("`{}/tofu` cannot be started", dir.path().display()));
        assert_eq!((failure.exit(), failure.causes()[0].as_str()), (Exit::Missing, "Exec format error (os error 8)"));
        assert!(failure.hints()[0].starts_with("install OpenTofu 1.12"), "{:?}", failure.hints());
    }

    #[test]
    fn a_version_that_we_do_not_know_is_refused_with_its_path_and_the_range() {
        let (dir, tools) = tools("tofu", r#"echo '{"terraform_version":"1.9.4"}'"#, &[]);

        let failure = tools.get("tofu").expect_err("too old");

        assert_eq!(failure.what(), format!("`{}/tofu` is version 1.9.4", dir.path().display()));
        assert_eq!(failure.causes(), ["accepted are versions from 1.12 on, below 2.0"]);
    }

    #[test]
    fn a_tool_that_says_something_else_is_quoted() {
        let (_dir, tools) =
            tools("ansible-playbook", "echo 'ModuleNotFoundError: No module named ansible' >&2; exit 1", &[]);

        let failure = tools.get("ansible-playbook").expect_err("broken");

        assert_eq!(failure.causes(), ["ModuleNotFoundError: No module named ansible"]);
    }

    #[test]
    fn a_configuration_file_that_does_not_exist_is_found_before_tofu_fails_on_it() {
        let (_dir, tools) =
            tools("tofu", r#"echo '{"terraform_version":"1.12.6"}'"#, &[("TF_CLI_CONFIG_FILE", "/nowhere")]);

        let failure = tools.get("tofu").expect_err("refused");

        assert_eq!(failure.what(), "TF_CLI_CONFIG_FILE names `/nowhere`, which does not exist");
    }

    #[test]
    fn a_tool_is_asked_once_and_again_only_when_its_file_has_changed() {
        let script = r#"echo x >>"${0%/*}/asked"; echo '{"terraform_version":"1.12.6"}'"#;
        let (dir, first) = tools("tofu", script, &[]);
        let path = dir.path().join("tofu");
        let asked = || std::fs::read_to_string(dir.path().join("asked")).expect("asked").lines().count();
        let fresh = |tools: Tools| tools.with_memory(dir.path().join("tools.json"));
        let again = || fresh(Tools::new(dir.path().as_os_str(), ToolEnvironment::default()));

        let first = fresh(first);
        first.get("tofu").expect("found");
        first.get("tofu").expect("found");
        let once = asked();
        let recalled = again().get("tofu").expect("found").clone();
        let still_once = asked();
        std::fs::write(&path, std::fs::read_to_string(&path).expect("script").replace("1.12.6", "1.12.7"))
            .expect("written");
        let changed = again().get("tofu").expect("found").version.clone();

        assert_eq!((once, still_once, asked()), (1, 1, 2));
        assert_eq!(&recalled, first.get("tofu").expect("found"));
        assert_eq!(changed, "1.12.7");
    }

    #[test]
    fn a_machine_without_an_ssh_client_is_told_what_to_install() {
        let (_dir, tools) = tools("setsid", "exit 0", &[]);

        let failure = tools.require_connecting().expect_err("no ssh");

        assert_eq!((failure.what(), failure.exit()), ("`ssh` is not installed", Exit::Missing));
        assert_eq!(failure.hints(), ["install OpenSSH's client (`openssh-clients` or `openssh-client`)"]);
    }
}
