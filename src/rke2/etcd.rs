//! etcd's own word on its members, asked of one of them.
//!
//! RKE2 leaves no `etcdctl` on a node. Every member serves etcd's JSON gateway on its own loopback address, to whoever
//! holds the client certificate that RKE2 made there. The list is read linearizably, so a member that answers has a
//! quorum behind it, and members that answer differently are not of one cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Deserialize;

use crate::environment::{NodeName, Role};
use crate::failure::{Exit, Failure};
use crate::node::{Connection, Look, Wait};
use crate::rke2::DATA_DIR;
use crate::rke2::proof::Expected;

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const HINT: &str =
    "RKE2 removes a member that does not catch up after five minutes; look at `journalctl -u rke2-server`";

/// The members of etcd, as one of them tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Members {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Member {
    #[serde(default, rename = "ID")]
    pub id: String,
    /// `<node>-<8 hexadecimal digits>`; empty until it has started.
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "isLearner")]
    pub is_learner: bool,
    #[serde(default, rename = "peerURLs")]
    peers: Vec<String>,
}

impl Member {
    fn is_of(&self, node: &NodeName) -> bool {
        self.name.rsplit_once('-').is_some_and(|(name, _)| name == node.0)
    }

    /// Of this node by its name, or by its address as long as it has none.
    fn belongs_to(&self, node: &NodeName, address: &str) -> bool {
        let host = |url: &String| url.rsplit_once(':').is_some_and(|(host, _)| host == format!("https://{address}"));
        self.is_of(node) || (self.name.is_empty() && self.peers.iter().any(host))
    }
}

/// What a member is among the others, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    pub role: EtcdRole,
    /// The version of etcd that runs.
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdRole {
    Leader,
    Voter,
    Learner,
}

