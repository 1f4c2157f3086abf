//! The gate of a join: asks one node, over and over, until it is a member of the cluster or cannot become one.
//!
//! One script per look answers all: what systemd says of the unit, what the API says of the node, what etcd says of its
//! members, and what the unit's journal said since the wait began, in the last half minute at most. It needs nothing from outside the node, so it
//! works before there is a kubeconfig and through any way in.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::environment::{NodeName, Role};
use crate::failure::{Exit, Failure};
use crate::node::{Connection, Look, Pace, Wait, quote};
use crate::rke2::etcd::{Members, ask_members};
use crate::rke2::node_status::NodeStatus;
use crate::rke2::symptom::{Symptom, recognised};
use crate::rke2::{ADMIN_KUBECONFIG, DATA_DIR, Version, unit};

const PACE: Pace = Pace::Growing(Duration::from_secs(1));
/// A hopeless symptom must last this long: a restart may still clear what it complained of.
const HOPELESS_FOR: Duration = Duration::from_secs(20);
/// In how many looks in a row a node must be seen joined.
const SEEN: u32 = 2;

/// A node that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub version: String,
    /// How long its service took; absent where systemd did not tell.
    pub start: Option<Start>,
}

/// From the start of a node's service until the node was ready, by the node's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Start {
    pub started: Timestamp,
    /// When the last of these came to be: unit active, node Ready, etcd member voting.
    pub ready: Timestamp,
}

/// Waits until a node has joined: unit active, Ready at the version, and a server's API ready and etcd member voting.
///
/// # Errors
/// Exit 7 at the deadline or as soon as the unit's journal shows what waiting cannot mend, with the symptom as cause
/// and its hint; what the connection gives; cancelled when told to stop.
pub async fn joined(
    node: &Connection,
    name: &NodeName,
    role: Role,
    version: Version,
    wait: &Wait<'_>,
) -> Result<Member, Failure> {
    watch(node, Gate::new(name, role, version), &format!("`{name}` did not join"), wait).await
}

/// Waits until a server that joined before serves: unit active, Ready at the version, API ready, etcd member voting.
///
/// # Errors
/// As [`joined`].
pub async fn serving(node: &Connection, name: &NodeName, version: Version, wait: &Wait<'_>) -> Result<Member, Failure> {
    watch(node, Gate::new(name, Role::Server, version), &format!("`{name}` does not serve"), wait).await
}

async fn watch(node: &Connection, gate: Gate<'_>, what: &str, wait: &Wait<'_>) -> Result<Member, Failure> {
    let (gate, began) = (&gate, Instant::now());
    let outcome = wait
        .paced(what, Exit::Unhealthy, PACE, || async move {
            let script = script(gate.name, gate.role, heard(began.elapsed()));
            let said = node.run_within(&script, true, Duration::from_secs(30)).await?;
            gate.look(&Answer::read(&said.stdout))
        })
        .await;
    outcome.map_err(|failure| gate.explained(failure))
}

/// What one look brought.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    activity: String,
    restarts: u32,
    /// When the unit was started, and when it became active.
    started: Option<Timestamp>,
    active: Option<Timestamp>,
    /// What the API's `/readyz` said, on a server.
    readyz: Option<String>,
    status: Option<NodeStatus>,
    /// What the server's own etcd member tells.
    etcd: Option<Members>,
    /// The unit's journal of the last half minute.
    journal: String,
}

/// What the looks have shown so far.
#[derive(Debug, Default)]
struct Memory {
    seen: u32,
    hopeless_since: Option<(&'static str, Instant)>,
    /// The last symptom and its line.
    symptom: Option<(&'static Symptom, String)>,
    /// The last line that the unit itself said.
    last_line: Option<String>,
}

struct Gate<'a> {
    name: &'a NodeName,
    role: Role,
    version: String,
    memory: Mutex<Memory>,
}

impl<'a> Gate<'a> {
    fn new(name: &'a NodeName, role: Role, version: Version) -> Self {
        Self { name, role, version: version.to_string(), memory: Mutex::default() }
    }

