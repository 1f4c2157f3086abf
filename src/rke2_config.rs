//! What of RKE2's own configuration an environment file may ask for, beyond release, CNI and profile.
//!
//! The JSON Schema is generated from this file, so its doc comments are what users read. `rke2/` turns it into the
//! fragments in `/etc/rancher/rke2/config.yaml.d`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Ipv4Network;

/// RKE2's configuration; what is left out has RKE2's own default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rke2Config {
    /// The addresses of pods; for the life of the cluster.
    #[schemars(with = "Option<Ipv4Network>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_cidr: Option<Ipv4Net>,
    /// The addresses of services; for the life of the cluster.
    #[schemars(with = "Option<Ipv4Network>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cidr: Option<Ipv4Net>,
    /// The domain of services, `cluster.local` by default; for the life of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_domain: Option<String>,
    /// Further names and addresses in the certificate of the API, on every server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_san: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_controller: Option<IngressController>,
    /// An audit policy of the API server: a file in the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_policy: Option<PathBuf>,
    /// A configuration of pod security admission instead of the profile's: a file in the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets_encryption: Option<SecretsEncryption>,
    /// The name servers that pods are given: a file on the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolv_conf: Option<PathBuf>,
    pub snapshots: Snapshots,
    pub arguments: Arguments,
    pub registries: Registries,
    /// Further keys of RKE2's `config.yaml`, by RKE2's own names; those that have a key of their own here are refused.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<String, String>,
    /// What is in the files that are named above, by their name on the nodes; read with the environment file.
    #[serde(skip)]
    pub files: BTreeMap<String, String>,
}

/// A file of the workspace that nodes get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name in `/etc/rancher/rke2`.
    pub name: String,
    /// The key of the environment file that names it.
    pub key: String,
    pub path: PathBuf,
}

/// The names of the policies in `/etc/rancher/rke2`; RKE2 writes files of its own beside them.
pub const AUDIT_POLICY: &str = "sre-audit-policy.yaml";
pub const POD_SECURITY: &str = "sre-pod-security.yaml";

impl Rke2Config {
    /// The default of RKE2 where the file says nothing.
    pub fn pods(&self) -> Ipv4Net {
        self.cluster_cidr.unwrap_or(Ipv4Net::new_assert(Ipv4Addr::new(10, 42, 0, 0), 16))
    }

    pub fn services(&self) -> Ipv4Net {
        self.service_cidr.unwrap_or(Ipv4Net::new_assert(Ipv4Addr::new(10, 43, 0, 0), 16))
    }

    /// The address of the name service in the cluster: the tenth of the services, as in RKE2's default.
    pub fn dns(&self) -> Option<Ipv4Addr> {
        self.services().hosts().nth(9)
    }

    /// The files in the workspace that it names.
    pub fn named_files(&self) -> Vec<NamedFile> {
        let file = |name: &str, key: &str, path: &Option<PathBuf>| {
            let path = path.clone()?;
            Some(NamedFile { name: name.to_owned(), key: format!("rke2.config.{key}"), path })
        };
        let mut files: Vec<NamedFile> = [
            file(AUDIT_POLICY, "audit_policy", &self.audit_policy),
            file(POD_SECURITY, "pod_security", &self.pod_security),
        ]
        .into_iter()
        .flatten()
        .collect();
        let cas = self.registries.access.iter();
        files.extend(
            cas.filter_map(|(host, access)| file(&ca_name(host), &format!("registries.access.{host}.ca"), &access.ca)),
        );
        files
    }
}

/// The name of a registry's CA in `/etc/rancher/rke2`.
pub fn ca_name(host: &str) -> String {
    format!("sre-registry-{}.pem", host.replace(':', "-"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IngressController {
    IngressNginx,
    Traefik,
    None,
}

impl IngressController {
    pub fn name(self) -> &'static str {
        match self {
            Self::IngressNginx => "ingress-nginx",
            Self::Traefik => "traefik",
            Self::None => "none",
        }
    }
}

/// How secrets are encrypted in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretsEncryption {
    /// AES-CBC, which FIPS allows; RKE2's default.
    Aescbc,
    /// XSalsa20 and Poly1305, which FIPS does not allow.
    Secretbox,
}

impl SecretsEncryption {
    pub fn name(self) -> &'static str {
        match self {
            Self::Aescbc => "aescbc",
            Self::Secretbox => "secretbox",
        }
    }
}

/// Snapshots of etcd, which every server takes by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// When, as five fields of cron; `0 */12 * * *` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How many are kept; 5 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<u16>,
    /// Where they are copied to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<SnapshotBucket>,
}

/// A bucket for snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotBucket {
    pub bucket: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Host and port of an S3 that is not AWS's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The access key: `file:PATH`. Without it the nodes' own role is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// The secret key: `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

/// Arguments of components, as `flag=value` without leading dashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arguments {
    /// On every node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubelet: Vec<String>,
    /// On every node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kube_proxy: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kube_apiserver: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kube_controller_manager: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kube_scheduler: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etcd: Vec<String>,
}

/// Where containers' images come from: `registries.yaml` on every node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Registries {
    /// By the name of a registry, or `*` for all: where its images are fetched instead, the first that answers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// By `host` or `host:port`: how it is trusted and logged in to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub access: BTreeMap<String, RegistryAccess>,
}

impl Registries {
    pub fn is_empty(&self) -> bool {
        self.mirrors.is_empty() && self.access.is_empty()
    }
}

/// How a registry is trusted and logged in to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryAccess {
    /// The CA of its certificate: a file in the workspace, which every node gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password: `file:PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}
