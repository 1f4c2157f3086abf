//! The cluster's tokens: making new ones, and which node holds which.
//!
//! A new value is sealed before anything knows it, under a name of its own, and takes the old one's place only when every
//! node was seen with it; until then the old one is what counts, and a stop anywhere is gone on from.
//!
//! # Why
//! The supervisor is asked by its own API instead of `rke2 token rotate`, which takes tokens as arguments for every user of
//! the node to read. (2026-11-30)
//!
//! One server starts with the agents' new token before the cluster is told its own new one. A server that starts with
//! another agent token writes it into its file of users, and into the datastore never, so that it refuses its next start:
//! `server/cred/passwd newer than datastore` (rancher/rke2 issue 5785). The rotation of the cluster's token is the one deed
//! that puts that file, as it then is on the server that is asked, into the datastore. (2026-11-30)

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::fleet::Fleet;
use super::open::Open;
use crate::environment::{NodeName, Role};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::{Connection, quote};
use crate::rke2::{self, DATA_DIR, Token};
use crate::secret::Secret;
use crate::secrets::random_token;
use crate::stages::{AGENT_TOKEN, SERVER_TOKEN};

/// The fact that tells when the tokens were made anew for the last time: a snapshot from before is sealed with the old one.
pub const ROTATED: &str = "upkeep/token-rotated";

/// What a node holds, by fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    pub node: String,
    /// Of the token that it joins with.
    pub token: String,
    /// Of the token that a server takes from agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<String>,
    /// Of the cluster's CA, as the node has it.
    pub ca: String,
    /// What differs from what is sealed, or from the other nodes.
    pub amiss: Vec<String>,
}

/// Asks every node for the fingerprints of what it holds.
pub async fn check_tokens(fleet: &Fleet<'_>) -> Result<Vec<Held>, Failure> {
    let cx = fleet.cx;
    let sealed = |name: &str| Ok::<_, Failure>(cx.secrets.get(name)?.map(|secret| fingerprint(secret.expose())));
    let (server, agent) = (sealed(SERVER_TOKEN)?, sealed(AGENT_TOKEN)?);
    let mut all = Vec::new();
    for node in fleet.servers.keys().chain(fleet.agents.keys()) {
        let is_server = fleet.servers.contains_key(node);
        let told = async { fleet.connection(node).await?.ask("asking for fingerprints", &asking()).await };
        let mut held = match told.await {
            Ok(text) => read(node, &text),
            Err(failure) => Held { node: node.to_string(), amiss: vec![failure.to_string()], ..Held::default() },
        };
        if held.amiss.is_empty() {
            let wanted = if is_server { &server } else { &agent };
            if wanted.as_ref() != Some(&held.token) {
                held.amiss.push("its token is not the sealed one".to_owned());
            }
            if is_server && held.agent_token != agent {
                held.amiss.push("its agents' token is not the sealed one".to_owned());
            }
        }
        all.push(held);
    }
    let of_most = most(&all);
    for held in all.iter_mut().filter(|held| !held.ca.is_empty() && held.ca != of_most) {
        held.amiss.push(format!("it is of another CA than the others, {of_most}"));
    }
    Ok(all)
}

fn most(all: &[Held]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for held in all.iter().filter(|held| !held.ca.is_empty()) {
        *counts.entry(&held.ca).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(ca, _)| ca.to_owned()).unwrap_or_default()
}

/// The first half of a SHA-256 over the password of a token: enough to tell two apart.
fn fingerprint(password: &[u8]) -> String {
    Digest::of(password).as_str()[..16].to_owned()
}

/// Passwords are hashed on the node: the part of a token behind the last `:`.
fn asking() -> String {
    format!(
        r#"of() {{ [ ! -s "$2" ] || echo "$1=$(tr -d '\n' <"$2" | sed 's/.*://' | tr -d '\n' | sha256sum | cut -c 1-16)"; }}
of token /etc/rancher/rke2/token
of agent-token /etc/rancher/rke2/agent-token
for ca in {DATA_DIR}/server/tls/server-ca.crt {DATA_DIR}/agent/server-ca.crt; do
  [ ! -s "$ca" ] || {{ echo "ca=$(sha256sum <"$ca" | cut -c 1-16)"; break; }}
done"#
    )
}

