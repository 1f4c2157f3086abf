//! The configuration that a server has in effect, and how it differs from the one that another is to get.
//!
//! RKE2 reads `config.yaml`, then the fragments in the order of their names; the last value wins, and `key+` appends. A
//! server that differs in a critical key is refused by the others when it starts; here it is refused before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::fingerprint::Digest;
use crate::rke2::fragment::{SECRET_FRAGMENT, words};
use crate::rke2_keys::{CRITICAL_KEYS, keep_equal};

const FILE: &str = "@sre-file ";
const AGENT_TOKEN: &str = "@sre-agent-token ";

/// What of a configuration must, or should, be equal on all servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    values: BTreeMap<String, Vec<String>>,
    /// Of the token with which agents join.
    pub agent_token: Option<Digest>,
}

/// A key in which two servers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: String,
    pub here: String,
    pub there: String,
    /// RKE2 refuses a server for it.
    pub is_critical: bool,
}

/// A script that shows a node's configuration, without what holds secrets.
pub fn ask_configuration() -> String {
    format!(
        "for file in /etc/rancher/rke2/config.yaml /etc/rancher/rke2/config.yaml.d/*.yaml /etc/rancher/rke2/config.yaml.d/*.yml; do\n\
         \x20 case \"$file\" in */{SECRET_FRAGMENT}) continue ;; esac\n\
         \x20 [ ! -r \"$file\" ] || {{ echo; echo \"{FILE}$file\"; cat \"$file\"; }}\n\
         done\n\
         token=/etc/rancher/rke2/agent-token\n\
         [ ! -r \"$token\" ] || {{ echo; echo \"{AGENT_TOKEN}$(tr -d '\\n' <\"$token\" | sha256sum | cut -d ' ' -f 1)\"; }}\n\
         exit 0"
    )
}

impl Effective {
    /// What a server is to get.
    pub fn wanted(values: BTreeMap<String, Vec<String>>, agent_token: Digest) -> Self {
        let compared = |key: &str| CRITICAL_KEYS.contains(&key) || keep_equal(key);
        Self { values: values.into_iter().filter(|(key, _)| compared(key)).collect(), agent_token: Some(agent_token) }
    }

