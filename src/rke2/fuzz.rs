//! What RKE2, etcd and Kubernetes answer, under fuzzing.

use crate::environment::{NodeName, Role};
use crate::fuzz::Target;
use crate::rke2::etcd::{Members, told_amiss};
use crate::rke2::gate;
use crate::rke2::proof::Expected;
use crate::rke2::{Checksums, Kubeconfig, NodeStatus, Token, Version, recognised, state};

pub const TARGETS: &[Target] = &[
    Target { name: "etcd-members", run: members, seeds: &[] },
    Target { name: "kubeconfig", run: kubeconfig, seeds: &[] },
    Target { name: "kubernetes-node", run: node, seeds: &[] },
    Target { name: "rke2-state", run: of_node, seeds: &[] },
    Target { name: "rke2-gate", run: look, seeds: &[] },
    Target { name: "rke2-journal", run: journal, seeds: &[] },
    Target { name: "rke2-token", run: token, seeds: &[] },
    Target { name: "rke2-version", run: version, seeds: &[] },
    Target { name: "rke2-checksums", run: checksums, seeds: &[] },
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn expected() -> Expected {
    let servers = ["server-1", "server-2"].map(|name| (NodeName(name.to_owned()), Role::Server));
    let Ok(version) = "v1.35.4+rke2r1".parse() else { unreachable!("a release") };
    Expected { nodes: servers.into(), excused: [].into(), version }
}

/// Only a list that names each server as a voter, and nobody else, is as it should be.
fn members(bytes: &[u8]) {
    let members = Members::read(&text(bytes));
    if told_amiss("server-1", members.as_ref(), &expected()).is_none() {
        assert_eq!(members.as_ref().map(Members::count), Some(2), "each server is one member");
    }
    members.iter().for_each(|members| drop(members.lacks_voter("server-1-0a1b2c3d")));
}

/// What is read is read again from what is written for people.
fn kubeconfig(bytes: &[u8]) {
    let Ok(kubeconfig) = Kubeconfig::parse(&text(bytes)) else { return };
    let written = kubeconfig.written("dev", "https://api.example:6443");
    let again = Kubeconfig::parse(&text(written.expose()));
    let Ok(again) = again else { unreachable!("what was written cannot be read") };
    assert_eq!((again.ca, again.certificate), (kubeconfig.ca, kubeconfig.certificate));
    assert_eq!(again.key.expose(), kubeconfig.key.expose());
    assert_eq!(again.server, "https://api.example:6443");
}

fn node(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice(bytes) else { return };
    if let Some(status) = NodeStatus::read(&value) {
        let lacks = status.lacks(Role::Server, "v1.35.4+rke2r1");
        let is_voter = status.not_ready.is_none() && status.not_voting.is_none() && status.member.is_some();
        assert!(
            lacks.is_some() || (is_voter && status.role == Role::Server),
            "a server that does not vote has not joined"
        );
    }
}

fn of_node(bytes: &[u8]) {
    let state = state::parse(&text(bytes));
    for role in [Role::Server, Role::Agent] {
        if state.lacks(role, "v1.35.4+rke2r1").is_none() {
            assert_eq!(state.running.as_deref(), Some("v1.35.4+rke2r1"));
        }
    }
}

/// A look at a node that joins; who has started both knows when and is ready no earlier.
fn look(bytes: &[u8]) {
    gate::looked_at(&text(bytes));
}

fn journal(bytes: &[u8]) {
    let text = text(bytes);
    if let Some((symptom, line)) = recognised(&text) {
        assert!(text.contains(line), "{symptom:?} is read from what stands there");
    }
}

fn token(bytes: &[u8]) {
    if let Ok(token) = Token::parse(&text(bytes)) {
        let again = Token::parse(&text(token.secure().expose()));
        assert!(again.is_ok_and(|again| again.ca == token.ca && again.user == token.user));
    }
}

fn version(bytes: &[u8]) {
    if let Ok(version) = text(bytes).parse::<Version>() {
        assert_eq!(version.to_string().parse(), Ok(version), "a release has one name");
        assert!(!version.in_url().contains('+'));
        assert!(version.to_string().starts_with(&version.kubernetes()));
    }
}

fn checksums(bytes: &[u8]) {
    drop(Checksums::parse(&text(bytes)));
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