    fn look(&self, answer: &Answer) -> Result<Look<Member>, Failure> {
        let mut memory = self.memory.lock().map_err(|_| Failure::bug("a gate panicked"))?;
        let Some(missing) = self.missing(answer) else {
            memory.seen += 1;
            *memory = Memory { seen: memory.seen, ..Memory::default() };
            return Ok(match &answer.status {
                Some(status) if memory.seen >= SEEN => {
                    Look::Done(Member { version: status.version.clone(), start: answer.start(status) })
                }
                _ => Look::NotYet("joined, looking once more".to_owned()),
            });
        };
        memory.seen = 0;
        let recognised = recognised(&answer.journal);
        memory.symptom = recognised.map(|(symptom, line)| (symptom, message(line).to_owned()));
        memory.last_line = last_line(&answer.journal).or(memory.last_line.take());
        memory.hopeless_since = match (recognised, memory.hopeless_since) {
            (Some((symptom, _)), Some((sign, since))) if symptom.sign == sign => Some((sign, since)),
            (Some((symptom, _)), _) if symptom.is_hopeless => Some((symptom.sign, Instant::now())),
            _ => None,
        };
        match memory.hopeless_since {
            Some((_, since)) if since.elapsed() >= HOPELESS_FOR => {
                Err(Failure::new(Exit::Unhealthy, format!("`{}` cannot join", self.name)).because(missing))
            }
            _ => Ok(Look::NotYet(missing)),
        }
    }

    /// What is still missing, the first thing first.
    fn missing(&self, answer: &Answer) -> Option<String> {
        let unit = unit(self.role);
        if answer.activity != "active" {
            let again =
                if answer.restarts > 0 { format!(", started again {} times", answer.restarts) } else { String::new() };
            let activity = if answer.activity.is_empty() { "unknown" } else { answer.activity.as_str() };
            return Some(format!("{unit} is {activity}{again}"));
        }
        if self.role == Role::Server && answer.readyz.as_deref() != Some("ok") {
            return Some("its API is not ready".to_owned());
        }
        let Some(status) = &answer.status else { return Some("its node is not registered".to_owned()) };
        status.lacks(self.role, &self.version).or_else(|| match (&status.member, &answer.etcd) {
            (Some(member), Some(etcd)) if self.role == Role::Server => etcd.lacks_voter(member),
            (_, None) if self.role == Role::Server => Some("its etcd member does not answer".to_owned()),
            _ => None,
        })
    }

    /// Adds what the journal said to a failure of the wait.
    fn explained(&self, failure: Failure) -> Failure {
        if failure.exit() != Exit::Unhealthy {
            return failure;
        }
        let memory = self.memory.lock().ok().map(|mut memory| std::mem::take(&mut *memory)).unwrap_or_default();
        let unit = unit(self.role);
        let quoted = |line: &str| format!("journal of {unit} on `{}`: \"{line}\"", self.name);
        match (memory.symptom, memory.last_line) {
            (Some((symptom, line)), _) => failure.because(quoted(&line)).because(symptom.cause).hint(symptom.hint),
            (None, last_line) => {
                let failure = last_line.iter().fold(failure, |failure, line| failure.because(quoted(line)));
                failure.hint(format!("look at `journalctl -u {unit}` on `{}`", self.name))
            }
        }
    }
}

impl Answer {
    fn read(text: &str) -> Self {
        let part = |name: &str| {
            let rest = text.split_once(&format!("@{name}\n"))?.1;
            Some(rest.split("\n@").next().unwrap_or(rest).trim())
        };
        let property = |name: &str| part("unit")?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        Self {
            activity: property("ActiveState").unwrap_or_default().to_owned(),
            restarts: property("NRestarts").and_then(|count| count.parse().ok()).unwrap_or(0),
            started: property("InactiveExitTimestamp").and_then(moment),
            active: property("ActiveEnterTimestamp").and_then(moment),
            readyz: part("readyz").map(str::to_owned),
            status: part("node").and_then(|node| NodeStatus::read(&serde_json::from_str(node).ok()?)),
            etcd: part("etcd").and_then(Members::read),
            journal: part("journal").unwrap_or_default().to_owned(),
        }
    }

    fn start(&self, status: &NodeStatus) -> Option<Start> {
        let (started, active) = (self.started?, self.active?);
        Some(Start { started, ready: status.since.map_or(active, |since| since.max(active)) })
    }
}

/// All that is made of a look, for fuzzing: when it started is known only of a unit that is active.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn looked_at(text: &str) {
    let answer = Answer::read(text);
    let start = answer.status.as_ref().and_then(|status| answer.start(status));
    assert!(start.is_none() || answer.active.is_some());
    assert!(last_line(&answer.journal).is_none_or(|line| !line.contains('\n')));
}

/// A time as systemd writes it with `--timestamp=us+utc`: `Sat 2026-11-21 15:49:58.250000 UTC`.
fn moment(text: &str) -> Option<Timestamp> {
    let (_, time) = text.strip_suffix(" UTC")?.split_once(' ')?;
    format!("{}Z", time.replace(' ', "T")).parse().ok()
}