impl EtcdRole {
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

impl Voice {
    /// Reads the answer to [`ask_member`]; `None` when there was none.
    pub(super) fn read(answer: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Header {
            member_id: String,
        }
        #[derive(Deserialize)]
        struct Status {
            header: Header,
            version: String,
            #[serde(default)]
            leader: String,
            #[serde(default, rename = "isLearner")]
            is_learner: bool,
        }
        let status: Status = serde_json::from_str(answer).ok()?;
        let role = match status.is_learner {
            true => EtcdRole::Learner,
            false if status.leader == status.header.member_id => EtcdRole::Leader,
            false => EtcdRole::Voter,
        };
        Some(Self { role, version: status.version })
    }
}

/// A shell command that writes what the member of this machine is, as one line of JSON.
pub(super) fn ask_member() -> String {
    format!(
        "curl --silent --show-error --fail --max-time 5 --cacert {tls}/server-ca.crt --cert {tls}/client.crt --key {tls}/client.key \
         --data '{{}}' https://127.0.0.1:2382/v3/maintenance/status",
        tls = format_args!("{DATA_DIR}/server/tls/etcd"),
    )
}

/// A shell command that writes the list as one line of JSON, or nothing where no member runs or no quorum answers.
///
/// # Why
/// The linearizable list is the quorum read: etcd confirms with a majority that this member's log is up to date before it
/// answers, as it does for a linearizable read of a key. (2026-11-30)
pub(super) fn ask_members() -> String {
    ask("list", r#"{"linearizable":true}"#)
}

/// A shell command that removes a member; etcd refuses it where no quorum would be left.
pub(super) fn remove_member(id: &str) -> String {
    let id: String = id.chars().filter(char::is_ascii_digit).collect();
    ask("remove", &format!(r#"{{"ID":"{id}"}}"#))
}

fn ask(what: &str, question: &str) -> String {
    format!(
        "curl --silent --show-error --fail --max-time 5 --cacert {tls}/server-ca.crt --cert {tls}/client.crt --key {tls}/client.key \
         --data '{question}' https://127.0.0.1:2382/v3/cluster/member/{what}",
        tls = format_args!("{DATA_DIR}/server/tls/etcd"),
    )
}

impl Members {
    /// Reads the answer to [`ask_members`]; `None` when there was none.
    pub(super) fn read(answer: &str) -> Option<Self> {
        serde_json::from_str(answer).ok()
    }

    /// How many members there are.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    /// Why the member of this name does not vote; `None` when it does.
    pub(super) fn lacks_voter(&self, name: &str) -> Option<String> {
        match self.members.iter().find(|member| member.name == name) {
            None => Some(format!("etcd has no member `{name}`")),
            Some(member) if member.is_learner => Some(format!("etcd member `{name}` is a learner")),
            Some(_) => None,
        }
    }

    /// Why these are not just one voting member for each server; `None` when they are. Members of excused nodes may be
    /// there or not.
    pub fn lacks(&self, expected: &Expected) -> Option<String> {
        let servers = || expected.nodes.iter().filter(|(_, role)| **role == Role::Server).map(|(node, _)| node);
        for node in servers() {
            let members: Vec<&Member> = self.members.iter().filter(|member| member.is_of(node)).collect();
            match members[..] {
                [] => return Some(format!("etcd has no member of `{node}`")),
                [member] if member.is_learner => return Some(format!("the etcd member of `{node}` is a learner")),
                [_] => {}
                _ => return Some(format!("etcd has {} members of `{node}`", members.len())),
            }
        }
        let may_be = |member: &Member| {
            let mut excused = expected.excused.iter().filter(|(_, role)| **role == Role::Server);
            servers().any(|node| member.is_of(node))
                || excused.any(|(node, _)| member.name.is_empty() || member.is_of(node))
        };
        let stranger = self.members.iter().find(|member| !may_be(member))?;
        Some(match stranger.name.as_str() {
            "" => "etcd has a member that never started".to_owned(),
            name => format!("etcd has a member `{name}` of no server"),
        })
    }

    /// The members of a node.
    pub(super) fn of<'a>(&'a self, node: &'a NodeName, address: &'a str) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(move |member| member.belongs_to(node, address))
    }

    pub fn voters(&self) -> usize {
        self.members.iter().filter(|member| !member.is_learner).count()
    }

    /// A learner that is not this node's; etcd takes one at a time.
    fn learner_besides(&self, node: &NodeName, address: &str) -> Option<String> {
        let other = self.members.iter().find(|member| member.is_learner && !member.belongs_to(node, address))?;
        let name = if other.name.is_empty() { "that has not started" } else { &other.name };
        Some(format!("another learner is joining: {name}"))
    }

    /// Whether a member is of no node that is known, which went without its member.
    fn has_stranger(&self, expected: &Expected) -> bool {
        let mut named = self.members.iter().filter(|member| !member.name.is_empty());
        named.any(|member| !expected.nodes.keys().chain(expected.excused.keys()).any(|node| member.is_of(node)))
    }
}

/// Why what a server's own member told is not so, as a person is told it; `None` when it is.
pub fn told_amiss(server: &str, told: Option<&Members>, expected: &Expected) -> Option<String> {
    let lacks = match told {
        Some(members) => members.lacks(expected)?,
        None => "its etcd member does not answer".to_owned(),
    };
    Some(format!("asked on `{server}`: {lacks}"))
}

/// Waits until every one of these servers tells of one voting etcd member for each server and of no other.
///
/// # Errors
/// Exit 7 at the deadline, with the first server that tells otherwise; what the connections give; cancelled when told
/// to stop.
pub async fn members_agree(servers: &[Connection], expected: &Expected, wait: &Wait<'_>) -> Result<(), Failure> {
    agree(servers, expected, wait, &|_| None).await
}

/// Waits until the members tell the same and none of them is a learner, so that this node may join them.
///
/// # Errors
/// As [`members_agree`].
pub async fn ready_for(
    (node, address): (&NodeName, &str),
    servers: &[Connection],
    expected: &Expected,
    wait: &Wait<'_>,
) -> Result<(), Failure> {
    agree(servers, expected, wait, &|members| members.learner_besides(node, address)).await
}

async fn agree(
    servers: &[Connection],
    expected: &Expected,
    wait: &Wait<'_>,
    besides: &(dyn Fn(&Members) -> Option<String> + Send + Sync),
) -> Result<(), Failure> {
    let (ask, has_stranger) = (ask_members(), AtomicBool::default());
    let (ask, seen) = (&ask, &has_stranger);
    let agreed = wait.until("etcd's members are not the servers", Exit::Unhealthy, EVERY, || async move {
        let told = try_join_all(servers.iter().map(|server| server.run_within(ask, true, PATIENCE))).await?;
        let lacking = servers.iter().zip(&told).find_map(|(server, output)| {
            let members = Members::read(&output.stdout);
            let Some(members) = &members else {
                let amiss = told_amiss(server.name(), None, expected)?;
                return Some(format!("{amiss}: {}", output.stderr.trim()));
            };
            seen.store(members.has_stranger(expected), Ordering::Relaxed);
            let learner = || Some(format!("asked on `{}`: {}", server.name(), besides(members)?));
            told_amiss(server.name(), Some(members), expected).or_else(learner)
        });
        Ok(lacking.map_or(Look::Done(()), Look::NotYet))
    });
    let failure = agreed.await.err();
    match failure {
        None => Ok(()),
        Some(failure) if has_stranger.load(Ordering::Relaxed) => {
            Err(failure.hint("the member of a machine that is gone for good goes with `kubectl delete node NODE`"))
        }
        Some(failure) => Err(failure.hint(HINT)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The answer of a cluster with these members, a learner marked by `*`.
    pub fn list(members: &[&str]) -> String {
        let member = |name: &&str| match name.strip_suffix('*') {
            Some(name) => format!(r#"{{"ID":"7","name":"{name}","isLearner":true}}"#),
            None => format!(r#"{{"ID":"7","name":"{name}","peerURLs":["https://10.20.1.5:2380"]}}"#),
        };
        let members: Vec<String> = members.iter().map(member).collect();
        format!(r#"{{"header":{{"cluster_id":"1"}},"members":[{}]}}"#, members.join(","))
    }

    fn lacks(members: &[&str], excused: &[(&str, Role)]) -> Option<String> {
        let nodes = [("server-1", Role::Server), ("server-2", Role::Server), ("general-1", Role::Agent)];
        let name = |name: &str| NodeName(name.to_owned());
        let expected = Expected {
            nodes: nodes.into_iter().map(|(node, role)| (name(node), role)).collect(),
            excused: excused.iter().map(|(node, role)| (name(node), *role)).collect(),
            version: "v1.35.4+rke2r1".parse().expect("a version"),
        };
        Members::read(&list(members)).expect("a list").lacks(&expected)
    }

    #[test]
    fn the_members_are_one_voter_for_each_server_and_nobody_else() {
        assert_eq!(lacks(&["server-2-0badcafe", "server-1-1f2e3d4c"], &[]), None);
        for (members, lacking) in [
            (&["server-1-1f2e3d4c"][..], "etcd has no member of `server-2`"),
            (&["server-1-1f2e3d4c", "server-2-0badcafe*"], "the etcd member of `server-2` is a learner"),
            (&["server-1-1f2e3d4c", "server-2-0badcafe", "server-2-11111111"], "etcd has 2 members of `server-2`"),
            (
                &["server-1-1f2e3d4c", "server-2-0badcafe", "server-3-22222222"],
                "etcd has a member `server-3-22222222` of no server",
            ),
            (&["server-1-1f2e3d4c", "server-2-0badcafe", ""], "etcd has a member that never started"),
        ] {
            assert_eq!(lacks(members, &[]).as_deref(), Some(lacking));
        }
    }

    #[test]
    fn an_excused_server_may_be_a_member_in_any_state() {
        let server = [("server-3", Role::Server)];
        for third in ["server-3-22222222", "server-3-22222222*", ""] {
            assert_eq!(lacks(&["server-1-1f2e3d4c", "server-2-0badcafe", third], &server), None);
        }
        let four = ["server-1-1f2e3d4c", "server-2-0badcafe", "server-4-22222222"];
        assert_eq!(lacks(&four, &server).as_deref(), Some("etcd has a member `server-4-22222222` of no server"));
    }

    #[test]
    fn an_excused_agent_excuses_no_member() {
        let three = ["server-1-1f2e3d4c", "server-2-0badcafe", ""];

        let lacking = lacks(&three, &[("general-2", Role::Agent)]);

        assert_eq!(lacking.as_deref(), Some("etcd has a member that never started"));
    }

    #[test]
    fn a_member_is_the_leader_where_it_names_itself_as_such() {
        let role = |rest: &str| {
            let answer = format!(r#"{{"header":{{"cluster_id":"1","member_id":"7"}},"version":"3.6.7"{rest}}}"#);
            Voice::read(&answer).map(|voice| voice.role)
        };

        assert_eq!(role(r#","leader":"7""#), Some(EtcdRole::Leader));
        assert_eq!(role(r#","leader":"8""#), Some(EtcdRole::Voter));
        assert_eq!(role(r#","leader":"8","isLearner":true"#), Some(EtcdRole::Learner));
        assert_eq!(Voice::read(""), None);
    }

    #[test]
    fn no_answer_is_no_list() {
        assert_eq!(Members::read(""), None);
        assert_eq!(Members::read("404 page not found"), None);
    }
}
