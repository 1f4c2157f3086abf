//! Nodes that an operation goes on without, because their machines do not answer and may never come back.
//!
//! Who was left out is a fact of the operation, so that it is gone on with as it was begun. One that answers again is
//! taken in again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fleet::Fleet;
use super::open::{OPEN, Open};
use crate::environment::NodeName;
use crate::failure::{Exit, Failure};

/// The fact that tells who was left out, and of which operation.
const LEFT_OUT: &str = "upkeep/left-out";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Noted {
    /// The run that began the operation.
    run: u32,
    nodes: BTreeSet<NodeName>,
}

impl Fleet<'_> {
    /// Goes on without these nodes and those that were left out of this operation before.
    ///
    /// # Errors
    /// Exit 2 for a node that is no member, or answers; exit 7 where etcd would have no quorum without them. Nothing was
    /// begun then.
    pub async fn leave_out(&mut self, asked: &[NodeName], command: &str) -> Result<(), Failure> {
        let open = self.cx.fact::<Open>(OPEN)?.filter(|open| open.command == command);
        let noted = self.cx.fact::<Noted>(LEFT_OUT)?.filter(|noted| open.is_some_and(|open| open.run == noted.run));
        let before = noted.unwrap_or_default().nodes;
        let is_member = |node: &&NodeName| self.servers.contains_key(*node) || self.agents.contains_key(*node);
        if let Some(stranger) = asked.iter().find(|node| !is_member(node)) {
            let members: Vec<&str> =
                self.servers.keys().chain(self.agents.keys()).map(|node| node.0.as_str()).collect();
            return Err(Failure::new(Exit::Usage, format!("`{stranger}` is no member of `{}`", self.cx.env.name))
                .because(format!("its members are {}", members.join(", "))));
        }
        let meant: BTreeSet<NodeName> = before.iter().chain(asked).cloned().collect();
        let (mut silent, mut answering) = (BTreeSet::new(), Vec::new());
        for (node, state) in self.ask(meant.iter().filter(is_member)).await {
            match state {
                Err(_) => drop(silent.insert(node)),
                Ok(_) => answering.push(node),
            }
        }
        if let Some(node) = answering.iter().find(|node| !before.contains(*node)) {
            return Err(Failure::new(Exit::Usage, format!("`{node}` answers, and is not left out"))
                .hint(format!("sre-provision {command}   works on it, too")));
        }
        for node in answering {
            self.cx.events.notice(format!("{node} was left out, answers again, and is taken in"));
        }
        keeps_quorum(self.servers.keys(), &silent)?;
        self.left_out = silent;
        Ok(())
    }

    /// Writes down who is left out of an operation that is open now.
    pub(super) async fn note_left_out(&self, open: &Open) -> Result<(), Failure> {
        if self.left_out.is_empty() {
            return Ok(());
        }
        let noted = Noted { run: open.run, nodes: self.left_out.clone() };
        self.cx.ledger.record_fact(LEFT_OUT, json!(noted)).await
    }

    /// A failure about a node that does not answer, with the way to go on without it.
    pub(super) fn or_left_out(failure: Failure, node: &NodeName) -> Failure {
        match failure.exit() {
            Exit::Platform => {
                failure.hint(format!("if `{node}` does not come back, the same command with --leave-out {node}"))
            }
            _ => failure,
        }
    }
}

/// # Errors
/// Exit 7: with one more that is restarted, half of the servers or more would be down.
fn keeps_quorum<'a>(servers: impl Iterator<Item = &'a NodeName>, silent: &BTreeSet<NodeName>) -> Result<(), Failure> {
    let (left, there): (Vec<&NodeName>, Vec<&NodeName>) = servers.partition(|server| silent.contains(*server));
    let all = left.len() + there.len();
    if left.is_empty() || there.len().saturating_sub(1) > all / 2 {
        return Ok(());
    }
    let names: Vec<String> = left.iter().map(|node| format!("`{node}`")).collect();
    let what = format!("etcd would have no quorum without {} while another server restarts", names.join(", "));
    Err(Failure::new(Exit::Unhealthy, what)
        .because(format!("{} of {all} servers are left", there.len()))
        .hint("make its machine anew first (`sre-provision up`), or bring it back"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_minority_of_the_servers_is_left_out() {
        let names = |names: &[&str]| names.iter().map(|name| NodeName((*name).to_owned())).collect::<BTreeSet<_>>();
        let servers = names(&["server-1", "server-2", "server-3"]);
        let refused = |silent: &[&str]| keeps_quorum(servers.iter(), &names(silent)).err().map(|one| one.to_string());

        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&["general-1"]), None);
        assert_eq!(
            refused(&["server-2"]).as_deref(),
            Some("etcd would have no quorum without `server-2` while another server restarts: 2 of 3 servers are left")
        );
    }
}
