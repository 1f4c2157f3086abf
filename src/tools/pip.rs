//! Ansible out of the wheels of a bundle: an environment of Python's own, made with `venv` and `pip` and no network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Exit, Failure};
use crate::process::{Output, quick};
use crate::tools::Tools;

const LONGEST: Duration = Duration::from_secs(600);
const HINT: &str = "install Python 3 with pip from the packages of your system";

/// Where the programs of such an environment lie.
pub const PROGRAMS: &str = "bin";

/// An environment of Python's.
pub struct Installer<'a> {
    pub tools: &'a Tools,
    /// Holds the wheels.
    pub wheels: &'a Path,
    /// Becomes the environment, and is its place for good: its programs name it.
    pub into: &'a Path,
}

impl Installer<'_> {
    /// Makes the environment anew and installs the newest wheels of these projects that fit this Python, with what they
    /// require. Blocks the thread.
    ///
    /// # Errors
    /// Exit 4: there is no Python, or it has no pip and there is no wheel of it. Exit 1: they do not fit this Python, or the
    /// wheels lack what one of them requires.
    pub fn install(&self, projects: &[&str]) -> Result<(), Failure> {
        let system = self.tools.other("python3", HINT)?;
        let into = self.into.display().to_string();
        self.call(&system, &["-I", "-m", "venv", "--clear", "--without-pip", &into])?;
        let own = self.into.join(PROGRAMS).join("python3");
        let wheels = self.wheels.display().to_string();
        // pip of the bundle is of the same age as its wheels; a wheel of pip runs as it lies.
        let pip = self.own_pip()?.map(|wheel| wheel.join("pip").display().to_string());
        let (python, mut args) = match &pip {
            Some(pip) => (&own, vec![pip.as_str()]),
            None => (&system, vec!["-I", "-m", "pip", "--python", &into]),
        };
        args.extend(["--isolated", "--disable-pip-version-check", "--no-input", "install", "--quiet"]);
        args.extend(["--no-cache-dir", "--no-index", "--only-binary=:all:", "--find-links", &wheels, "--"]);
        args.extend(projects);
        self.call(python, &args).map(drop)
    }

    fn own_pip(&self) -> Result<Option<PathBuf>, Failure> {
        let refused =
            |error| Failure::new(Exit::NotDone, format!("cannot read `{}`", self.wheels.display())).because(error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.wheels).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("pip-") && name.ends_with(".whl") {
                found.push(path);
            }
        }
        Ok(found.into_iter().max())
    }

    fn call(&self, program: &Path, args: &[&str]) -> Result<Output, Failure> {
        let mut env = self.tools.environment().variables().clone();
        env.insert("LC_ALL".to_owned(), OsString::from("C.UTF-8"));
        let output = quick(program, args, &env, LONGEST)?;
        if output.code == Some(0) {
            return Ok(output);
        }
        let failure = Failure::new(Exit::NotDone, "Ansible of the bundle cannot be installed");
        let said = [&output.stderr, &output.stdout].into_iter().flat_map(|text| text.lines());
        let said = said.map(str::trim).filter(|line| !line.is_empty()).take(6);
        Err(said.fold(failure, Failure::because).hint(HINT))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tools::ToolEnvironment;

    /// A Python that notes what it is told, and ends as `end` says.
    fn noting(dir: &Path, end: &str) -> Tools {
        let path = dir.join("python3");
        let log = dir.join("log");
        let script = format!("#!/bin/sh\necho \"$*\" >>'{}'\n{end}\n", log.display());
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        Tools::new(dir.as_os_str(), ToolEnvironment::of([]))
    }

    #[test]
    fn nothing_is_asked_of_a_network_and_no_file_of_the_caller_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let tools = noting(dir.path(), "");
        let (wheels, into) = (dir.path(), Path::new("/state/loaded/python"));

        Installer { tools: &tools, wheels, into }.install(&["ansible-core"]).expect("made");

        let said = std::fs::read_to_string(dir.path().join("log")).expect("noted");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "-I -m venv --clear --without-pip /state/loaded/python");
        assert!(lines[1].starts_with("-I -m pip --python /state/loaded/python --isolated "), "{said}");
        assert!(lines[1].contains("--no-index --only-binary=:all: --find-links"), "{said}");
        assert!(lines[1].ends_with(" -- ansible-core"), "{said}");
    }

    #[test]
    fn what_pip_says_is_told() {
        // pip 25.0
        let dir = tempfile::tempdir().expect("a directory");
        let end =
            "case $* in *install*) echo 'ERROR: No matching distribution found for ansible-core' >&2; exit 1 ;; esac";
        let tools = noting(dir.path(), end);

        let failure = Installer { tools: &tools, wheels: dir.path(), into: Path::new("/x") }
            .install(&["ansible-core"])
            .expect_err("refused");

        assert_eq!(failure.what(), "Ansible of the bundle cannot be installed");
        assert_eq!(failure.causes(), ["ERROR: No matching distribution found for ansible-core"]);
    }
}
