//! `sre-provision bundle`: makes, checks, compares and takes in what environments without internet need.

mod collect;
mod create;
mod diff;
mod have;
mod load;
mod python;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Common;
use crate::bundle::{FileKind, Lack, Manifest, TrustedKeys};
use crate::config;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::report::Screen;
use crate::stop::Stop;

#[derive(Debug, clap::Args)]
pub struct BundleArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Collect what an environment needs and write it to a directory, signed
    Create(create::Create),
    /// Check the signature, every chunk, and that nothing is missing
    Verify(verify::Verify),
    /// Take a bundle in for an environment
    Load(load::Load),
    /// Tell what of a bundle the other side lacks, and write only that
    Diff(diff::Diff),
    /// Write down what this side has
    Have(have::HaveArgs),
}

impl BundleArgs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        match self.what {
            What::Create(command) => command.run(common, screen, stop).await,
            What::Verify(command) => command.run(common, screen, stop).await,
            What::Load(command) => command.run(common, screen, stop).await,
            What::Diff(command) => command.run(screen, stop).await,
            What::Have(command) => command.run(common, screen, stop).await,
        }
    }
}

/// The keys that count: those that are named, and else those of the environment file. Paths on the command line are taken
/// from where it was typed, those of a file from the workspace.
pub fn trusted(common: &Common, named: &[PathBuf], env: Option<&Environment>) -> Result<TrustedKeys, Failure> {
    if named.is_empty() {
        let keys = env.map(|env| env.trust.keys.clone()).unwrap_or_default();
        return TrustedKeys::read(&keys, common.open()?.root());
    }
    let references: Vec<String> = named.iter().map(|path| format!("file:{}", path.display())).collect();
    TrustedKeys::read(&references, Path::new("."))
}

/// The environment of this name, if one is named.
fn environment(common: &Common, name: Option<&str>) -> Result<Option<Environment>, Failure> {
    name.map(|name| config::load(&common.open()?, name)).transpose()
}

/// Does what reads and computes much on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::bug("a bundle could not be worked on").because(error))?
}

/// How much it holds of what people count.
const COUNTED: [(&str, &str, Option<FileKind>); 4] = [
    ("image", "images", None),
    ("rpm", "rpms", Some(FileKind::Rpm)),
    ("wheel", "wheels", Some(FileKind::Wheel)),
    ("chart", "charts", Some(FileKind::Chart)),
];

/// The counts of images, packages, wheels and charts, for people, as far as there are any.
fn counted(manifest: &Manifest) -> String {
    let counts = COUNTED.map(|(one, many, kind)| match count(manifest, kind) {
        0 => String::new(),
        1 => format!(", 1 {one}"),
        more => format!(", {more} {many}"),
    });
    counts.concat()
}

/// The same for programs.
fn counts(manifest: &Manifest) -> BTreeMap<&'static str, usize> {
    COUNTED.iter().map(|(_, name, kind)| (*name, count(manifest, *kind))).collect()
}

fn count(manifest: &Manifest, kind: Option<FileKind>) -> usize {
    kind.map_or(manifest.images.len(), |kind| manifest.of_kind(kind).count())
}

/// A size for people.
fn shown(bytes: u64) -> String {
    match bytes {
        0..=0x3ff => format!("{bytes} B"),
        0x400..=0xf_ffff => format!("{} KiB", bytes.div_ceil(1 << 10)),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", bytes.div_ceil(1 << 20)),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes >> 20) % 1024) * 10 / 1024),
    }
}

/// # Errors
/// The bundle lacks something that a stage wants, which is named with the stage, and what brings it.
fn refuse_lacking(lacking: &[Lack], env: &str) -> Result<(), Failure> {
    if lacking.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(Exit::NotDone, format!("the bundle is not enough for `{env}`"));
    let failure = lacking.iter().fold(failure, |failure, lack| failure.because(format!("it lacks {}", lack.what)));
    let mut hints: Vec<&String> = Vec::new();
    for hint in lacking.iter().filter_map(|lack| lack.hint.as_ref()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    let failure = hints.into_iter().fold(failure, Failure::hint);
    Err(failure
        .hint(format!("sre-provision bundle create {env}   where there is internet, with the same environment file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_people_think_in() {
        let told = [0, 1023, 1024, 5 << 20, (5 << 20) + 1, 1 << 30, (3 << 30) + (512 << 20)].map(shown);

        assert_eq!(told, ["0 B", "1023 B", "1 KiB", "5 MiB", "6 MiB", "1.0 GiB", "3.5 GiB"]);
    }

    #[test]
    fn what_is_lacking_is_named_line_by_line() {
        let lack = |what: &str, hint: &str| Lack {
            what: what.to_owned(),
            hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()),
        };
        let lacking =
            [lack("program `tofu`", ""), lack("wheel `a`", "pip download"), lack("wheel `b`", "pip download")];

        let failure = refuse_lacking(&lacking, "prod").expect_err("refused");

        assert_eq!(failure.what(), "the bundle is not enough for `prod`");
        assert_eq!(failure.causes(), ["it lacks program `tofu`", "it lacks wheel `a`", "it lacks wheel `b`"]);
        assert_eq!((failure.hints().len(), failure.hints()[0].as_str()), (2, "pip download"));
        assert!(refuse_lacking(&[], "prod").is_ok());
    }
}
