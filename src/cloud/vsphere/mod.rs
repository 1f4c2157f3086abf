//! vSphere: one vCenter, spoken to in SOAP.
//!
//! What AWS tells by tags is told here by custom attributes, and of a machine that Packer builds by its notes. There are no
//! security groups, no zones and no target groups. Removed is only what carries the environment's attribute.
//!
//! # Why
//!
//! 2026-11-30: the REST service has no privileges and, before 7.0, no machines; the crate that speaks all of SOAP is larger
//! than the rest of this program. The dozen methods that are needed are written here.

mod attributes;
mod inventory;
mod machines;
pub mod metadata;
mod policies;
mod preflight;
mod room;
mod rules;
mod soap;
mod tags;
mod things;
mod xml;

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::cloud::{
    Account, BuildNetwork, Candidate, Cloud, FoundBalancer, FoundImage, FoundMachine, Need, NewMachine, Tags,
    TargetHealth, Thing,
};
use crate::environment;
use crate::failure::Failure;
use crate::identity::{
    TAG_BUILD, TAG_CLASS, TAG_CREATED_BY, TAG_ENVIRONMENT, TAG_EXPIRES, TAG_FINGERPRINT, TAG_IMAGE, TAG_NAME, TAG_NODE,
    TAG_PARENT, TAG_RKE2, TAG_STATE,
};

pub use preflight::PRIVILEGES;
pub use soap::Credentials;

/// The attribute that tells which image a machine was made of.
pub const TAG_MADE_OF: &str = "sre:made-of";

/// Every attribute that is set somewhere, for who defines them beforehand.
pub const ATTRIBUTES: [&str; 13] = [
    TAG_BUILD,
    TAG_CLASS,
    TAG_CREATED_BY,
    TAG_ENVIRONMENT,
    TAG_EXPIRES,
    TAG_FINGERPRINT,
    TAG_IMAGE,
    TAG_MADE_OF,
    TAG_NAME,
    TAG_NODE,
    TAG_PARENT,
    TAG_RKE2,
    TAG_STATE,
];

/// One datacenter of a vCenter.
#[derive(Debug)]
pub struct Vsphere {
    service: soap::Service,
    wanted: environment::Vsphere,
    content: OnceCell<inventory::Content>,
}

impl Vsphere {
    /// Prepares a client; asks the vCenter nothing yet. `ca` is the file with its authority.
    ///
    /// # Errors
    /// Exit 4: the authority cannot be read.
    pub fn connect(
        wanted: &environment::Vsphere,
        ca: Option<&Path>,
        credentials: Credentials,
    ) -> Result<Box<dyn Cloud>, Failure> {
        let service = soap::Service::new(&wanted.server, ca, credentials)?;
        Ok(Box::new(Self { service, wanted: wanted.clone(), content: OnceCell::new() }))
    }
}

/// A stage that asks this does not belong on vSphere.
fn none<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::bug(format!("vSphere has no {what}")))
}

#[async_trait]
impl Cloud for Vsphere {
    async fn account(&self) -> Result<Account, Failure> {
        self.checked_account().await
    }

    /// The owner is nobody's: a template has none.
    async fn source_image(&self, _: &str, name: &str) -> Result<Option<FoundImage>, Failure> {
        self.image_by_id(name).await
    }

    async fn image(&self, id: &str) -> Result<Option<FoundImage>, Failure> {
        self.image_by_id(id).await
    }

    async fn own_images(&self, tags: &Tags) -> Result<Vec<FoundImage>, Failure> {
        self.images_with(tags).await
    }

    /// `ids` are names of templates, or ids of machines and folders. What a template's notes tell stands in its attributes
    /// from then on, too.
    async fn tag(&self, ids: &[String], tags: &Tags) -> Result<(), Failure> {
        for id in ids {
            match self.template(id).await? {
                Some(mut seen) => {
                    seen.tags.extend(tags.clone());
                    self.set_fields(&seen.reference, &seen.tags).await?;
                }
                None => self.set_fields(&things::reference(id), tags).await?,
            }
        }
        Ok(())
    }

    async fn room(&self, need: &Need) -> Result<(), Failure> {
        self.has_room(need).await
    }

