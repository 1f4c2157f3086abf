//! Where an environment on vSphere lives, as its file tells it: a vCenter, what in it is used, and addresses of its own.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Ipv4Network;

/// The vCenter and what of it an environment uses; all of it is there already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vsphere {
    /// The vCenter's name as it stands in its certificate, with `:PORT` where that is not 443.
    pub server: String,
    /// The authority that signed the vCenter's certificate: `file:PATH`, PEM. Without it, what this machine trusts and
    /// what `SSL_CERT_FILE` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    pub datacenter: String,
    /// The compute cluster.
    pub cluster: String,
    /// A resource pool of the cluster; without it the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_pool: Option<String>,
    pub datastore: String,
    /// A storage policy for the nodes and their disks; without it what the datastore has by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_policy: Option<String>,
    /// Whether the nodes boot only what is signed; the template must have EFI firmware.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secure_boot: bool,
    /// The version of the nodes' virtual hardware, 13 to 19; without it that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_version: Option<u8>,
    /// Whether a vCenter tag tells, too, what is the environment's: in a category that is made, and goes, with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tags: bool,
    /// Folder of machines, below the datacenter's: templates lie in it, and each environment's folder.
    pub folder: String,
    /// Whether more may be promised here than there is: free room in datastore and cluster is not asked for then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overcommit: bool,
    /// The port group of the nodes.
    pub network: String,
    /// What a machine calls its network card, such as `ens192`; without it the names that are usual on vSphere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    pub addresses: Addresses,
}

/// Addresses that nothing else hands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// The port group's network.
    #[schemars(with = "Ipv4Network")]
    pub cidr: Ipv4Net,
    /// The first address for nodes.
    pub first: String,
    /// The last address for nodes. The one before it and itself are kept for machines that images are built and checked on.
    pub last: String,
    pub gateway: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<String>,
    /// The domain of the nodes' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl Addresses {
    /// How many addresses at the end are kept for images.
    pub const FOR_IMAGES: usize = 2;

    /// Every address from the first to the last, those for images included; none where one cannot be read.
    pub fn all(&self) -> Vec<Ipv4Addr> {
        let bound = |text: &str| text.parse::<Ipv4Addr>().ok().map(u32::from);
        match (bound(&self.first), bound(&self.last)) {
            (Some(first), Some(last)) => (first..=last).take(65_536).map(Ipv4Addr::from).collect(),
            (None, _) | (_, None) => vec![],
        }
    }

    /// The addresses for nodes.
    pub fn for_nodes(&self) -> Vec<Ipv4Addr> {
        let mut all = self.all();
        all.truncate(all.len().saturating_sub(Self::FOR_IMAGES));
        all
    }

    /// The address of the machine that an image is built on, or that it is checked on.
    pub fn for_image(&self, is_check: bool) -> Option<Ipv4Addr> {
        let all = self.all();
        all.iter().rev().nth(usize::from(is_check)).copied()
    }
}

/// A machine's size: `4x16` is 4 CPUs and 16 GiB of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub cpus: u32,
    pub memory_gib: u32,
}

impl Size {
    /// What images are built on, unless the file says another.
    pub const FOR_IMAGES: Self = Self { cpus: 2, memory_gib: 4 };

    pub fn read(text: &str) -> Option<Self> {
        let (cpus, memory_gib) = text.split_once('x')?;
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| (1..=4096).contains(number));
        Some(Self { cpus: number(cpus)?, memory_gib: number(memory_gib)? })
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.cpus, self.memory_gib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(first: &str, last: &str) -> Addresses {
        let text = format!(r#"{{"cidr":"10.98.1.0/24","first":"{first}","last":"{last}","gateway":"10.98.1.1"}}"#);
        serde_json::from_str(&text).expect("addresses")
    }

    #[test]
    fn the_last_two_addresses_are_kept_for_images() {
        let addresses = addresses("10.98.1.10", "10.98.1.14");

        assert_eq!(addresses.for_nodes(), [10, 11, 12].map(|last| Ipv4Addr::new(10, 98, 1, last)));
        assert_eq!(addresses.for_image(false), Some(Ipv4Addr::new(10, 98, 1, 14)));
        assert_eq!(addresses.for_image(true), Some(Ipv4Addr::new(10, 98, 1, 13)));
    }

    #[test]
    fn a_size_is_cpus_and_memory() {
        assert_eq!(Size::read("4x16"), Some(Size { cpus: 4, memory_gib: 16 }));
        assert_eq!(Size::read("4x16").map(|size| size.to_string()).as_deref(), Some("4x16"));
        assert_eq!(["4", "0x16", "4xx16", "m6i.large"].map(Size::read), [None; 4]);
    }
}
