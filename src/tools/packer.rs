//! Packer: builds one image and tells its id.
//!
//! Packer cleans up after itself when it is cancelled; after a crash its machine, key pair and security group are found
//! by their tags. What it built is read from its machine-readable output and checked against its manifest.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::artifact::Kind;
use crate::environment::Platform;
use crate::event::Events;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::{Cancel, Ended, Stream};
use crate::tools::ansible::Report;
use crate::tools::plugins::plugin_path;
use crate::tools::refusals::refused;
use crate::tools::{Call, ToolCx, evaluated};
use crate::workspace::{RealDisk, make_dir, write_atomic};

/// What is built.
#[derive(Clone, Debug)]
pub struct Build {
    /// Directory with the templates.
    pub template: PathBuf,
    /// The one source that is built, such as `amazon-ebs.rocky9`.
    pub only: String,
    /// Values of the template's variables; `manifest_path`, `work_dir` and `ansible_playbook` are added.
    pub variables: Value,
    /// A build of the same fingerprint that an earlier run has left running, or finished, is taken over.
    pub fingerprint: Digest,
}

/// The source in our templates that builds an image on a platform.
pub fn source(platform: Platform) -> &'static str {
    match platform {
        Platform::Vsphere => "vsphere-clone.rocky9",
        Platform::Aws | Platform::Hosts => "amazon-ebs.rocky9",
    }
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// An AMI or a template, by the id that the platform gave it.
    pub image_id: String,
    /// Started by an earlier run.
    pub adopted: bool,
}

/// Builds the image.
///
/// # Errors
/// Exit 3 for a value that Packer would evaluate; what the platform refused; or what failed on the machine, in the words
/// of Packer and Ansible.
pub async fn build(cx: &ToolCx<'_>, build: &Build) -> Result<Built, Failure> {
    if let Some((path, mark)) = evaluated(&build.variables, &["{{", "${", "%{"]) {
        return Err(Failure::new(Exit::Environment, format!("`{path}` holds `{mark}`, which Packer would evaluate")));
    }
    let dir = cx.state.path().join("packer");
    make_dir(&RealDisk, &dir, 0o700)?;
    let variables = std::path::absolute(dir.join(format!("{}.pkrvars.json", cx.stage)))
        .map_err(|error| Failure::bug("the state directory has no path").because(error))?;
    let text = serde_json::to_vec_pretty(&build.variables)
        .map_err(|error| Failure::bug("a variable is no JSON").because(error))?;
    write_atomic(&variables, &text, 0o600)?;

    let call = Call {
        tool: "packer",
        verb: "build".to_owned(),
        fingerprint: build.fingerprint.clone(),
        args: arguments(cx, build, &variables)?,
        cwd: build.template.clone(),
        env: own_variables(cx),
        cancel: Cancel::Group,
    };
    let mut output = Output::new(cx.stage, cx.events);
    let ended = cx.children.run(cx.invocation(call)?, &mut |stream, line| output.line(stream, line)).await?;
    let built = judge(cx, &ended, &output);
    cx.children.discard(&ended)?;
    built
}

fn arguments(cx: &ToolCx<'_>, build: &Build, variables: &Path) -> Result<Vec<OsString>, Failure> {
    let ansible = &cx.tools.get("ansible-playbook")?.path;
    let args = [
        "build".to_owned(),
        "-machine-readable".to_owned(),
        "-color=false".to_owned(),
        "-on-error=cleanup".to_owned(),
        format!("-only=*.{}", build.only),
        format!("-var-file={}", variables.display()),
        format!("-var=ansible_playbook={}", ansible.display()),
        "-var=manifest_path=@here@/manifest.json".to_owned(),
        "-var=work_dir=@here@".to_owned(),
        ".".to_owned(),
    ];
    Ok(args.map(OsString::from).into())
}