fn read(node: &NodeName, text: &str) -> Held {
    let value = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
    Held {
        node: node.to_string(),
        token: value("token").unwrap_or_default(),
        agent_token: value("agent-token"),
        ca: value("ca").unwrap_or_default(),
        amiss: vec![],
    }
}

/// Gives the cluster new tokens for servers and agents, node by node.
///
/// # Errors
/// Exit 7 where a gate is not passed; the same call goes on with the same new tokens.
pub async fn rotate_tokens(fleet: &Fleet<'_>, command: &str) -> Result<(), Failure> {
    let cx = fleet.cx;
    // One server from first to last: the others learn of a rotation by a restart only.
    let chosen = match cx.fact::<Open>(super::OPEN)?.filter(|open| open.command == command) {
        Some(_) => Value::Null,
        None => json!(fleet.a_server().await?.0),
    };
    let open = Open::begin(cx, command, || chosen).await?;
    fleet.note_left_out(&open).await?;
    let through: NodeName = serde_json::from_value(open.details.clone())
        .map_err(|error| Failure::bug("a rotation that is open has another shape").because(error))?;
    let new = |name: &str| cx.secrets.get_or_create(&format!("{name}-of-run-{}", open.run), random_token);
    let (server, agent) = (new(SERVER_TOKEN)?, new(AGENT_TOKEN)?);
    cx.note_secrets().await?;
    let lost = || Failure::bug("the cluster's token is not sealed");
    let old = cx.secrets.get(SERVER_TOKEN)?.ok_or_else(lost)?;
    let is_left = fleet.left_out.contains(&through);
    let joined = fleet.servers.get(&through).filter(|_| !is_left).ok_or_else(|| gone(&through, command))?;
    let users = async |_: &NodeName, connection: &Connection| {
        let agents = writing("/etc/rancher/rke2/agent-token", &agent);
        let script = format!("set -eu\numask 077\n{agents}{}{}", users_anew(), restarting(Role::Server));
        connection.ask("placing the agents' new token", &script).await.map(drop)
    };
    fleet.on_one(&format!("agent-token-{}", open.run), "the agents' new token", (&through, joined), &users).await?;
    let first = fleet.connection(&through).await?;
    cx.progress(format!("{through}: the cluster's new token"));
    told_to_cluster(&first, &old, &server).await?;
    let ca = read_ca(&first).await?;
    let work = async |node: &NodeName, connection: &Connection| {
        let role = if fleet.servers.contains_key(node) { Role::Server } else { Role::Agent };
        let written = match role {
            Role::Server => vec![
                ("/etc/rancher/rke2/token", Token::server(ca.clone(), server.clone()).secure()),
                ("/etc/rancher/rke2/agent-token", agent.clone()),
            ],
            Role::Agent => vec![("/etc/rancher/rke2/token", Token::agent(ca.clone(), agent.clone()).secure())],
        };
        let mut script = "set -eu\numask 077\n".to_owned();
        for (path, token) in &written {
            script.push_str(&writing(path, token));
        }
        if role == Role::Server {
            script.push_str(&users_anew());
        }
        script.push_str(&restarting(role));
        connection.ask("placing the new token", &script).await.map(drop)
    };
    fleet.one_by_one(&format!("token-{}", open.run), "new token", work).await?;
    cx.secrets.put(SERVER_TOKEN, &server)?;
    cx.secrets.put(AGENT_TOKEN, &agent)?;
    cx.note_secrets().await?;
    cx.ledger.record_fact(ROTATED, json!(Timestamp::now())).await?;
    open.end(cx).await
}

