//! RKE2 on one node as its census tells: units, versions, etcd store, digests.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::environment::Role;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::{Census, Question};
use crate::rke2::DATA_DIR;
use crate::rke2::certificate;
use crate::rke2::etcd::{Members, Voice, ask_member, ask_members};

/// The name of RKE2's question in a census.
pub const QUESTION: &str = "rke2";

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub activity: UnitActivity,
    pub is_enabled: bool,
    /// How often systemd started it again by itself.
    pub restarts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitActivity {
    Active,
    /// Starting, or waiting to be started again.
    Activating,
    Inactive,
    Failed,
    /// There is no such unit.
    Absent,
}

/// RKE2 on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub server: Unit,
    pub agent: Unit,
    /// The version of the program that runs; differs from the installed one until a restart.
    pub running: Option<String>,
    /// The version of the program that is installed.
    pub installed: Option<String>,
    /// Whether there is an etcd store: then `server:` is ignored and the node starts as the member it was.
    pub has_store: bool,
    /// The name of the etcd member whose data is on it.
    pub member: Option<String>,
    /// Whether it has a password with which it proved its name to a cluster.
    pub has_password: bool,
    /// What its etcd member tells of all; `None` where it does not answer.
    pub etcd: Option<Members>,
    /// What its etcd member is, where it runs and answers.
    pub voice: Option<Voice>,
    /// Of the cluster's CA file, on a server.
    pub ca: Option<Digest>,
    /// The certificates of its services, by the path of their file.
    pub certificates: BTreeMap<String, Timestamp>,
}

impl State {
    /// Reads the answer to [`question`].
    ///
    /// # Errors
    /// Exit 5 when the node did not answer it.
    pub fn read(node: &str, census: &Census) -> Result<Self, Failure> {
        let answer = census
            .answer(QUESTION)
            .filter(|answer| answer.code == 0)
            .ok_or_else(|| Failure::new(Exit::Tool, format!("`{node}` did not answer what RKE2 is on it")))?;
        Ok(parse(&answer.text))
    }

    pub fn unit(&self, role: Role) -> &Unit {
        match role {
            Role::Server => &self.server,
            Role::Agent => &self.agent,
        }
    }

    /// What keeps this from being a running node of that role and version; `None` when nothing does.
    pub fn lacks(&self, role: Role, version: &str) -> Option<String> {
        let unit = crate::rke2::unit(role);
        if self.unit(role).activity != UnitActivity::Active {
            return Some(format!("{unit} is {}", self.unit(role).activity.name()));
        }
        match &self.running {
            Some(running) if running == version => {}
            Some(running) => return Some(format!("runs {running}, wanted is {version}")),
            None => return Some("the version that runs is unknown".to_owned()),
        }
        (!self.unit(role).is_enabled).then(|| format!("{unit} is not enabled: it would not start after a reboot"))
    }
}

impl UnitActivity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Activating => "activating",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Absent => "not installed",
        }
    }

    fn read(load: &str, active: &str) -> Self {
        match (load, active) {
            ("loaded", "active" | "reloading") => Self::Active,
            ("loaded", "activating") => Self::Activating,
            ("loaded", "failed") => Self::Failed,
            ("loaded", _) => Self::Inactive,
            _ => Self::Absent,
        }
    }
}

impl State {
    /// When the first of its certificates ends.
    pub fn first_end(&self) -> Option<Timestamp> {
        self.certificates.values().min().copied()
    }
}

/// What RKE2 wants to know of every node.
pub fn question() -> Question {
    let script = format!(
        r#"for unit in rke2-server rke2-agent; do
  systemctl show "$unit.service" --property=LoadState,ActiveState,UnitFileState,NRestarts | sed "s/^/$unit./"
done
version() {{ "$1" --version 2>/dev/null | awk 'NR == 1 {{ print $3 }}'; }}
installed=$(version /usr/local/bin/rke2)
echo "installed=$installed"
for unit in rke2-server rke2-agent; do
  pid=$(systemctl show "$unit.service" --property=MainPID --value)
  case "$pid" in
    ''|0) ;;
    # The same file needs not be asked twice.
    *) if [ "/proc/$pid/exe" -ef /usr/local/bin/rke2 ]; then echo "running=$installed"; else echo "running=$(version "/proc/$pid/exe")"; fi ;;
  esac