fn own_variables(cx: &ToolCx<'_>) -> BTreeMap<String, OsString> {
    let own = [
        ("CHECKPOINT_DISABLE", "1"),
        ("PACKER_NO_COLOR", "1"),
        ("PACKER_CONFIG_DIR", "@here@/packer"),
        ("PACKER_CACHE_DIR", "@here@/cache"),
        ("TMPDIR", "@here@"),
        ("LC_ALL", "C.UTF-8"),
        ("SRE_EVENTS_FILE", "@here@/events"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ];
    let mut env: BTreeMap<_, _> = own.map(|(name, value)| (name.to_owned(), OsString::from(value))).into();
    if let Some(path) = plugin_path(cx.tools.environment()) {
        env.insert("PACKER_PLUGIN_PATH".to_owned(), path.into());
    }
    env
}

fn judge(cx: &ToolCx<'_>, ended: &Ended, output: &Output<'_>) -> Result<Built, Failure> {
    let what = format!("packer {}", ended.how());
    if ended.code != Some(0) || !output.errors.is_empty() {
        if cx.children.stop().is_asked() {
            return Err(cx.failure("packer", ended));
        }
        let failure = refused(what, &output.causes()).log(&ended.log);
        let failure = ended.hint().into_iter().fold(failure, Failure::hint);
        let is_plugin =
            output.causes().iter().any(|cause| cause.contains("Missing plugins") || cause.contains("packer init"));
        return Err(if is_plugin { failure.hint("install its plugins: packer init packer/base") } else { failure });
    }
    let unclear = |why: String| {
        Failure::new(Exit::Tool, "packer ended without an image that can be trusted").because(why).log(&ended.log)
    };
    let [artifact] = output.artifacts.as_slice() else {
        return Err(unclear(format!("it names {} artifacts instead of one", output.artifacts.len())));
    };
    let recorded = manifest(&ended.here.join("manifest.json")).map_err(&unclear)?;
    if recorded != *artifact {
        return Err(unclear(format!("it says `{artifact}` and its manifest says `{recorded}`")));
    }
    // `us-east-1:ami-0abc`, one region; an id of another platform has no region.
    let image_id = artifact.rsplit_once(':').map_or(artifact.as_str(), |(_, id)| id).to_owned();
    Ok(Built { image_id, adopted: ended.adopted })
}

/// The artifact of the manifest's last run.
fn manifest(path: &Path) -> Result<String, String> {
    let text = std::fs::read(path).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    artifact_in(&text)
}

pub(super) fn artifact_in(text: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Manifest {
        builds: Vec<ManifestBuild>,
        last_run_uuid: String,
    }
    #[derive(Deserialize)]
    struct ManifestBuild {
        artifact_id: String,
        packer_run_uuid: String,
    }
    let manifest: Manifest =
        serde_json::from_slice(text).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    let mut of_run = manifest.builds.into_iter().filter(|build| build.packer_run_uuid == manifest.last_run_uuid);
    match (of_run.next(), of_run.next()) {
        (Some(build), None) => Ok(build.artifact_id),
        _ => Err("its manifest does not name one build of this run".to_owned()),
    }
}

/// What Packer has said so far.
pub(super) struct Output<'a> {
    stage: Kind,
    events: &'a Events,
    errors: Vec<String>,
    /// Builds that failed, as Packer counts them.
    failed: String,
    artifacts: Vec<String>,
    /// Of the plays that run inside the build.
    report: Report,
}

impl<'a> Output<'a> {
    pub(super) fn new(stage: Kind, events: &'a Events) -> Self {
        Self { stage, events, errors: vec![], failed: String::new(), artifacts: vec![], report: Report::default() }
    }

    pub(super) fn line(&mut self, stream: Stream, line: &str) {
        match stream {
            Stream::Events => {
                if let Some(task) = self.report.line(line) {
                    self.events.progress(self.stage, format!("ansible: {task}"));
                }
            }
            Stream::Stdout => self.read(line),
            Stream::Stderr => {}
        }
    }

