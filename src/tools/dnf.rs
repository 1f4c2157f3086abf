//! dnf, rpm and createrepo_c: how packages are resolved against a database of installed ones, checked and made a repository.
//!
//! They work in a directory of ours, which stands for the home of whoever calls them and holds the database as that of an
//! installed system. No plugin, repository or key of the operator's machine is used.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Exit, Failure};
use crate::process::{Output, quick};
use crate::tools::Tools;

/// Nothing takes longer but a repository that does not answer.
const LONGEST: Duration = Duration::from_secs(1800);
const HINT: &str = "install dnf with its plugin `download` (dnf-plugins-core), rpm and createrepo_c";
/// What rpm is told of itself: on Debian its database is elsewhere.
pub const MACROS: &str = "%_dbpath /var/lib/rpm\n";
/// Names, flags and versions of all that is provided, and every file, as lines.
const PROVIDED: &str = "[P\\t%{PROVIDENAME}\\t%{PROVIDEFLAGS}\\t%{PROVIDEVERSION}\\n][F\\t%{FILENAMES}\\n]";

/// The directory in which they work.
pub struct Packager<'a> {
    pub tools: &'a Tools,
    /// Holds `.rpmmacros`, `dnf.conf`, and `root/var/lib/rpm` with the database of the base image.
    pub home: &'a Path,
}

