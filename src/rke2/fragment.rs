//! RKE2's configuration as the environment file asks for it, as fragments for `/etc/rancher/rke2/config.yaml.d`.
//!
//! `config.yaml` beside them says what a node is: its name, address, tokens and peer. It is the role's, which knows the
//! node. The fragments say what the cluster is, so those of two servers are the same text.
//!
//! # Why
//! Rendered here and not by the role: the same text is fingerprinted, compared between servers and told by a plan, and the
//! role only places it. Each value is written as JSON, which YAML reads back unchanged whatever is in it. (2026-11-30)

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::environment::Role;
use crate::failure::Failure;
use crate::rke2_config::{AUDIT_POLICY, POD_SECURITY, Registries, Rke2Config, ca_name};
use crate::rke2_keys::NODE_KEYS;
use crate::secret::Secret;

const TEMPLATE: &str = include_str!("fragment.tera");
/// Where the files lie that a fragment names.
const DIR: &str = "/etc/rancher/rke2";
/// The fragment that holds secrets, and is given to nodes by other ways than the rest.
pub const SECRET_FRAGMENT: &str = "90-sre-secrets.yaml";

/// What the template is told.
#[derive(Serialize)]
struct Whole<'a> {
    about: &'a str,
    lines: Vec<String>,
}

/// A fragment's name, what it is about, and its keys.
type Group = (&'static str, &'static str, Vec<(String, Value)>);

/// The fragments of a node of this role, by their file name; none where nothing is asked for.
///
/// # Errors
/// A bug: a template that names something that it is not told.
pub fn fragments(config: &Rke2Config, role: Role) -> Result<BTreeMap<String, String>, Failure> {
    let asked = groups(config, role).into_iter().filter(|(_, _, keys)| !keys.is_empty());
    asked.map(|(name, about, keys)| Ok((name.to_owned(), rendered(about, &keys)?))).collect()
}

/// The keys that the fragments set, as RKE2 reads them.
pub fn fragment_keys(config: &Rke2Config, role: Role) -> BTreeMap<String, Vec<String>> {
    let keys = groups(config, role).into_iter().flat_map(|(_, _, keys)| keys);
    keys.map(|(key, value)| (key, words(&value))).collect()
}

/// A value as a list of words, however it is written.
pub(super) fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(words).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Null => vec![],
        other => vec![other.to_string()],
    }
}

/// The fragment with the keys of the snapshots' bucket.
///
/// # Errors
/// As [`fragments`]; a key that is no text.
pub fn secret_fragment(access: &Secret, secret: &Secret) -> Result<Secret, Failure> {
    let text = |value: &Secret| {
        let text = value.expose_str().map(|text| json!(text.trim()));
        text.ok_or_else(|| Failure::bug("a key of a bucket is no text"))
    };
    let keys = [("etcd-s3-access-key".to_owned(), text(access)?), ("etcd-s3-secret-key".to_owned(), text(secret)?)];
    Ok(Secret::new(rendered("The keys of the bucket for snapshots.", &keys)?))
}

/// The content of `registries.yaml`; `None` where nothing is asked for. `passwords` are by host.
pub fn registries(wanted: &Registries, passwords: &BTreeMap<String, Secret>) -> Option<Secret> {
    if wanted.is_empty() {
        return None;
    }
    let mirrors: BTreeMap<&str, Value> =
        wanted.mirrors.iter().map(|(name, endpoints)| (name.as_str(), json!({ "endpoint": endpoints }))).collect();
    let mut configs = BTreeMap::new();
    for (host, access) in &wanted.access {
        let mut config = json!({});
        if access.ca.is_some() {
            config["tls"] = json!({ "ca_file": format!("{DIR}/{}", ca_name(host)) });
        }
        if let (Some(username), Some(password)) = (&access.username, passwords.get(host)) {
            let password = password.expose_str().unwrap_or_default().trim();
            config["auth"] = json!({ "username": username, "password": password });
        }
        configs.insert(host.as_str(), config);
    }
    let text = format!("# Written by sre-provision.\n{:#}\n", json!({ "mirrors": mirrors, "configs": configs }));
    Some(Secret::new(text))
}