    /// `UNIXTIME,TARGET,TYPE,ARGUMENT…`
    fn read(&mut self, line: &str) {
        let parts: Vec<_> = line.split(',').collect();
        match parts.as_slice() {
            [_, _, "ui", "say", text @ ..] => self.events.progress(self.stage, said(&text.join(","))),
            [_, target, "error", text @ ..] if !target.is_empty() => self.errors.push(unescaped(&text.join(","))),
            [_, _, "error-count", count] => (*count).clone_into(&mut self.failed),
            [_, _, "artifact", _, "id", id @ ..] => {
                // Each post-processor that keeps its input, such as `manifest`, names it again.
                let id = unescaped(&id.join(","));
                if !self.artifacts.contains(&id) {
                    self.artifacts.push(id);
                }
            }
            [_, _, "ui", "error", text @ ..] if text.first().is_some_and(|text| text.starts_with("Error:")) => {
                self.errors.push(unescaped(&text.join(",")));
            }
            _ => {}
        }
    }

    /// What failed on the machine first: Packer's own words only say that a script ended.
    pub(super) fn causes(&self) -> Vec<String> {
        let failed =
            self.report.hosts().into_values().filter(|host| host.failed || host.unreachable).map(|host| host.message);
        let mut causes: Vec<_> = failed.chain(self.errors.iter().map(|error| first_lines(error))).collect();
        if causes.is_empty() && !self.failed.is_empty() {
            causes.push(format!("{} builds failed", self.failed));
        }
        causes
    }
}

/// The text of a line without the name of the build before it.
fn said(text: &str) -> String {
    let text = unescaped(text);
    let text = text.trim_start_matches("==> ").trim();
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(": ") {
        Some((build, rest)) if build.contains('.') && !build.contains(' ') => rest.trim().to_owned(),
        _ => line.to_owned(),
    }
}

fn unescaped(text: &str) -> String {
    text.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n").replace("\\r", "")
}

fn first_lines(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).take(4).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn read(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        let (events, mut received) = Events::channel();
        let mut output = Output::new(Kind::BaseImage, &events);
        text.lines().for_each(|line| output.line(Stream::Stdout, line));
        let mut said = vec![];
        while let Some(Event::Progress { text, .. }) = received.try_recv() {
            said.push(text);
        }
        (output.artifacts.clone(), output.causes(), said)
    }

    #[test]
    fn the_artifact_and_the_phases_are_read_from_a_build_that_worked() {
        let (artifacts, causes, said) = read(include_str!("../../tests/fixtures/packer-1.16.0-build.txt"));

        assert_eq!(artifacts, ["Null"]);
        assert_eq!(causes, Vec::<String>::new());
        assert_eq!(said[1..3], ["one, two", "Running post-processor:  (type manifest)"]);
    }

    #[test]
    fn a_build_that_failed_says_why() {
        let (artifacts, causes, _) = read(include_str!("../../tests/fixtures/packer-1.16.0-build-failed.txt"));

        assert_eq!(artifacts, Vec::<String>::new());
        assert_eq!(causes, ["Script exited with non-zero exit status: 7. Allowed exit codes are: [0]"]);
    }

    #[test]
    fn commas_and_line_ends_come_back_and_the_builds_name_goes() {
        assert_eq!(
            said("==> base.amazon-ebs.rocky9: Stopping%!(PACKER_COMMA) then imaging\\nmore"),
            "Stopping, then imaging"
        );
        assert_eq!(said("Build finished: all of it"), "Build finished: all of it");
    }

    #[test]
    fn a_manifest_counts_for_its_last_run_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("manifest.json");
        let text = r#"{"builds":[{"artifact_id":"us-east-1:ami-1","packer_run_uuid":"a"},{"artifact_id":"us-east-1:ami-2","packer_run_uuid":"b"}],"last_run_uuid":"b"}"#;
        std::fs::write(&path, text).expect("written");

        assert_eq!(manifest(&path), Ok("us-east-1:ami-2".to_owned()));
        assert!(manifest(&dir.path().join("none")).is_err());
    }
}