/// How much of the journal is looked at: what was said before the wait began is of an earlier start, and may be mended.
fn heard(waited: Duration) -> Duration {
    (waited + Duration::from_secs(2)).min(Duration::from_secs(30))
}

/// The look: parts that start with `@name`.
fn script(name: &NodeName, role: Role, heard: Duration) -> String {
    let heard = heard.as_secs();
    let unit = unit(role);
    let kubeconfig = match role {
        Role::Server => ADMIN_KUBECONFIG.to_owned(),
        // The kubelet may read its own node.
        Role::Agent => format!("{DATA_DIR}/agent/kubelet.kubeconfig"),
    };
    let node = quote(&format!("/api/v1/nodes/{name}"));
    let etcd = match role {
        Role::Server => format!("\n  echo; echo @etcd; {}", ask_members()),
        Role::Agent => String::new(),
    };
    format!(
        r#"echo @unit
systemctl show {unit}.service --timestamp=us+utc \
  --property=ActiveState,NRestarts,InactiveExitTimestamp,ActiveEnterTimestamp
get() {{ {DATA_DIR}/bin/kubectl --kubeconfig {kubeconfig} --request-timeout=5s get --raw "$1" 2>/dev/null; }}
if [ -x {DATA_DIR}/bin/kubectl ] && [ -r {kubeconfig} ]; then
  echo; echo @readyz; get /readyz
  echo; echo @node; get {node}{etcd}
fi
echo; echo @journal
journalctl --unit {unit}.service --since=-{heard}s --lines=200 --output=cat --no-pager
exit 0"#
    )
}

/// What was said last, but for systemd's own remarks on the unit.
fn last_line(journal: &str) -> Option<String> {
    let is_remark = |line: &&str| line.contains(".service: ") || SYSTEMD.iter().any(|word| line.starts_with(word));
    let said = || journal.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    said().find(|line| !is_remark(line)).or_else(|| said().next()).map(|line| message(line).to_owned())
}

/// How systemd begins when it tells of a unit; the last one is what it adds when processes of an earlier run are still there.
const SYSTEMD: [&str; 7] = [
    "Starting ",
    "Started ",
    "Stopping ",
    "Stopped ",
    "Failed to start ",
    "Scheduled restart ",
    "This usually indicates unclean termination",
];