    /// Reads the answer to [`ask_configuration`].
    ///
    /// # Errors
    /// The file that is no YAML, and why.
    pub fn read(answer: &str) -> Result<Self, String> {
        let mut files: Vec<(&str, String)> = Vec::new();
        let mut agent_token = None;
        for line in answer.lines() {
            if let Some(name) = line.strip_prefix(FILE) {
                files.push((name, String::new()));
            } else if let Some(digest) = line.strip_prefix(AGENT_TOKEN) {
                agent_token = Digest::parse(digest.trim());
            } else if let Some((_, text)) = files.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        }
        // `config.yaml` first, the fragments by their names whatever their endings.
        files.sort_by_key(|(name, _)| (name.contains(".d/"), *name));
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, text) in files {
            let read: Value = serde_saphyr::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
            for (key, value) in read.as_object().into_iter().flatten() {
                match key.strip_suffix('+') {
                    Some(key) => values.entry(key.to_owned()).or_default().extend(words(value)),
                    None => drop(values.insert(key.clone(), words(value))),
                }
            }
        }
        let compared = |key: &str| CRITICAL_KEYS.contains(&key) || keep_equal(key);
        values.retain(|key, _| compared(key));
        Ok(Self { values, agent_token })
    }

    /// In what this differs from the configuration of another server.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let keys: BTreeSet<&String> = self.values.keys().chain(other.values.keys()).collect();
        let mut found: Vec<Difference> = keys
            .into_iter()
            .filter_map(|key| {
                let (here, there) = (self.of(key), other.of(key));
                let is_critical = CRITICAL_KEYS.contains(&key.as_str());
                (here != there).then(|| Difference { key: key.clone(), here, there, is_critical })
            })
            .collect();
        if let (Some(here), Some(there)) = (&self.agent_token, &other.agent_token)
            && here != there
        {
            // A token itself is shown to nobody.
            let shown = |digest: &Digest| format!("one with the fingerprint {}", digest.short());
            let (key, here, there) = ("agent-token".to_owned(), shown(here), shown(there));
            found.push(Difference { key, here, there, is_critical: true });
        }
        found
    }

    /// The value as it is compared: in the order in which it stands only where order matters.
    fn of(&self, key: &str) -> String {
        let default = match key {
            "cluster-cidr" => "10.42.0.0/16",
            "service-cidr" => "10.43.0.0/16",
            "cluster-dns" => "10.43.0.10",
            "cluster-domain" => "cluster.local",
            "egress-selector-mode" => "agent",
            "disable-cloud-controller" | "disable-kube-proxy" => "false",
            "cni" => "canal",
            _ => "nothing",
        };
        let mut words = self.values.get(key).cloned().unwrap_or_default();
        if matches!(key, "tls-san" | "disable") {
            words.sort();
        }
        if words.is_empty() { default.to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "4f1e2d3c4b5a69788796a5b4c3d2e1f04f1e2d3c4b5a69788796a5b4c3d2e1f0";

    fn effective(fragments: &[(&str, &str)]) -> Effective {
        let mut said = format!("\n{FILE}/etc/rancher/rke2/config.yaml\nnode-name: server-1\ntls-san:\n  - b\n  - a\n");
        for (name, text) in fragments {
            said.push_str(&format!("\n{FILE}/etc/rancher/rke2/config.yaml.d/{name}\n{text}\n"));
        }
        Effective::read(&format!("{said}\n{AGENT_TOKEN}{TOKEN}\n")).expect("read")
    }

    #[test]
    fn the_last_fragment_wins_and_a_plus_appends() {
        let one = effective(&[
            ("10-a.yaml", "cluster-cidr: 10.1.0.0/16\ntls-san+: [c]"),
            ("20-b.yml", "cluster-cidr: \"10.2.0.0/16\""),
        ]);

        assert_eq!(one.of("cluster-cidr"), "10.2.0.0/16");
        assert_eq!(one.of("tls-san"), "a, b, c");
        assert!(!one.values.contains_key("node-name"), "what is a node's own is not compared");
    }

    #[test]
    fn a_default_that_is_written_down_differs_from_nothing() {
        let written = effective(&[("10-a.yaml", "cluster-cidr: 10.42.0.0/16\nservice-cidr: 10.43.0.0/16")]);

        assert_eq!(written.differences(&effective(&[])), []);
    }

    #[test]
    fn what_differs_is_told_with_both_values_and_a_token_by_its_fingerprint() {
        let mut here = effective(&[("10-a.yaml", "service-cidr: 10.60.0.0/16\netcd-snapshot-retention: 7")]);
        here.agent_token = Some(Digest::of(b"other"));

        let told: Vec<(String, String, String, bool)> = here
            .differences(&effective(&[]))
            .into_iter()
            .map(|one| (one.key, one.here, one.there, one.is_critical))
            .collect();

        let shown = |digest: &str| format!("one with the fingerprint {digest}");
        let word = str::to_owned;
        assert_eq!(
            told,
            [
                (word("etcd-snapshot-retention"), word("7"), word("nothing"), false),
                (word("service-cidr"), word("10.60.0.0/16"), word("10.43.0.0/16"), true),
                (
                    word("agent-token"),
                    shown(Digest::of(b"other").short()),
                    shown(Digest::parse(TOKEN).expect("a digest").short()),
                    true
                ),
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_yaml_is_named() {
        let why = Effective::read(&format!("{FILE}/etc/rancher/rke2/config.yaml\na: [1\n")).expect_err("refused");

        assert!(why.starts_with("/etc/rancher/rke2/config.yaml: "), "{why}");
    }
}
