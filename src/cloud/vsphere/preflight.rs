//! What must hold before anything is made: it is a vCenter, what the file names is there, and the account may do what we do.

use std::collections::BTreeMap;

use super::inventory::not_there;
use super::soap::Reference;
use super::xml::{Element, escaped};
use super::{ATTRIBUTES, Vsphere};
use crate::cloud::Account;
use crate::failure::{Class, Exit, Failure};

/// What an account needs, by what it needs it on; on the vCenter itself only what is listed beside it.
pub const PRIVILEGES: [(&str, &[&str]); 4] = [
    (
        "folder",
        &[
            "Folder.Create",
            "Folder.Delete",
            "Global.SetCustomField",
            "VirtualMachine.Config.AddNewDisk",
            "VirtualMachine.Config.AdvancedConfig",
            // Of notes, which Packer and we write, and of the card of a clone, which the provider puts into the port group.
            "VirtualMachine.Config.Annotation",
            "VirtualMachine.Config.CPUCount",
            "VirtualMachine.Config.DiskExtend",
            "VirtualMachine.Config.EditDevice",
            "VirtualMachine.Config.Memory",
            // The provider writes shares and limits with every change of CPUs or memory.
            "VirtualMachine.Config.Resource",
            "VirtualMachine.Config.Settings",
            "VirtualMachine.Interact.PowerOff",
            "VirtualMachine.Interact.PowerOn",
            "VirtualMachine.Inventory.CreateFromExisting",
            "VirtualMachine.Inventory.Delete",
            "VirtualMachine.Provisioning.Clone",
            "VirtualMachine.Provisioning.DeployTemplate",
            "VirtualMachine.Provisioning.MarkAsTemplate",
        ],
    ),
    ("datastore", &["Datastore.AllocateSpace", "Datastore.FileManagement"]),
    ("resource pool", &["Resource.AssignVMToPool"]),
    ("network", &["Network.Assign"]),
];

/// On the folder, where `vsphere.hardware_version` raises that of the template.
const TO_RAISE: [&str; 1] = ["VirtualMachine.Config.UpgradeVirtualHardware"];

/// On the cluster, where a rule keeps several servers apart.
const TO_KEEP_APART: [&str; 1] = ["Host.Inventory.EditCluster"];

/// On the vCenter, to see `vsphere.storage_policy`.
const TO_SEE_POLICIES: [&str; 1] = ["StorageProfile.View"];

/// On the vCenter, as long as one of our custom attributes is not defined there.
pub const TO_DEFINE: [&str; 1] = ["Global.ManageCustomFields"];

/// On the vCenter, where `vsphere.tags` asks for tags.
pub const TO_TAG: [&str; 5] = [
    "InventoryService.Tagging.AttachTag",
    "InventoryService.Tagging.CreateCategory",
    "InventoryService.Tagging.CreateTag",
    "InventoryService.Tagging.DeleteCategory",
    "InventoryService.Tagging.DeleteTag",
];

impl Vsphere {
    pub(super) async fn checked_account(&self) -> Result<Account, Failure> {
        let content = self.content().await?;
        if content.kind != "VirtualCenter" {
            return Err(Failure::new(
                Exit::Environment,
                format!("vsphere.server: `{}` is no vCenter", self.wanted.server),
            )
            .because(format!("it says that it is `{}`, version {}", content.kind, content.version))
            .hint("name the vCenter that manages the hosts in `vsphere.server`"));
        }
        self.datacenter().await?;
        let objects = [
            ("folder", self.folder().await?),
            ("datastore", self.datastore().await?),
            ("resource pool", self.resource_pool().await?),
            ("network", self.port_group().await?),
        ];
        let fields = self.fields().await?;
        fields.check(ATTRIBUTES.into_iter())?;
        let mut on_all: Vec<&str> = vec![];
        on_all.extend(TO_DEFINE.iter().filter(|_| !fields.has_all(&ATTRIBUTES)));
        on_all.extend(TO_TAG.iter().filter(|_| self.wanted.tags));
        let of = |what: &str| PRIVILEGES.iter().find(|(of, _)| *of == what).map_or(vec![], |(_, all)| all.to_vec());
        let mut wanted: Vec<(&str, Reference, Vec<&str>)> =
            objects.into_iter().map(|(what, object)| (what, object, of(what))).collect();
        wanted.push(("vCenter", content.root.clone(), on_all));
        self.check_privileges(&wanted).await?;
        Ok(Account {
            id: content.id.clone(),
            region: self.wanted.datacenter.clone(),
            principal: self.service.user().to_owned(),
        })
    }