    /// The port group of the nodes; what is made in it can carry its attributes from now on.
    async fn build_network(&self, tags: &Tags, _: &[String]) -> Result<BuildNetwork, Failure> {
        self.ensure_fields(tags.keys().map(String::as_str).chain(ATTRIBUTES)).await?;
        self.port_group().await?;
        Ok(BuildNetwork {
            vpc: self.wanted.folder.clone(),
            subnet: self.wanted.network.clone(),
            security_group: String::new(),
            public: false,
        })
    }

    async fn build_group(&self, _: &str, _: &Tags, _: &[String]) -> Result<String, Failure> {
        none("security groups")
    }

    async fn start_machine(&self, machine: &NewMachine) -> Result<FoundMachine, Failure> {
        self.start(machine).await
    }

    async fn machines(&self, tags: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        self.machines_with(tags).await
    }

    async fn machine(&self, id: &str) -> Result<Option<FoundMachine>, Failure> {
        self.machine_by_id(id).await
    }

    /// The host keys that the machine told through its guestinfo, in the form in which a console does.
    async fn console(&self, id: &str) -> Result<String, Failure> {
        self.told_host_keys(id).await
    }

    async fn zones(&self) -> Result<Vec<String>, Failure> {
        Ok(vec![self.wanted.cluster.clone()])
    }

    /// The environment's folder, by its path below the datacenter's, and the port group by its name.
    async fn existing_networks(&self, folder: &str, parts: &[String]) -> Result<BTreeSet<String>, Failure> {
        let mut found = BTreeSet::new();
        let places = parts.iter().map(|part| ("network", part.as_str())).chain([("vm", folder)]);
        for (root, name) in places {
            if self.at(&format!("{}/{root}/{name}", self.wanted.datacenter)).await?.is_some() {
                found.insert(name.to_owned());
            }
        }
        Ok(found)
    }

    async fn load_balancer(&self, _: &str) -> Result<Option<FoundBalancer>, Failure> {
        none("load balancers")
    }

    async fn register(&self, _: &str, _: &str) -> Result<(), Failure> {
        none("target groups")
    }

    async fn deregister(&self, _: &str, _: &str) -> Result<(), Failure> {
        none("target groups")
    }

    async fn targets(&self, _: &str) -> Result<Vec<TargetHealth>, Failure> {
        Ok(vec![])
    }

    async fn things(&self, tags: &Tags) -> Result<Vec<Thing>, Failure> {
        self.everything(tags).await
    }

    async fn remove(&self, thing: &Thing) -> Result<(), Failure> {
        self.remove_thing(thing).await
    }

    async fn untie(&self, _: &Tags) -> Result<(), Failure> {
        Ok(())
    }

    async fn candidates(&self, name: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        self.environments(name).await
    }

    /// By inventory path: it is what the provider imports by, and the folder is the environment's own.
    async fn find_resource(&self, resource_type: &str, values: &Value) -> Result<Option<String>, Failure> {
        let text = |key: &str| values[key].as_str().unwrap_or_default();
        let below = match resource_type {
            "vsphere_folder" => text("path").to_owned(),
            "vsphere_virtual_machine" => format!("{}/{}", text("folder"), text("name")),
            // The provider imports a category by its name, and a tag by both names.
            "vsphere_tag_category" => return self.category(text("name")).await,
            "vsphere_tag" => return self.tag_of(text("category_id"), text("name")).await,
            _ => return Ok(None),
        };
        let path = format!("{}/vm/{below}", self.wanted.datacenter);
        Ok(self.at(&path).await?.map(|_| format!("/{path}")))
    }

    /// A machine that runs and tells its address, and a folder that is there: what they lack is set where they are. What
    /// else an apply left half made is made anew.
    async fn is_healthy(&self, resource_type: &str, id: &str) -> Result<bool, Failure> {
        match resource_type {
            "vsphere_virtual_machine" => self.is_whole(id).await,
            "vsphere_folder" => {
                let folder = soap::Reference::new("Folder", id);
                Ok(!self.properties(&[folder], &["name"]).await?.is_empty())
            }
            _ => Ok(false),
        }
    }
}
