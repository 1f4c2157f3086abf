//! Ansible: runs a playbook and tells, per host, what came of it.
//!
//! Our callback plugin writes one JSON line per event; they are the result, since the exit code 4 means an unreachable
//! host as well as a syntax error. A stop ends the play between two tasks.

mod report;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::environment::NodeName;
use crate::event::NodeState;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::{Cancel, Ended, Stream};
use crate::tools::{Call, ToolCx, evaluated};
use crate::workspace::{RealDisk, make_dir, tree_digest, write_atomic};

pub use report::{HostResult, Report};

/// How many hosts are worked on at the same time.
const FORKS: &str = "20";

/// What is played.
#[derive(Clone, Debug)]
pub struct Play {
    /// Tells apart plays of one stage that may run at the same time, such as `server-2`; names slot and log.
    pub name: String,
    /// In the directory with `ansible.cfg`, `roles/` and `callback_plugins/`.
    pub playbook: PathBuf,
    /// A file, or a directory of files.
    pub inventory: PathBuf,
    /// Nobody else is touched; empty means every host of the inventory.
    pub limit: Vec<NodeName>,
    /// Extra variables. Never a secret.
    pub vars: Value,
    /// Files on tmpfs with further extra variables, which may be secret.
    pub secret_files: Vec<PathBuf>,
    /// The options of `ssh` that every connection is made with.
    pub ssh_args: String,
    /// Looks what would change, and changes nothing.
    pub check: bool,
}

/// What came of a play.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    pub hosts: BTreeMap<String, HostResult>,
}

impl Played {
    /// The hosts that did not come through, with the reason.
    pub fn broken(&self) -> BTreeMap<&str, &str> {
        let broken = self.hosts.iter().filter(|(_, host)| host.failed || host.unreachable);
        broken.map(|(name, host)| (name.as_str(), host.message.as_str())).collect()
    }
}

/// Plays; hosts that fail are in the result.
///
/// # Errors
/// Exit 3 for a value that Ansible would evaluate; the play did not come to its end: a stop, a syntax error, a kill.
pub async fn play(cx: &ToolCx<'_>, play: &Play) -> Result<Played, Failure> {
    if let Some((path, mark)) = evaluated(&play.vars, &["{{", "{%", "{#"]) {
        return Err(Failure::new(Exit::Environment, format!("`{path}` holds `{mark}`, which Ansible would evaluate")));
    }
    let dir = cx.state.path().join("ansible");
    make_dir(&RealDisk, &dir, 0o700)?;
    let vars = absolute(&dir.join(format!("{}-{}.json", cx.stage, play.name)))?;
    let text =
        serde_json::to_vec_pretty(&play.vars).map_err(|error| Failure::bug("a variable is no JSON").because(error))?;
    write_atomic(&vars, &text, 0o600)?;

    let home = play.playbook.parent().unwrap_or(Path::new(".")).to_owned();
    let call = Call {
        tool: "ansible-playbook",
        verb: play.name.clone(),
        fingerprint: fingerprint(cx, play, &home)?,
        args: arguments(play, &vars)?,
        cwd: home.clone(),
        env: own_variables(play, &home),
        cancel: Cancel::StopFile("@here@/stop".into()),
    };
    let mut invocation = cx.invocation(call)?;
    invocation.log = cx.state.run(cx.run).join(format!("{}-{}.log", cx.stage, play.name));
    let (mut report, mut complaints) = (Report::default(), vec![]);
    let ended = cx
        .children
        .run(invocation, &mut |stream, line| match stream {
            Stream::Events => tell(cx, play, &mut report, line),
            Stream::Stderr if complaints.len() < MOST_COMPLAINTS && is_complaint(line) => {
                complaints.push(line.trim().to_owned())
            }
            Stream::Stderr => {}
            Stream::Stdout => {}
        })
        .await?;
    cx.children.discard(&ended)?;
    judge(cx, play, &ended, &report, &complaints)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::bug("the state directory has no path").because(error))
}

