//! The keys of RKE2's `config.yaml`.
//!
//! RKE2 only warns about a key it does not know, so a misspelt one would pass, and so would a server's key on an agent:
//! these are the known ones. Source: `rke2 server --help` and `rke2 agent --help`, reference/server_config and
//! reference/linux_agent_config of the RKE2 docs. The role `rke2_common` has the same lists, for plays by hand.

/// What every node knows.
pub const NODE_KEYS: [&str; 33] = [
    "cloud-provider-config",
    "cloud-provider-name",
    "container-runtime-endpoint",
    "debug",
    "default-runtime",
    "disable-default-registry-endpoint",
    "enable-pprof",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "kube-proxy-arg",
    "kube-proxy-extra-env",
    "kube-proxy-extra-mount",
    "kubelet-arg",
    "lb-server-port",
    "node-external-dns",
    "node-external-ip",
    "node-internal-dns",
    "node-ip",
    "node-label",
    "node-name",
    "node-name-from-cloud-provider-metadata",
    "node-taint",
    "nonroot-devices",
    "private-registry",
    "profile",
    "protect-kernel-defaults",
    "resolv-conf",
    "selinux",
    "server",
    "snapshotter",
    "system-default-registry",
    "token-file",
    "with-node-id",
];

/// What only servers know.
pub const SERVER_KEYS: [&str; 63] = [
    "advertise-address",
    "agent-token-file",
    "audit-policy-file",
    "bind-address",
    "cluster-cidr",
    "cluster-dns",
    "cluster-domain",
    "cni",
    "control-plane-probe-configuration",
    "control-plane-resource-limits",
    "control-plane-resource-requests",
    "disable",
    "disable-apiserver",
    "disable-cloud-controller",
    "disable-controller-manager",
    "disable-etcd",
    "disable-kube-proxy",
    "disable-scheduler",
    "egress-selector-mode",
    "embedded-registry",
    "enable-servicelb",
    "etcd-arg",
    "etcd-disable-snapshots",
    "etcd-expose-metrics",
    "etcd-extra-env",
    "etcd-extra-mount",
    "etcd-s3",
    "etcd-s3-bucket",
    "etcd-s3-config-secret",
    "etcd-s3-endpoint",
    "etcd-s3-endpoint-ca",
    "etcd-s3-folder",
    "etcd-s3-region",
    "etcd-s3-timeout",
    "etcd-snapshot-compress",
    "etcd-snapshot-dir",
    "etcd-snapshot-name",
    "etcd-snapshot-reconcile-interval",
    "etcd-snapshot-retention",
    "etcd-snapshot-schedule-cron",
    "helm-job-image",
    "ingress-controller",
    "kube-apiserver-arg",
    "kube-apiserver-extra-env",
    "kube-apiserver-extra-mount",
    "kube-cloud-controller-manager-arg",
    "kube-controller-manager-arg",
    "kube-controller-manager-extra-env",
    "kube-controller-manager-extra-mount",
    "kube-scheduler-arg",
    "kube-scheduler-extra-env",
    "kube-scheduler-extra-mount",
    "pod-security-admission-config-file",
    "secrets-encryption-provider",
    "service-cidr",
    "service-node-port-range",
    "servicelb-namespace",
    "supervisor-metrics",
    "tls-san",
    "tls-san-security",
    "write-kubeconfig",
    "write-kubeconfig-group",
    "write-kubeconfig-mode",
];

