//! Which releases may stand beside each other while a cluster goes from one to the next.
//!
//! Judged by what each member was seen to run, never by what it was told to run: Kubernetes allows servers one minor
//! release apart and no agent newer than a server (its version skew policy), etcd members one minor release apart (its
//! upgrade guides), and both only while they last.

use crate::rke2::Version;

/// What one server was seen to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    pub node: String,
    /// The program that runs; nothing where none does.
    pub kubernetes: Option<Version>,
    /// Of its etcd member, by its own word; nothing where it does not answer.
    pub etcd: Option<String>,
}

/// Why no further node may be brought to this release while the servers run this; nothing when one may.
pub fn speaks_against(servers: &[Runs], is_server: bool, to: Version) -> Option<String> {
    let mut minors = Vec::new();
    for server in servers {
        let node = &server.node;
        let Some(kubernetes) = server.kubernetes else { return Some(format!("{node} runs no RKE2")) };
        let Some(etcd) = server.etcd.as_deref() else {
            return Some(format!("the etcd member of {node} does not answer"));
        };
        let Some(minor) = minor(etcd) else { return Some(format!("{node} has an etcd of no known release: `{etcd}`")) };
        if (kubernetes.major, kubernetes.minor + 1) < (to.major, to.minor) {
            return Some(format!("{node} runs {kubernetes}, more than one minor release before {to}"));
        }
        if !is_server && kubernetes < to {
            return Some(format!("{node} runs {kubernetes}, and an agent with {to} would be newer"));
        }
        minors.push((minor, node, etcd));
    }
    let (oldest, newest) = (minors.iter().min()?, minors.iter().max()?);
    let ((from, _, _), (to, _, _)) = (oldest, newest);
    let apart = from.0 != to.0 || to.1 - from.1 > 1;
    apart.then(|| {
        let told = |(_, node, etcd): &(_, &String, &str)| format!("{node} has etcd {etcd}");
        format!("{}, {}: more than one minor release apart", told(oldest), told(newest))
    })
}

/// Whether all of these have an etcd of one minor release; the first that differs, with the first of all.
pub fn uneven_etcd(servers: &[Runs]) -> Option<String> {
    let mut told = servers.iter().filter_map(|server| Some((&server.node, server.etcd.as_deref()?)));
    let (first, etcd) = told.next()?;
    let (other, differs) = told.find(|(_, other)| minor(other) != minor(etcd))?;
    Some(format!("{first} has etcd {etcd}, {other} has etcd {differs}"))
}

fn minor(etcd: &str) -> Option<(u32, u32)> {
    let mut parts = etcd.split('.').map(|part| part.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(node: &str, kubernetes: &str, etcd: &str) -> Runs {
        let etcd = Some(etcd.to_owned()).filter(|etcd| !etcd.is_empty());
        Runs { node: node.to_owned(), kubernetes: kubernetes.parse().ok(), etcd }
    }

    fn against(servers: &[Runs], is_server: bool) -> Option<String> {
        speaks_against(servers, is_server, "v1.35.4+rke2r1".parse().expect("a version"))
    }

    #[test]
    fn a_server_follows_while_all_others_tell_what_they_run_and_are_one_minor_release_apart() {
        let old = runs("server-1", "v1.34.4+rke2r1", "3.5.26");
        let new = runs("server-2", "v1.35.4+rke2r1", "3.6.14");

        assert_eq!(against(&[old.clone(), new.clone()], true), None);
        assert_eq!(
            against(&[old.clone(), runs("server-3", "v1.34.4+rke2r1", "")], true).as_deref(),
            Some("the etcd member of server-3 does not answer")
        );
        assert_eq!(
            against(&[new.clone(), runs("server-3", "", "3.5.26")], true).as_deref(),
            Some("server-3 runs no RKE2")
        );
        assert_eq!(
            against(&[new.clone(), runs("server-3", "v1.33.9+rke2r1", "3.5.26")], true).as_deref(),
            Some("server-3 runs v1.33.9+rke2r1, more than one minor release before v1.35.4+rke2r1")
        );
        assert_eq!(
            against(&[new, runs("server-3", "v1.34.4+rke2r1", "3.4.30")], true).as_deref(),
            Some("server-3 has etcd 3.4.30, server-2 has etcd 3.6.14: more than one minor release apart")
        );
    }

    #[test]
    fn an_agent_follows_when_every_server_has_gone_before() {
        let new = runs("server-2", "v1.35.4+rke2r1", "3.6.14");

        assert_eq!(against(std::slice::from_ref(&new), false), None);
        assert_eq!(
            against(&[new, runs("server-1", "v1.34.4+rke2r1", "3.6.14")], false).as_deref(),
            Some("server-1 runs v1.34.4+rke2r1, and an agent with v1.35.4+rke2r1 would be newer")
        );
    }

    #[test]
    fn before_an_upgrade_etcd_is_of_one_minor_release_everywhere() {
        let servers = ["3.5.26", "3.5.16", "3.6.1"].map(|etcd| runs("server-1", "v1.34.4+rke2r1", etcd));

        assert_eq!(uneven_etcd(&servers[..2]), None);
        assert_eq!(uneven_etcd(&servers).as_deref(), Some("server-1 has etcd 3.5.26, server-1 has etcd 3.6.1"));
    }
}