impl Packager<'_> {
    /// Where the packages are that `dnf` would install, by URL.
    ///
    /// # Errors
    /// Exit 1: one does not exist, or what it requires does not; a repository does not answer. Exit 4: a program is missing.
    pub fn resolve(&self, packages: &[String]) -> Result<Vec<String>, Failure> {
        let output = self.dnf(&["--url".to_owned()], packages)?;
        let mut urls: Vec<String> =
            output.stdout.lines().map(str::to_owned).filter(|line| line.contains("://")).collect();
        urls.sort();
        urls.dedup();
        Ok(urls)
    }

    /// Brings them into a directory; what is there and right is not fetched again.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn download(&self, packages: &[String], into: &Path) -> Result<(), Failure> {
        self.dnf(&["--destdir".to_owned(), into.display().to_string()], packages).map(drop)
    }

    fn dnf(&self, how: &[String], packages: &[String]) -> Result<Output, Failure> {
        let mut args = vec![
            "--quiet".to_owned(),
            format!("--config={}", self.home.join("dnf.conf").display()),
            format!("--installroot={}", self.home.join("root").display()),
            "--releasever=9".to_owned(),
            "--forcearch=x86_64".to_owned(),
            "--disableplugin=*".to_owned(),
            "--enableplugin=download".to_owned(),
            "download".to_owned(),
            "--resolve".to_owned(),
        ];
        args.extend_from_slice(how);
        args.push("--".to_owned());
        args.extend_from_slice(packages);
        let output = self.call("dnf", &args)?;
        if output.code == Some(0) {
            return Ok(output);
        }
        let failure = Failure::new(Exit::NotDone, "dnf cannot resolve the packages");
        let said = output.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).take(8);
        Err(said.fold(failure, Failure::because).hint("check `bundle.rpms` in the environment file"))
    }

    /// Sees that one of these keys signed each of the files.
    ///
    /// # Errors
    /// Exit 1, naming the first that none of them did.
    pub fn check(&self, keys: &[PathBuf], files: &[PathBuf]) -> Result<(), Failure> {
        let database = format!("--dbpath={}", self.home.join("keys").display());
        let text = |path: &PathBuf| path.display().to_string();
        let import = self
            .call("rpmkeys", &[vec![database.clone(), "--import".into()], keys.iter().map(text).collect()].concat())?;
        if import.code != Some(0) {
            return Err(Failure::new(Exit::Environment, "a key of a repository is no OpenPGP key")
                .because(import.stderr.trim())
                .hint("name public keys in `bundle.rpms.repositories`: `file:PATH`"));
        }
        let sums = [vec![database, "--checksig".into(), "--".into()], files.iter().map(text).collect()].concat();
        let output = self.call("rpmkeys", &sums)?;
        // It ends with 0 for a package that nobody signed: its words decide, one line for each file.
        let is_signed = |file: &&PathBuf| {
            output.stdout.lines().any(|line| line == format!("{}: digests signatures OK", file.display()))
        };
        let Some(unsigned) = files.iter().find(|file| !is_signed(file)) else { return Ok(()) };
        let name = unsigned.file_name().unwrap_or_default().display();
        let begin = format!("{}: ", unsigned.display());
        let said = output.stdout.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or("rpm says nothing of it");
        Err(Failure::new(Exit::NotDone, format!("`{name}` is signed by none of the keys of its repository"))
            .because(format!("rpmkeys: {said}"))
            .hint("do not use it; if its publisher has a new key, name that in `bundle.rpms.repositories`"))
    }

    /// What the base image has: lines of what is provided, sorted.
    ///
    /// # Errors
    /// Exit 1: it is no database of packages, or an empty one.
    pub fn base(&self) -> Result<String, Failure> {
        let database = format!("--dbpath={}", self.home.join("root/var/lib/rpm").display());
        let output = self.call("rpm", &[database, "-qa".to_owned(), "--qf".to_owned(), PROVIDED.to_owned()])?;
        let mut lines: Vec<&str> = output.stdout.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        if output.code != Some(0) || lines.is_empty() {
            return Err(Failure::new(Exit::NotDone, "the package database of the base image is none, or is empty")
                .because(output.stderr.trim())
                .hint("copy `/var/lib/rpm` of a machine of the base image to the directory in `bundle.rpms.base`"));
        }
        Ok(lines.join("\n") + "\n")
    }

    /// Makes `repodata` of the packages in a directory: the same bytes for the same packages.
    pub fn repository(&self, dir: &Path) -> Result<(), Failure> {
        let how = ["--quiet", "--no-database", "--simple-md-filenames", "--revision=0", "--set-timestamp-to-revision"];
        let mut args: Vec<String> = how.iter().map(|word| (*word).to_owned()).collect();
        args.push(dir.display().to_string());
        let output = self.call("createrepo_c", &args)?;
        match output.code {
            Some(0) => Ok(()),
            Some(_) | None => Err(Failure::new(Exit::Tool, "createrepo_c failed").because(output.stderr.trim())),
        }
    }

    fn call(&self, program: &str, args: &[String]) -> Result<Output, Failure> {
        let path = self.tools.other(program, HINT)?;
        let mut env = self.tools.environment().variables().clone();
        env.insert("HOME".to_owned(), OsString::from(self.home));
        env.insert("LC_ALL".to_owned(), "C.UTF-8".into());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        quick(&path, &args, &env, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tools::ToolEnvironment;

    /// Tools of which each is this script.
    fn scripted(script: &str) -> (tempfile::TempDir, Tools) {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["dnf", "rpm", "rpmkeys", "createrepo_c"] {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        }
        let tools = Tools::new(dir.path().as_os_str(), ToolEnvironment::of([]));
        (dir, tools)
    }

    #[test]
    fn a_package_that_nobody_signed_is_refused_though_rpm_ends_with_0() {
        // rpmkeys 4.18.0
        let (dir, tools) = scripted("echo '/r/a.rpm: digests signatures OK'\necho '/r/b.rpm: digests OK'");
        let packager = Packager { tools: &tools, home: dir.path() };
        let (signed, unsigned) = (PathBuf::from("/r/a.rpm"), PathBuf::from("/r/b.rpm"));

        let failure = packager.check(&[], &[signed.clone(), unsigned]).expect_err("refused");

        assert_eq!(failure.what(), "`b.rpm` is signed by none of the keys of its repository");
        assert_eq!(failure.causes(), ["rpmkeys: digests OK"]);
        packager.check(&[], &[signed]).expect("signed");
    }

    #[test]
    fn what_dnf_says_of_a_requirement_is_told() {
        // dnf 4.14.0
        let (dir, tools) = scripted(
            "printf 'Error in resolve of packages:\\n    app-2-1.noarch\\n\\n Problem: conflicting requests\\n\
             \x20 - nothing provides thing needed by app-2-1.noarch\\n' >&2; exit 1",
        );
        let packager = Packager { tools: &tools, home: dir.path() };

        let failure = packager.resolve(&["app".to_owned()]).expect_err("refused");

        assert_eq!((failure.what(), failure.exit()), ("dnf cannot resolve the packages", Exit::NotDone));
        assert_eq!(failure.causes().last().expect("causes"), "- nothing provides thing needed by app-2-1.noarch");
    }
}