/// The message of a logrus line: `time="…" level=fatal msg="…"`.
fn message(line: &str) -> &str {
    line.split_once("msg=\"").map_or(line, |(_, rest)| rest.trim_end_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::etcd::tests::list;
    use crate::rke2::node_status::tests::node;

    const VERSION: &str = "v1.35.4+rke2r1";

    fn said(activity: &str, readyz: &str, conditions: &[(&str, &str, &str)], journal: &str) -> Answer {
        said_with(activity, readyz, conditions, &list(&["server-1-0badcafe", "server-2-1f2e3d4c"]), journal)
    }

    fn said_with(activity: &str, readyz: &str, conditions: &[(&str, &str, &str)], etcd: &str, journal: &str) -> Answer {
        let node = node("server-2", Role::Server, VERSION, conditions);
        Answer::read(&format!(
            "@unit\nActiveState={activity}\nNRestarts=3\nInactiveExitTimestamp=Sat 2026-11-21 15:49:12.500000 UTC\n\
             ActiveEnterTimestamp=Sat 2026-11-21 15:49:58.250000 UTC\n\n@readyz\n{readyz}\n@node\n{node}\n@etcd\n{etcd}\n\
             @journal\n{journal}\n"
        ))
    }

    fn look(gate: &Gate<'_>, answer: &Answer) -> Result<Look<Member>, String> {
        gate.look(answer).map_err(|failure| failure.to_string())
    }

    fn not_yet(text: &str) -> Result<Look<Member>, String> {
        Ok(Look::NotYet(text.to_owned()))
    }

    const VOTING: [(&str, &str, &str); 2] = [("Ready", "True", ""), ("EtcdIsVoter", "True", "MemberNotLearner")];

    #[test]
    fn a_server_has_joined_when_all_is_so_twice_in_a_row() {
        let name = NodeName("server-2".to_owned());
        let gate = Gate::new(&name, Role::Server, VERSION.parse().expect("a version"));
        let good = said("active", "ok", &VOTING, "");

        let first = look(&gate, &good);
        let between = look(&gate, &said("activating", "ok", &VOTING, ""));
        let third = look(&gate, &good);
        let fourth = look(&gate, &good);

        assert_eq!(first, not_yet("joined, looking once more"));
        assert_eq!(between, not_yet("rke2-server is activating, started again 3 times"));
        assert_eq!(third, not_yet("joined, looking once more"));
        let start = Start {
            started: "2026-11-21T15:49:12.5Z".parse().expect("a time"),
            ready: "2026-11-21T15:50:01Z".parse().expect("a time"),
        };
        let member = Member { version: VERSION.to_owned(), start: Some(start) };
        assert_eq!(fourth, Ok(Look::Done(member)));
    }

    #[test]
    fn an_active_unit_alone_proves_nothing() {
        let name = NodeName("server-2".to_owned());
        let gate = Gate::new(&name, Role::Server, VERSION.parse().expect("a version"));
        let learner = [("Ready", "True", ""), ("EtcdIsVoter", "False", "MemberIsLearner")];

        assert_eq!(
            look(&gate, &said("active", "[-]etcd failed\nreadyz check failed", &VOTING, "")),
            not_yet("its API is not ready")
        );
        assert_eq!(
            look(&gate, &said("active", "ok", &learner, "")),
            not_yet("etcd member does not vote: MemberIsLearner")
        );
        for (etcd, lacking) in [
            ("", "its etcd member does not answer"),
            (list(&["server-1-0badcafe"]).as_str(), "etcd has no member `server-2-1f2e3d4c`"),
            (list(&["server-2-1f2e3d4c*"]).as_str(), "etcd member `server-2-1f2e3d4c` is a learner"),
        ] {
            assert_eq!(look(&gate, &said_with("active", "ok", &VOTING, etcd, "")), not_yet(lacking));
        }
        assert_eq!(
            look(&gate, &Answer::read("@unit\nActiveState=active\n\n@readyz\nok\n@node\n\n@journal\n")),
            not_yet("its node is not registered")
        );
    }

    #[test]
    fn what_the_journal_said_is_the_cause_and_brings_its_hint() {
        let name = NodeName("server-2".to_owned());
        let gate = Gate::new(&name, Role::Server, VERSION.parse().expect("a version"));
        let journal = "time=\"2026-11-20T14:02:00Z\" level=fatal msg=\"token CA hash does not match the Cluster CA \
                       certificate hash: 4f0c != 91ab\"";

        let seen = look(&gate, &said("activating", "", &[], journal));
        let failure = gate.explained(Failure::new(Exit::Unhealthy, "`server-2` did not join: not within 5 min"));

        assert_eq!(seen, not_yet("rke2-server is activating, started again 3 times"));
        assert_eq!(
            failure.causes(),
            [
                "journal of rke2-server on `server-2`: \"token CA hash does not match the Cluster CA certificate hash: \
                 4f0c != 91ab\"",
                "it was told a token of another cluster, or the cluster behind the address is another one"
            ]
        );
        assert_eq!(failure.hints().len(), 1);
    }

    #[test]
    fn what_the_unit_itself_said_last_is_told_where_nothing_is_recognised() {
        let name = NodeName("server-2".to_owned());
        let gate = Gate { name: &name, role: Role::Server, version: VERSION.to_owned(), memory: Mutex::default() };
        let journal = "no licence for this morning\nrke2-server.service: Control process exited, code=exited, status=3\n\
                       Failed to start rke2-server.service - Rancher Kubernetes Engine v2 (server).\n\
                       rke2-server.service: Found left-over process 712 (etcd) in control group while starting unit. \
                       Ignoring.\nThis usually indicates unclean termination of a previous run, or service \
                       implementation deficiencies.";

        let seen = look(&gate, &said("activating", "", &[], journal));
        let failure = gate.explained(Failure::new(Exit::Unhealthy, "`server-2` did not join: not within 5 min"));

        assert_eq!(seen, not_yet("rke2-server is activating, started again 3 times"));
        assert_eq!(failure.causes(), ["journal of rke2-server on `server-2`: \"no licence for this morning\""]);
        assert_eq!(failure.hints(), ["look at `journalctl -u rke2-server` on `server-2`"]);
    }

    #[test]
    fn a_hopeless_symptom_that_lasts_ends_the_wait() {
        let name = NodeName("server-2".to_owned());
        let gate = Gate::new(&name, Role::Server, VERSION.parse().expect("a version"));
        let answer = said("activating", "", &[], "etcd cluster join failed: duplicate node name found, please use");
        let long_ago = Instant::now().checked_sub(HOPELESS_FOR).expect("a machine that has been up for a while");

        let first = look(&gate, &answer);
        gate.memory.lock().expect("a lock").hopeless_since = Some(("duplicate node name found", long_ago));
        let later = look(&gate, &answer);

        assert_eq!(first, not_yet("rke2-server is activating, started again 3 times"));
        assert_eq!(later, Err("`server-2` cannot join: rke2-server is activating, started again 3 times".to_owned()));
    }
}
