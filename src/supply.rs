//! What a bundle of an environment holds beside the RKE2 release, and whose signature counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// What `bundle create` collects beside the RKE2 release. Directories are taken relative to the workspace; each holds a
/// `SHA256SUMS` as `sha256sum` writes it, and only what that names is taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Supply {
    /// Packer's plugins, as `packer plugins install` lays them out; they bring their own checksums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<PathBuf>,
    /// A filesystem mirror of OpenTofu providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<PathBuf>,
    /// Python wheels, Ansible and its collections among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wheels: Option<PathBuf>,
    /// Packages of the nodes, resolved by `dnf` with all that they require beyond the base image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpms: Option<Packages>,
    /// Container images by digest: `registry.example/team/app:1.4@sha256:…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Packaged charts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charts: Option<PathBuf>,
    /// Charts in registries, by digest as images are: `registry.example/charts/app:1.4.0@sha256:…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oci_charts: Vec<String>,
    /// The certificate authority of servers and registries that files come from, beside those of the system, PEM:
    /// `file:PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How registries that images and charts come from are logged in to, by name or address with the port.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<String, Login>,
    /// The ISO of the base image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso: Option<PathBuf>,
    /// What the other side has of its own and a bundle need not bring.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub elsewhere: BTreeSet<Elsewhere>,
    /// The registry that `bundle load` pushes the images into, and that the nodes pull from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
}

impl Environment {
    /// What is pulled from registries: every container image that the environment needs beside those of the RKE2 release,
    /// and charts.
    pub fn pulled(&self) -> Vec<&String> {
        self.bundle.images.iter().chain(&self.load_balancer.image).chain(&self.bundle.oci_charts).collect()
    }
}

/// What stages want and the other side may have without a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Elsewhere {
    /// Ansible, where the program runs.
    Ansible,
    /// Packages of machines that exist: installed there, or in repositories that they reach.
    Packages,
    /// Providers of OpenTofu, where the program runs.
    Providers,
    /// Plugins of Packer, where the program runs.
    Plugins,
}

impl Elsewhere {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ansible => "ansible",
            Self::Packages => "packages",
            Self::Providers => "providers",
            Self::Plugins => "plugins",
        }
    }
}

/// Packages of the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// By name, as `dnf install` takes them.
    pub packages: Vec<String>,
    /// Where they and what they require come from, by name.
    pub repositories: BTreeMap<String, Repository>,
    /// The package database of the base image: a copy of its `/var/lib/rpm`. What is installed there is not taken again.
    pub base: PathBuf,
}

/// A repository of packages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// A URL, or a directory relative to the workspace.
    pub from: String,
    /// Public OpenPGP keys; one of them must have signed each package: `file:PATH`.
    pub keys: Vec<String>,
}

/// How a registry is logged in to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password: `file:PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Speaks HTTP without TLS: for tests only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

/// A registry of container images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Its name or address, with the port where it is not 443.
    pub host: String,
    /// The certificate authority that signed its certificate, PEM: `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password: `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Speaks HTTP without TLS: for tests only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

/// Whose signature counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// Public keys, ECDSA on P-256: `file:PATH` of a PEM file, or what stands between the lines of one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}