/// Those that the program sets itself, or that have a key of their own under `rke2.config`.
pub const OWN_KEYS: [(&str, &str); 39] = [
    ("server", "it is the address that the program chooses"),
    ("token-file", "the program makes the token"),
    ("agent-token-file", "the program makes the token"),
    ("node-name", "it is the name of the node"),
    ("node-ip", "it is the address of the machine"),
    ("node-label", "set `nodes.agents.<pool>.labels`"),
    ("node-taint", "set `nodes.agents.<pool>.taints`"),
    ("with-node-id", "the name of a node is the environment's"),
    ("profile", "set `rke2.profile`"),
    ("selinux", "it follows the node"),
    ("cni", "set `rke2.cni`"),
    ("disable", "set `rke2.disable`"),
    ("write-kubeconfig-mode", "it stays 0600"),
    ("tls-san", "set `rke2.config.tls_san`"),
    ("cluster-cidr", "set `rke2.config.cluster_cidr`"),
    ("service-cidr", "set `rke2.config.service_cidr`"),
    ("cluster-dns", "it follows `rke2.config.service_cidr`"),
    ("cluster-domain", "set `rke2.config.cluster_domain`"),
    ("ingress-controller", "set `rke2.config.ingress_controller`"),
    ("audit-policy-file", "set `rke2.config.audit_policy`"),
    ("pod-security-admission-config-file", "set `rke2.config.pod_security`"),
    ("secrets-encryption-provider", "set `rke2.config.secrets_encryption`"),
    ("resolv-conf", "set `rke2.config.resolv_conf`"),
    ("etcd-snapshot-schedule-cron", "set `rke2.config.snapshots.schedule`"),
    ("etcd-snapshot-retention", "set `rke2.config.snapshots.retention`"),
    ("etcd-s3", "set `rke2.config.snapshots.s3`"),
    ("etcd-s3-bucket", "set `rke2.config.snapshots.s3.bucket`"),
    ("etcd-s3-region", "set `rke2.config.snapshots.s3.region`"),
    ("etcd-s3-endpoint", "set `rke2.config.snapshots.s3.endpoint`"),
    ("etcd-s3-folder", "set `rke2.config.snapshots.s3.folder`"),
    ("kubelet-arg", "set `rke2.config.arguments.kubelet`"),
    ("kube-proxy-arg", "set `rke2.config.arguments.kube_proxy`"),
    ("kube-apiserver-arg", "set `rke2.config.arguments.kube_apiserver`"),
    ("kube-controller-manager-arg", "set `rke2.config.arguments.kube_controller_manager`"),
    ("kube-scheduler-arg", "set `rke2.config.arguments.kube_scheduler`"),
    ("etcd-arg", "set `rke2.config.arguments.etcd`"),
    ("private-registry", "set `rke2.config.registries`"),
    ("disable-etcd", "every server is an etcd member here"),
    ("disable-apiserver", "every server serves the API here"),
];

/// Servers that differ in one of these do not join each other; it is fixed when the cluster is founded.
pub const CRITICAL_KEYS: [&str; 7] = [
    "cluster-cidr",
    "service-cidr",
    "cluster-dns",
    "cluster-domain",
    "disable-cloud-controller",
    "disable-kube-proxy",
    "egress-selector-mode",
];

/// RKE2 does not compare these, and a cluster whose servers differ in one behaves by which of them answers.
pub fn keep_equal(key: &str) -> bool {
    let named = ["cni", "disable", "ingress-controller", "tls-san", "profile", "secrets-encryption-provider"];
    let is_argument = key.ends_with("-arg") && key != "kubelet-arg" && key != "kube-proxy-arg";
    named.contains(&key) || is_argument || key.starts_with("etcd-snapshot-") || key.starts_with("etcd-s3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_knows_the_same_keys() {
        let vars = include_str!("../ansible/roles/rke2_common/vars/main.yml");
        let listed = |name: &str| -> Vec<&str> {
            let rest = vars.split_once(&format!("\n{name}:\n")).expect("a list").1;
            rest.lines().map_while(|line| line.strip_prefix("  - ")).collect()
        };

        assert_eq!(listed("rke2_agent_config_keys"), NODE_KEYS);
        assert_eq!(listed("rke2_server_only_config_keys"), SERVER_KEYS);
    }

    #[test]
    fn every_key_that_is_treated_apart_is_a_key() {
        let is_key = |key: &&str| NODE_KEYS.contains(key) || SERVER_KEYS.contains(key);

        let strangers: Vec<&str> =
            OWN_KEYS.iter().map(|(key, _)| *key).chain(CRITICAL_KEYS).filter(|key| !is_key(key)).collect();

        assert_eq!(strangers, [""; 0]);
        assert!(keep_equal("kube-apiserver-arg") && keep_equal("etcd-s3-bucket"));
        assert!(!keep_equal("kubelet-arg") && !keep_equal("node-ip"));
    }
}