fn rendered(about: &str, keys: &[(String, Value)]) -> Result<String, Failure> {
    let lines = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    tera::Context::from_serialize(&Whole { about, lines })
        .and_then(|told| tera::Tera::one_off(TEMPLATE, &told, false))
        .map(|text| format!("{}\n", text.trim_end()))
        .map_err(|error| Failure::bug("a fragment of RKE2's configuration cannot be written").because(error))
}

fn groups(config: &Rke2Config, role: Role) -> Vec<Group> {
    let node = ("50-sre-node.yaml", "What kubelet and kube-proxy are told, on every node.", node(config));
    let more = ("70-sre-more.yaml", "`rke2.config.more` of the environment file.", more(config, role));
    match role {
        Role::Agent => vec![node, more],
        Role::Server => vec![
            (
                "20-sre-cluster.yaml",
                "What is fixed when the cluster is founded, equal on all servers.",
                cluster(config),
            ),
            ("30-sre-api.yaml", "What the API server is told, equal on all servers.", api(config)),
            ("40-sre-snapshots.yaml", "When snapshots of etcd are taken, and where they go.", snapshots(config)),
            node,
            ("60-sre-arguments.yaml", "Arguments of the control plane, equal on all servers.", arguments(config)),
            more,
        ],
    }
}