/// The next start brings the file of users from the datastore, also where a stop between two steps left a newer one.
fn users_anew() -> String {
    format!("rm -f {DATA_DIR}/server/cred/passwd\n")
}

fn restarting(role: Role) -> String {
    format!("systemctl restart --no-block {}.service\n", rke2::unit(role))
}

fn gone(node: &NodeName, command: &str) -> Failure {
    Failure::new(
        Exit::Unhealthy,
        format!("`{node}`, which was given the new tokens first, is no server any more, or does not answer"),
    )
    .because("the others do not know of the rotation yet")
    .hint(format!("bring its machine back, then `sre-provision {command}`"))
}

/// Replaces a token file in one step, byte for byte as the roles write it. The script goes over stdin, and `printf` is no
/// program of its own, so that no list of processes shows the token.
fn writing(path: &str, token: &Secret) -> String {
    let text = quote(token.expose_str().unwrap_or_default());
    format!("printf %s {text} >{path}.new\nsync {path}.new\nmv {path}.new {path}\n")
}

/// Tells the cluster its new token, unless it has it: what was asked before a stop may have been done.
async fn told_to_cluster(server: &Connection, old: &Secret, new: &Secret) -> Result<(), Failure> {
    let (old, new) = (old.expose_str().unwrap_or_default(), new.expose_str().unwrap_or_default());
    let script = format!(
        "umask 077\nhas() {{ tr -d '\\n' <{DATA_DIR}/server/token | sed 's/.*://' | tr -d '\\n' | sha256sum | cut -c 1-16; }}\n\
         [ \"$(has)\" != {wanted} ] || exit 0\n\
         curl --silent --show-error --fail-with-body --max-time 60 --config - <<'end-of-config'\n\
         url = \"https://127.0.0.1:9345/v1-rke2/token\"\ncacert = \"{DATA_DIR}/server/tls/server-ca.crt\"\nrequest = \"PUT\"\n\
         user = \"server:{old}\"\nheader = \"Content-Type: application/json\"\ndata = \"{{\\\"newToken\\\":\\\"{new}\\\"}}\"\n\
         end-of-config\n",
        wanted = fingerprint(new.as_bytes()),
    );
    let output = server.run(&script, true).await?;
    if output.code == 0 {
        return Ok(());
    }
    let said = [output.stderr.trim(), output.stdout.trim()].join(" ");
    let said = said.replace(old, "…").replace(new, "…");
    Err(Failure::new(Exit::Tool, format!("`{}` did not take the new token", server.name()))
        .because(said.trim())
        .hint("`sre-provision token check` tells which node holds which token"))
}

/// The digest of the cluster's CA as it stands in the server's own token.
async fn read_ca(server: &Connection) -> Result<Digest, Failure> {
    let output = server.run(&format!("cat {DATA_DIR}/server/token"), true).await?;
    Ok(Token::parse(&output.stdout)?.ca)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_tells_fingerprints_and_never_a_token() {
        let held = read(&NodeName("server-1".to_owned()), "token=0123456789abcdef\nagent-token=fedc\nca=aa\n");

        assert_eq!((held.token.as_str(), held.agent_token.as_deref()), ("0123456789abcdef", Some("fedc")));
        assert!(!asking().contains("cat /etc/rancher/rke2/token"));
    }

    #[test]
    fn the_ca_of_most_nodes_is_the_one_that_counts() {
        let held = |ca: &str| Held { ca: ca.to_owned(), ..Held::default() };

        assert_eq!(most(&[held("a"), held("b"), held("b"), held("")]), "b");
        assert_eq!(most(&[]), "");
    }

    #[test]
    fn a_token_is_written_as_the_roles_write_it_without_a_line_end() {
        assert!(writing("/x", &Secret::new("K10a::server:b")).starts_with("printf %s 'K10a::server:b' >/x.new\n"));
    }

    #[test]
    fn the_fingerprint_is_that_of_the_password_alone() {
        assert_eq!(fingerprint(b"password"), "5e884898da280471");
    }
}