/// Of everything that decides what the play does but the state of the hosts.
fn fingerprint(cx: &ToolCx<'_>, play: &Play, home: &Path) -> Result<Digest, Failure> {
    let limit: Vec<_> = play.limit.iter().map(ToString::to_string).collect();
    Ok(Digest::of_value(&(
        tree_digest(home)?,
        tree_digest(&play.inventory)?,
        &play.playbook,
        limit,
        &play.vars,
        play.check,
        &cx.tools.get("ansible-playbook")?.digest,
    )))
}

fn arguments(play: &Play, vars: &Path) -> Result<Vec<OsString>, Failure> {
    let limit: Vec<_> = play.limit.iter().map(ToString::to_string).collect();
    let mut args: Vec<OsString> = vec!["--inventory".into(), absolute(&play.inventory)?.into()];
    if !limit.is_empty() {
        args.extend(["--limit".into(), limit.join(",").into()]);
    }
    for file in std::iter::once(vars).chain(play.secret_files.iter().map(PathBuf::as_path)) {
        args.extend(["--extra-vars".into(), format!("@{}", file.display()).into()]);
    }
    if play.check {
        args.push("--check".into());
    }
    args.push(absolute(&play.playbook)?.into());
    Ok(args)
}

fn own_variables(play: &Play, home: &Path) -> BTreeMap<String, OsString> {
    let file = |name: &str| home.join(name).into_os_string();
    let own: [(&str, OsString); 16] = [
        ("ANSIBLE_CONFIG", file("ansible.cfg")),
        ("ANSIBLE_CALLBACK_PLUGINS", file("callback_plugins")),
        ("ANSIBLE_CALLBACKS_ENABLED", "sre_events".into()),
        ("ANSIBLE_ROLES_PATH", file("roles")),
        ("ANSIBLE_HOME", "@here@/home".into()),
        ("ANSIBLE_LOCAL_TEMP", "@here@/tmp".into()),
        ("ANSIBLE_SSH_ARGS", play.ssh_args.clone().into()),
        ("ANSIBLE_HOST_KEY_CHECKING", "True".into()),
        ("ANSIBLE_PIPELINING", "True".into()),
        ("ANSIBLE_FORKS", FORKS.into()),
        ("ANSIBLE_NOCOLOR", "1".into()),
        ("SRE_EVENTS_FILE", "@here@/events".into()),
        ("SRE_STOP_FILE", "@here@/stop".into()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("TMPDIR", "@here@".into()),
        // Ansible starts in a UTF-8 locale only.
        ("LC_ALL", "C.UTF-8".into()),
    ];
    own.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Passes an event on: what the play does now, and each node as its result comes in.
fn tell(cx: &ToolCx<'_>, play: &Play, report: &mut Report, line: &str) {
    if let Some(task) = report.line(line) {
        cx.events.progress(cx.stage, task);
    }
    if let Some((host, task)) = report.latest()
        && let Some(node) = play.limit.iter().find(|node| node.to_string() == host)
    {
        cx.events.node(cx.stage, node, NodeState::Working, task);
    }
}

fn judge(
    cx: &ToolCx<'_>,
    play: &Play,
    ended: &Ended,
    report: &Report,
    complaints: &[String],
) -> Result<Played, Failure> {
    if report.is_complete() {
        let mut hosts = report.hosts();
        for node in &play.limit {
            hosts.entry(node.to_string()).or_insert_with(|| HostResult {
                failed: true,
                message: "the play did not come to it: it is not in the inventory, or no play is for it".to_owned(),
                ..HostResult::default()
            });
        }
        return Ok(Played { hosts });
    }
    if let Some(before) = report.stopped_before() {
        return Err(Failure::cancelled(format!("ansible-playbook stopped before `{before}`")).log(&ended.log));
    }
    let failure = cx.failure("ansible-playbook", ended);
    Err(complaints.iter().fold(failure, Failure::because))
}

/// How many lines of it a failure tells; the log has all.
const MOST_COMPLAINTS: usize = 3;

fn is_complaint(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim().starts_with("[WARNING]")
}