/// The keys that have a value.
fn given(keys: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Vec<(String, Value)> {
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn list(words: &[String]) -> Option<Value> {
    (!words.is_empty()).then(|| json!(words))
}

fn cluster(config: &Rke2Config) -> Vec<(String, Value)> {
    given([
        ("cluster-cidr", config.cluster_cidr.map(|cidr| json!(cidr))),
        ("service-cidr", config.service_cidr.map(|cidr| json!(cidr))),
        ("cluster-dns", config.service_cidr.and(config.dns()).map(|address| json!(address))),
        ("cluster-domain", config.cluster_domain.as_ref().map(|domain| json!(domain))),
    ])
}

fn api(config: &Rke2Config) -> Vec<(String, Value)> {
    let file = |name: &str| json!(format!("{DIR}/{name}"));
    given([
        ("ingress-controller", config.ingress_controller.map(|controller| json!(controller.name()))),
        ("audit-policy-file", config.audit_policy.as_ref().map(|_| file(AUDIT_POLICY))),
        ("pod-security-admission-config-file", config.pod_security.as_ref().map(|_| file(POD_SECURITY))),
        ("secrets-encryption-provider", config.secrets_encryption.map(|provider| json!(provider.name()))),
    ])
}

fn snapshots(config: &Rke2Config) -> Vec<(String, Value)> {
    let (snapshots, s3) = (&config.snapshots, config.snapshots.s3.as_ref());
    let text = |value: Option<&String>| value.map(|value| json!(value));
    given([
        ("etcd-snapshot-schedule-cron", text(snapshots.schedule.as_ref())),
        ("etcd-snapshot-retention", snapshots.retention.map(|count| json!(count))),
        ("etcd-s3", s3.map(|_| json!(true))),
        ("etcd-s3-bucket", text(s3.map(|s3| &s3.bucket))),
        ("etcd-s3-region", text(s3.and_then(|s3| s3.region.as_ref()))),
        ("etcd-s3-endpoint", text(s3.and_then(|s3| s3.endpoint.as_ref()))),
        ("etcd-s3-folder", text(s3.and_then(|s3| s3.folder.as_ref()))),
    ])
}

fn node(config: &Rke2Config) -> Vec<(String, Value)> {
    given([
        ("resolv-conf", config.resolv_conf.as_ref().map(|path| json!(path))),
        ("kubelet-arg", list(&config.arguments.kubelet)),
        ("kube-proxy-arg", list(&config.arguments.kube_proxy)),
    ])
}

fn arguments(config: &Rke2Config) -> Vec<(String, Value)> {
    let arguments = &config.arguments;
    given([
        ("kube-apiserver-arg", list(&arguments.kube_apiserver)),
        ("kube-controller-manager-arg", list(&arguments.kube_controller_manager)),
        ("kube-scheduler-arg", list(&arguments.kube_scheduler)),
        ("etcd-arg", list(&arguments.etcd)),
    ])
}

fn more(config: &Rke2Config, role: Role) -> Vec<(String, Value)> {
    let is_for = |key: &str| role == Role::Server || NODE_KEYS.contains(&key);
    config.more.iter().filter(|(key, _)| is_for(key)).map(|(key, value)| (key.clone(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2_config::RegistryAccess;

    fn config() -> Rke2Config {
        Rke2Config {
            service_cidr: Some("10.60.0.0/16".parse().expect("a network")),
            more: BTreeMap::from([
                ("debug".to_owned(), "true".to_owned()),
                ("etcd-expose-metrics".to_owned(), "true".to_owned()),
            ]),
            arguments: crate::rke2_config::Arguments {
                kubelet: vec!["max-pods=200".to_owned()],
                kube_apiserver: vec!["audit-log-maxage=31: \"#\"".to_owned()],
                ..Default::default()
            },
            ..Rke2Config::default()
        }
    }

    #[test]
    fn a_server_gets_what_is_asked_for_and_an_agent_its_share() {
        let server = fragments(&config(), Role::Server).expect("rendered");
        let agent = fragments(&config(), Role::Agent).expect("rendered");

        assert_eq!(
            server.keys().collect::<Vec<_>>(),
            ["20-sre-cluster.yaml", "50-sre-node.yaml", "60-sre-arguments.yaml", "70-sre-more.yaml"]
        );
        assert!(
            server["20-sre-cluster.yaml"].ends_with("\nservice-cidr: \"10.60.0.0/16\"\ncluster-dns: \"10.60.0.10\"\n"),
            "{}",
            server["20-sre-cluster.yaml"]
        );
        assert_eq!(agent.keys().collect::<Vec<_>>(), ["50-sre-node.yaml", "70-sre-more.yaml"]);
        assert!(agent["70-sre-more.yaml"].ends_with("\ndebug: \"true\"\n"), "{}", agent["70-sre-more.yaml"]);
    }

    #[test]
    fn yaml_reads_every_value_back_as_it_was() {
        let server = fragments(&config(), Role::Server).expect("rendered");

        let read: Value = serde_saphyr::from_str(&server["60-sre-arguments.yaml"]).expect("YAML");

        assert_eq!(read, json!({ "kube-apiserver-arg": ["audit-log-maxage=31: \"#\""] }));
    }

    #[test]
    fn nothing_asked_for_is_no_fragment_and_no_registries() {
        assert_eq!(fragments(&Rke2Config::default(), Role::Server).expect("rendered"), BTreeMap::new());
        assert!(registries(&Registries::default(), &BTreeMap::new()).is_none());
    }

    #[test]
    fn a_registry_has_its_mirrors_its_ca_and_its_login() {
        let access = RegistryAccess {
            ca: Some("ca.pem".into()),
            username: Some("puller".to_owned()),
            password: Some("file:x".to_owned()),
        };
        let wanted = Registries {
            mirrors: BTreeMap::from([("docker.io".to_owned(), vec!["https://r.example:5000".to_owned()])]),
            access: BTreeMap::from([("r.example:5000".to_owned(), access)]),
        };
        let passwords = BTreeMap::from([("r.example:5000".to_owned(), Secret::new("p\"w\n"))]);

        let text = registries(&wanted, &passwords).expect("asked for");
        let read: Value = serde_saphyr::from_str(text.expose_str().expect("text")).expect("YAML");

        assert_eq!(
            read,
            json!({
                "mirrors": { "docker.io": { "endpoint": ["https://r.example:5000"] } },
                "configs": { "r.example:5000": {
                    "tls": { "ca_file": "/etc/rancher/rke2/sre-registry-r.example-5000.pem" },
                    "auth": { "username": "puller", "password": "p\"w" },
                } },
            })
        );
    }
}
