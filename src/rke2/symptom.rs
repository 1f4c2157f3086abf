//! What a unit's journal says when a join goes wrong, as cause and hint.
//!
//! The texts are RKE2's and k3s's own. A symptom is hopeless when waiting cannot mend it: the gate then ends before its
//! deadline. The others pass by themselves in a good join too.

/// A line that RKE2 writes, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Symptom {
    /// Part of the line.
    pub sign: &'static str,
    pub cause: &'static str,
    pub hint: &'static str,
    /// Will never pass by itself.
    pub is_hopeless: bool,
}

/// The first symptom of the table that one of these lines shows, with the last such line.
pub fn recognised(journal: &str) -> Option<(&'static Symptom, &str)> {
    SYMPTOMS.iter().find_map(|symptom| {
        let line = journal.lines().rev().find(|line| line.contains(symptom.sign))?;
        Some((symptom, line.trim()))
    })
}

const fn hopeless(sign: &'static str, cause: &'static str, hint: &'static str) -> Symptom {
    Symptom { sign, cause, hint, is_hopeless: true }
}

const fn passing(sign: &'static str, cause: &'static str, hint: &'static str) -> Symptom {
    Symptom { sign, cause, hint, is_hopeless: false }
}

/// The most telling first: a line may show several.
const SYMPTOMS: [Symptom; 21] = [
    hopeless(
        "token CA hash does not match the Cluster CA certificate hash",
        "it was told a token of another cluster, or the cluster behind the address is another one",
        "compare the CA in `history` with the one on the first server; a cluster that was rebuilt needs `down` and `up`",
    ),
    hopeless(
        "bootstrap data already found and encrypted with different token",
        "the cluster's data is sealed with another token",
        "restore the token that founded the cluster into the secret store",
    ),
    hopeless(
        "critical configuration value mismatch",
        "its configuration differs from the other servers in a value that must be equal",
        "compare /etc/rancher/rke2/config.yaml on the servers: CIDRs, cluster domain, egress-selector-mode, agent-token",
    ),
    hopeless(
        "duplicate node name found",
        "an etcd member of that name is still in the cluster",
        "remove the old member: `kubectl delete node` and wait until the member is gone",
    ),
    hopeless(
        "Node password rejected",
        "the cluster remembers another machine under that name",
        "delete the secret `<node>.node-password.rke2` in kube-system once the old machine is gone",
    ),
    hopeless(
        "RKE2_TOKEN is required to join a cluster",
        "no token is in its configuration",
        "run the same command again",
    ),
    hopeless("--server is required", "no server address is in its configuration", "run the same command again"),
    hopeless(
        "the member has been permanently removed from the cluster",
        "its etcd member was removed while its data stayed",
        "wipe /var/lib/rancher/rke2/server/db on the node, then run the same command again",
    ),
    hopeless(
        "invalid kernel parameter value",
        "the CIS profile refuses a kernel parameter",
        "`up` sets them with the role rke2_common; look for another file in /etc/sysctl.d that sets it back",
    ),
    hopeless(
        "missing required: ",
        "the CIS profile misses the user or group `etcd` in /etc/passwd or /etc/group",
        "run the same command again: the role rke2_common makes them",
    ),
    hopeless(
        "newer than datastore and could cause a cluster outage",
        "certificates in the image are newer than the cluster's",
        "the image must not hold /var/lib/rancher/rke2/server/tls: build it again",
    ),
    hopeless(
        "failed to find memory cgroup",
        "the memory cgroup is missing",
        "the machine needs cgroup v2 with its controllers",
    ),
    hopeless(
        "failed to get runtime image",
        "the image archive of its version is missing or damaged, and it cannot fetch the image from the internet",
        "the archives in /var/lib/rancher/rke2/agent/images must be of the installed version: remove them and /usr/local/bin/rke2, or make the node anew",
    ),
    hopeless(
        "failed to load image from",
        "an image archive is damaged",
        "remove it from /var/lib/rancher/rke2/agent/images and /usr/local/bin/rke2 with it, or make the node anew",
    ),
    hopeless(
        "no space left on device",
        "its disk is full",
        "make room on the node or give it a larger disk, then run the same command again",
    ),
    hopeless(
        "not authorized",
        "the servers do not accept its token",
        "agents need the agent token, servers the server token; compare their fingerprints in `history`",
    ),
    passing(
        "Pulling runtime image",
        "the image archive of its version is missing, so it tries to fetch it from the internet",
        "the archives in /var/lib/rancher/rke2/agent/images must be of the installed version",
    ),
    passing(
        "Waiting for other members to finish joining etcd cluster",
        "another server is still joining",
        "run the same command again when the other has joined",
    ),
    passing(
        "has not yet been promoted from learner to voting member",
        "its etcd member is still a learner",
        "look at the latency of its disk and at ports 2379 and 2380 between the servers",
    ),
    passing(
        "certificate is valid for",
        "the address is not in the servers' certificate",
        "the load balancer's name must be in `tls-san` on every server",
    ),
    passing(
        "failed to get CA certs",
        "it does not reach port 9345 of the server that it is to join",
        "compare the security groups with docs/network.md: 9345 and 6443 from every node to the servers",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_symptom_of_a_journal_is_recognised_with_its_last_line() {
        let journal = "Waiting to retrieve agent configuration; server is not ready: not authorized\n\
                       token CA hash does not match the Cluster CA certificate hash: 4f != 90\n\
                       token CA hash does not match the Cluster CA certificate hash: 4f != 91\n";

        let (symptom, line) = recognised(journal).expect("recognised");

        assert_eq!(
            symptom.cause,
            "it was told a token of another cluster, or the cluster behind the address is another one"
        );
        assert_eq!(line, "token CA hash does not match the Cluster CA certificate hash: 4f != 91");
        assert!(symptom.is_hopeless);
    }

    #[test]
    fn what_a_good_join_says_as_well_is_not_hopeless() {
        for line in [
            "Waiting for other members to finish joining etcd cluster: etcdserver: too many learner members in cluster",
            "Failed to test data store connection: this server has not yet been promoted from learner to voting member",
            "failed to get CA certs: Get \"https://127.0.0.1:6444/cacerts\": connection reset by peer",
        ] {
            assert!(!recognised(line).expect("recognised").0.is_hopeless, "{line}");
        }
        assert_eq!(recognised("rke2 is up and running"), None);
    }
}