    /// What is asked only of who makes nodes, so that nodes go though a policy has gone: whether this account may make them
    /// as the file wants them, and whether the storage policy is there.
    pub(super) async fn check_making(&self, kept_apart: bool) -> Result<(), Failure> {
        let mut wanted: Vec<(&str, Reference, Vec<&str>)> = vec![];
        if self.wanted.hardware_version.is_some() {
            wanted.push(("folder", self.folder().await?, TO_RAISE.to_vec()));
        }
        if let Some(cluster) = self.cluster().await?.filter(|_| kept_apart) {
            wanted.push(("cluster", cluster, TO_KEEP_APART.to_vec()));
        }
        if self.wanted.storage_policy.is_some() {
            wanted.push(("vCenter", self.content().await?.root.clone(), TO_SEE_POLICIES.to_vec()));
        }
        self.check_privileges(&wanted).await?;
        self.check_policy().await
    }

    /// Whether the storage policy is there that the file names.
    async fn check_policy(&self) -> Result<(), Failure> {
        let Some(wanted) = &self.wanted.storage_policy else { return Ok(()) };
        let policies = self.policies().await?;
        if policies.contains(wanted) {
            return Ok(());
        }
        let why = format!("this account sees {}", listed(&policies));
        Err(not_there("vsphere.storage_policy", "storage policy", wanted, &why))
    }

    /// Tells every privilege that the account lacks at once, by object.
    async fn check_privileges(&self, objects: &[(&str, Reference, Vec<&str>)]) -> Result<(), Failure> {
        let rights = &self.content().await?.rights;
        let mut lacking = vec![];
        for (what, object, privileges) in objects.iter().filter(|(_, _, privileges)| !privileges.is_empty()) {
            let named: String = privileges.iter().map(|one| format!("<privId>{one}</privId>")).collect();
            let arguments =
                format!("{}<userName>{}</userName>{named}", object.written("entities"), escaped(self.service.user()));
            let answer = match self.service.call("HasUserPrivilegeOnEntities", rights, &arguments).await {
                Ok(answer) => answer,
                // A vCenter that does not tell this to everybody refuses what is lacked when it is needed.
                Err(refused) if refused.is("NoPermission") || refused.is("NotSupported") => continue,
                Err(refused) => return Err(refused.failure(&format!("asking for the rights on the {what}"))),
            };
            let lacks = lacked(&answer);
            if !lacks.is_empty() {
                lacking.push((*what, lacks));
            }
        }
        refused(&lacking)
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        _ => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

/// The privileges that are not granted, of one answer.
fn lacked(answer: &Element) -> Vec<String> {
    let told: BTreeMap<String, bool> = answer
        .all("returnval")
        .flat_map(|entity| entity.all("privAvailability"))
        .map(|one| (one.text_at(&["privId"]).to_owned(), one.text_at(&["isGranted"]) == "true"))
        .collect();
    told.into_iter().filter(|(_, granted)| !granted).map(|(name, _)| name).collect()
}

fn refused(lacking: &[(&str, Vec<String>)]) -> Result<(), Failure> {
    if lacking.is_empty() {
        return Ok(());
    }
    let count: usize = lacking.iter().map(|(_, lacks)| lacks.len()).sum();
    let failure = Failure::new(
        Exit::Missing,
        format!("this account lacks {count} privilege{} in the vCenter", if count == 1 { "" } else { "s" }),
    )
    .class(Class::NeedsPerson)
    .hint("give them to its role, on the object that is named and below: docs/vsphere.md");
    Err(lacking
        .iter()
        .fold(failure, |failure, (what, lacks)| failure.because(format!("on the {what}: {}", lacks.join(", ")))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::vsphere::xml;

    #[test]
    fn every_privilege_that_is_lacked_is_named_by_its_object() {
        let answer = xml::read(
            "<R><returnval><entity>group-v3</entity><privAvailability><privId>Folder.Create</privId><isGranted>false</isGranted></privAvailability>\
             <privAvailability><privId>Folder.Delete</privId><isGranted>true</isGranted></privAvailability></returnval></R>",
        );

        let lacks = lacked(&answer.expect("read"));
        let failure =
            refused(&[("folder", lacks), ("network", vec!["Network.Assign".to_owned()])]).expect_err("refused");

        assert_eq!(
            failure.to_string(),
            "this account lacks 2 privileges in the vCenter: on the folder: Folder.Create: on the network: Network.Assign"
        );
    }
}