done
[ ! -d {DATA_DIR}/server/db/etcd/member/wal ] || echo store=yes
[ ! -r {DATA_DIR}/server/db/etcd/name ] || echo "member=$(head -n 1 {DATA_DIR}/server/db/etcd/name)"
[ ! -s /etc/rancher/node/password ] || echo password=yes
if [ -r {DATA_DIR}/server/tls/etcd/client.key ]; then echo "etcd=$({etcd})"; echo "voice=$({member} 2>/dev/null)"; fi
ca={DATA_DIR}/server/tls/server-ca.crt
[ ! -r "$ca" ] || echo "ca=$(sha256sum <"$ca" | cut -d ' ' -f 1)"
{certificates}
exit 0"#,
        etcd = ask_members(),
        member = ask_member(),
        certificates = certificate::told(),
    );
    Question { name: QUESTION, script }
}

pub(super) fn parse(text: &str) -> State {
    let pairs = || text.lines().filter_map(|line| line.split_once('='));
    let values: BTreeMap<&str, &str> = pairs().collect();
    let value = |name: &str| values.get(name).copied().filter(|value| !value.is_empty()).map(str::to_owned);
    let unit = |name: &str| {
        let of = |property: &str| values.get(format!("{name}.{property}").as_str()).copied().unwrap_or_default();
        Unit {
            activity: UnitActivity::read(of("LoadState"), of("ActiveState")),
            is_enabled: of("UnitFileState") == "enabled",
            restarts: of("NRestarts").parse().unwrap_or(0),
        }
    };
    State {
        server: unit("rke2-server"),
        agent: unit("rke2-agent"),
        running: value("running"),
        installed: value("installed"),
        has_store: values.contains_key("store"),
        member: value("member"),
        has_password: values.contains_key("password"),
        etcd: value("etcd").and_then(|answer| Members::read(&answer)),
        voice: value("voice").and_then(|answer| Voice::read(&answer)),
        ca: value("ca").and_then(|digest| Digest::parse(&digest)),
        certificates: certificate::read(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::EtcdRole;

    const SAID: &str = "rke2-server.LoadState=loaded\nrke2-server.ActiveState=active\nrke2-server.UnitFileState=enabled\n\
                        rke2-server.NRestarts=2\nrke2-agent.LoadState=loaded\nrke2-agent.ActiveState=inactive\n\
                        running=v1.34.4+rke2r1\nstore=yes\n\
                        etcd={\"members\":[{\"ID\":\"7\",\"name\":\"server-1-1f2e3d4c\"}]}\n\
                        voice={\"header\":{\"member_id\":\"7\"},\"version\":\"3.5.16\",\"leader\":\"7\"}";

    #[test]
    fn a_node_tells_its_units_version_and_etcd() {
        let state = parse(SAID);

        assert_eq!(state.server, Unit { activity: UnitActivity::Active, is_enabled: true, restarts: 2 });
        assert_eq!(state.agent.activity, UnitActivity::Inactive);
        assert_eq!(state.etcd.as_ref().and_then(|etcd| etcd.lacks_voter("server-1-1f2e3d4c")), None);
        assert!(state.has_store);
        assert_eq!(state.voice, Some(Voice { role: EtcdRole::Leader, version: "3.5.16".to_owned() }));
        assert_eq!(state.first_end(), None, "it told of no certificate");
    }

    #[test]
    fn a_program_that_was_replaced_but_not_restarted_is_told_by_what_runs() {
        let state = parse(SAID);

        assert_eq!(
            state.lacks(Role::Server, "v1.35.4+rke2r1").as_deref(),
            Some("runs v1.34.4+rke2r1, wanted is v1.35.4+rke2r1")
        );
        assert_eq!(state.lacks(Role::Server, "v1.34.4+rke2r1"), None);
        assert_eq!(state.lacks(Role::Agent, "v1.35.4+rke2r1").as_deref(), Some("rke2-agent is inactive"));
    }

    #[test]
    fn a_machine_without_rke2_has_no_unit() {
        let state = parse("rke2-server.LoadState=not-found\nrke2-server.ActiveState=inactive\n");

        assert_eq!(state.server.activity, UnitActivity::Absent);
        assert_eq!(state.running, None);
        assert!(!state.has_store);
    }
}
