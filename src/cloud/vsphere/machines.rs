//! Machines and templates: found by their attributes, cloned, switched and removed.
//!
//! A template is an image; its id is its name, which is unique in the environment's folder. What an image is tells its
//! custom attributes and, from the moment of its making, the JSON in its notes: Packer can write no attributes.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::inventory::Object;
use super::soap::{Fault, Reference, Refused};
use super::xml::{Element, escaped};
use super::{TAG_IMAGE, TAG_MADE_OF, Vsphere, attributes, metadata};
use crate::cloud::{FoundImage, FoundMachine, MachineState, NewMachine, Tags};
use crate::failure::{Exit, Failure};
use crate::vsphere::Size;

/// Where a machine tells its host keys: `vmware-rpctool` writes it there, and only root of the machine may.
pub const HOST_KEYS: &str = "guestinfo.sre.host_keys";

const METADATA: &str = "guestinfo.metadata";

/// What is asked of a machine.
const PATHS: [&str; 10] = [
    "name",
    "parent",
    "config.template",
    "config.annotation",
    "config.createDate",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "runtime.powerState",
    "guest.ipAddress",
    "customValue",
];

/// In notes: the name of the machine or template that they are of. A clone has those of its template, and another name.
const NOTED: &str = "sre:machine";

/// How long a task may take, and how often it is asked for.
const TASK: Duration = Duration::from_secs(30 * 60);
const PAUSE: Duration = Duration::from_millis(500);

/// A machine or template as the vCenter tells of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub reference: Reference,
    pub name: String,
    /// The folder that it lies in.
    pub parent: String,
    pub is_template: bool,
    pub is_on: bool,
    pub address: Option<String>,
    pub size: String,
    /// RFC 3339.
    pub created: String,
    pub tags: Tags,
}

impl Seen {
    fn read(object: &Object, fields: &attributes::Fields) -> Self {
        let memory = object.text("config.hardware.memoryMB").parse::<u32>().unwrap_or_default().div_ceil(1024);
        let size = Size { cpus: object.text("config.hardware.numCPU").parse().unwrap_or_default(), memory_gib: memory };
        let mut tags = noted(object.text("config.annotation"), object.text("name"));
        tags.extend(fields.read(object.children("customValue")));
        Self {
            reference: object.reference.clone(),
            name: object.text("name").to_owned(),
            parent: object.text("parent").to_owned(),
            is_template: object.text("config.template") == "true",
            is_on: object.text("runtime.powerState") == "poweredOn",
            address: Some(object.text("guest.ipAddress")).filter(|address| !address.is_empty()).map(str::to_owned),
            size: size.to_string(),
            created: object.text("config.createDate").to_owned(),
            tags,
        }
    }

    fn machine(self) -> FoundMachine {
        let image = self.tags.get(TAG_MADE_OF).cloned().unwrap_or_default();
        FoundMachine {
            id: self.reference.id,
            state: if self.is_on { MachineState::Running } else { MachineState::Stopped },
            private_address: self.address,
            public_address: None,
            image,
            size: self.size,
            zone: String::new(),
            tags: self.tags,
        }
    }

    fn image(self) -> FoundImage {
        FoundImage {
            id: self.name.clone(),
            name: self.name,
            owner: String::new(),
            created: self.created,
            usable: true,
            tags: self.tags,
            snapshots: vec![],
        }
    }
}

/// What the notes of a machine tell, if they are its own.
fn noted(notes: &str, name: &str) -> Tags {
    let mut tags: Tags = serde_json::from_str(notes).unwrap_or_default();
    if tags.remove(NOTED).is_some_and(|of| of == name) { tags } else { Tags::new() }
}

impl Vsphere {
    /// Every machine and template of the datacenter.
    pub(super) async fn all_machines(&self) -> Result<Vec<Seen>, Failure> {
        let fields = self.fields().await?;
        let objects = self.every("VirtualMachine", &PATHS).await?;
        Ok(objects.iter().map(|object| Seen::read(object, &fields)).collect())
    }

    pub(super) async fn machines_with(&self, tags: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        let all = self.all_machines().await?.into_iter();
        Ok(all.filter(|seen| !seen.is_template && holds(&seen.tags, tags)).map(Seen::machine).collect())
    }

    pub(super) async fn machine_by_id(&self, id: &str) -> Result<Option<FoundMachine>, Failure> {
        let fields = self.fields().await?;
        let objects = self.properties(&[Reference::new("VirtualMachine", id)], &PATHS).await?;
        Ok(objects.first().map(|object| Seen::read(object, &fields).machine()))
    }

    /// Whether the machine with this UUID runs and tells an address.
    pub(super) async fn is_whole(&self, uuid: &str) -> Result<bool, Failure> {
        let search = &self.content().await?.search;
        let arguments =
            format!("<uuid>{}</uuid><vmSearch>true</vmSearch><instanceUuid>false</instanceUuid>", escaped(uuid));
        let answer = self.service.call("FindByUuid", search, &arguments).await;
        let found = answer.map_err(|refused| refused.failure(&format!("looking for the machine `{uuid}`")))?;
        let Some(reference) = found.child("returnval").map(Reference::read) else { return Ok(false) };
        let machine = self.machine_by_id(&reference.id).await?;
        Ok(machine.is_some_and(|one| one.state == MachineState::Running && one.private_address.is_some()))
    }

    pub(super) async fn images_with(&self, tags: &Tags) -> Result<Vec<FoundImage>, Failure> {
        let all = self.all_machines().await?.into_iter().filter(|seen| seen.is_template && holds(&seen.tags, tags));
        let mut images: Vec<FoundImage> = all.map(Seen::image).collect();
        images.sort_by(|one, other| other.created.cmp(&one.created));
        Ok(images)
    }

    /// A template by its name, or by its path below the datacenter's folder of machines.
    pub(super) async fn template(&self, id: &str) -> Result<Option<Seen>, Failure> {
        let at = match id.contains('/') {
            true => self.at(&format!("{}/vm/{id}", self.wanted.datacenter)).await?,
            false => None,
        };
        let mut all = self.all_machines().await?.into_iter();
        Ok(all.find(|seen| seen.is_template && at.as_ref().map_or(seen.name == id, |at| *at == seen.reference)))
    }

    /// A template of this name that was built; not one of the same name that somebody else made.
    pub(super) async fn built_template(&self, name: &str) -> Result<Option<Seen>, Failure> {
        let mut all = self.all_machines().await?.into_iter();
        Ok(all.find(|seen| seen.is_template && seen.name == name && seen.tags.contains_key(TAG_IMAGE)))
    }

    pub(super) async fn image_by_id(&self, id: &str) -> Result<Option<FoundImage>, Failure> {
        Ok(self.template(id).await?.map(|seen| FoundImage { id: id.to_owned(), ..seen.image() }))
    }

    /// Clones an image and switches the clone on; its address and its user's key go along as guestinfo.
    pub(super) async fn start(&self, machine: &NewMachine) -> Result<FoundMachine, Failure> {
        let doing = format!("starting a machine of `{}`", machine.image);
        let Some(template) = self.template(&machine.image).await? else {
            return Err(Failure::new(Exit::Platform, format!("{doing}: there is no such template")));
        };
        self.ensure_fields(machine.tags.keys().map(String::as_str)).await?;
        let size = Size::read(&machine.size).unwrap_or(Size::FOR_IMAGES);
        let address = self.wanted.addresses.for_image(true).map(|address| address.to_string()).unwrap_or_default();
        let mut tags = machine.tags.clone();
        tags.insert(TAG_MADE_OF.to_owned(), machine.image.clone());
        let mut notes = tags.clone();
        notes.insert(NOTED.to_owned(), machine.token.clone());
        let guestinfo = [
            (METADATA, metadata::of(&self.wanted, &machine.token, "image-check", &address)),
            ("guestinfo.userdata", metadata::user_data(&self.wanted, &machine.user, &machine.public_key)),
        ];
        let arguments = clone_arguments(&Order {
            folder: self.folder().await?,
            name: &machine.token,
            pool: self.resource_pool().await?,
            datastore: self.datastore().await?,
            size,
            notes: &json!(notes).to_string(),
            guestinfo: &guestinfo,
        });
        let made = self.task("CloneVM_Task", &template.reference, &arguments, &doing).await?;
        let reference = Reference::read(made.child("result").ok_or_else(|| Failure::bug("a clone has no result"))?);
        self.set_fields(&reference, &tags).await?;
        self.task("PowerOnVM_Task", &reference, "", &doing).await?;
        let found = self.machine_by_id(&reference.id).await?;
        found.ok_or_else(|| Failure::new(Exit::Platform, format!("{doing}: it is gone again")).transient())
    }

    /// What a machine was told at its first boot.
    pub(super) async fn told_metadata(&self, id: &str) -> Result<String, Failure> {
        self.guestinfo(id, METADATA).await
    }

    /// What stands in base64 under a key of a machine's configuration; empty where nothing does.
    async fn guestinfo(&self, id: &str, key: &str) -> Result<String, Failure> {
        let objects = self.properties(&[Reference::new("VirtualMachine", id)], &["config.extraConfig"]).await?;
        let options = objects.first().map(|object| object.children("config.extraConfig")).unwrap_or_default();
        let told = options.iter().find(|option| option.text_at(&["key"]) == key);
        let text = told.and_then(|option| STANDARD.decode(option.text_at(&["value"]).trim()).ok());
        Ok(text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default())
    }

    /// The host keys that the machine told, as a console shows them.
    pub(super) async fn told_host_keys(&self, id: &str) -> Result<String, Failure> {
        let keys = self.guestinfo(id, HOST_KEYS).await?;
        if keys.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("-----BEGIN SSH HOST KEY KEYS-----\n{}\n-----END SSH HOST KEY KEYS-----\n", keys.trim()))
    }

    /// Switches a machine off and removes it with its disks; one that is gone is fine.
    pub(super) async fn remove_machine(&self, id: &str) -> Result<(), Failure> {
        let (reference, doing) = (Reference::new("VirtualMachine", id), format!("removing `{id}`"));
        let Some(seen) = self.machine_by_id(id).await? else { return Ok(()) };
        if seen.state == MachineState::Running {
            let off = self.task("PowerOffVM_Task", &reference, "", &doing).await;
            // It may have switched itself off meanwhile; whether it can go is told by what follows.
            drop(off);
        }
        self.destroy(&reference, &doing).await
    }

    pub(super) async fn destroy(&self, reference: &Reference, doing: &str) -> Result<(), Failure> {
        match self.begun("Destroy_Task", reference, "").await {
            Ok(task) => self.ended(&task, doing).await.map(drop),
            Err(Refused::Fault(fault)) if fault.is_gone() => Ok(()),
            Err(refused) => Err(refused.failure(doing)),
        }
    }

    /// Carries out a task and waits for its end; gives what it tells of itself.
    pub(super) async fn task(
        &self,
        method: &str,
        this: &Reference,
        arguments: &str,
        doing: &str,
    ) -> Result<Element, Failure> {
        let task = self.begun(method, this, arguments).await.map_err(|refused| refused.failure(doing))?;
        self.ended(&task, doing).await
    }

    async fn begun(&self, method: &str, this: &Reference, arguments: &str) -> Result<Reference, Refused> {
        let answer = self.service.call(method, this, arguments).await?;
        Ok(answer.child("returnval").map(Reference::read).unwrap_or_default())
    }

    async fn ended(&self, task: &Reference, doing: &str) -> Result<Element, Failure> {
        let until = Instant::now() + TASK;
        loop {
            let seen = self.properties(std::slice::from_ref(task), &["info"]).await?;
            let info = seen.first().and_then(|object| object.properties.get("info")).cloned().unwrap_or_default();
            match info.text_at(&["state"]) {
                "success" => return Ok(info),
                "error" => return Err(of_task(&info).failure(doing)),
                state if Instant::now() > until => {
                    return Err(
                        Failure::new(Exit::Platform, format!("{doing}: its task is still `{state}`")).transient()
                    );
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// The fault that a task ended with.
fn of_task(info: &Element) -> Fault {
    let error = info.child("error").cloned().unwrap_or_default();
    let kind = error.child("fault").map(|fault| fault.kind.clone()).unwrap_or_default();
    let lacks = error.text_at(&["fault", "privilegeId"]);
    let message = error.text_at(&["localizedMessage"]).to_owned();
    Fault { kind, message: if lacks.is_empty() { message } else { format!("{message} ({lacks})") } }
}

/// Whether `have` holds all of `want`.
pub fn holds(have: &Tags, want: &Tags) -> bool {
    want.iter().all(|(key, value)| have.get(key) == Some(value))
}

struct Order<'a> {
    folder: Reference,
    name: &'a str,
    pool: Reference,
    datastore: Reference,
    size: Size,
    notes: &'a str,
    guestinfo: &'a [(&'a str, String)],
}

fn clone_arguments(order: &Order<'_>) -> String {
    let option = |key: &str, value: &str| {
        format!(
            "<extraConfig xsi:type=\"OptionValue\"><key>{}</key><value xsi:type=\"xsd:string\">{}</value></extraConfig>",
            escaped(key),
            escaped(value)
        )
    };
    let options: String = order
        .guestinfo
        .iter()
        .flat_map(|(key, value)| [option(key, &STANDARD.encode(value)), option(&format!("{key}.encoding"), "base64")])
        .collect();
    format!(
        "{}<name>{}</name><spec><location>{}{}</location><template>false</template><config><annotation>{}</annotation>\
         <numCPUs>{}</numCPUs><memoryMB>{}</memoryMB>{options}</config><powerOn>false</powerOn></spec>",
        order.folder.written("folder"),
        escaped(order.name),
        order.datastore.written("datastore"),
        order.pool.written("pool"),
        escaped(order.notes),
        order.size.cpus,
        u64::from(order.size.memory_gib) * 1024,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::vsphere::xml;

    #[test]
    fn notes_that_a_clone_has_of_its_template_tell_nothing_of_the_clone() {
        let notes = json!({ "sre:environment": "5b1e7c1f", "sre:machine": "dev-base-1" }).to_string();

        assert_eq!(noted(&notes, "dev-base-1"), Tags::from([("sre:environment".to_owned(), "5b1e7c1f".to_owned())]));
        assert_eq!(noted(&notes, "server-1"), Tags::new());
        assert_eq!(noted(r#"{"sre:environment":"5b1e7c1f"}"#, "server-1"), Tags::new());
        assert_eq!(noted("of somebody's hand", "server-1"), Tags::new());
    }

    #[test]
    fn a_task_that_failed_tells_its_fault() {
        let text = r#"<info><state>error</state><error><fault xsi:type="NoDiskSpace"><file/></fault>
            <localizedMessage>Insufficient disk space on datastore 'LocalDS_0'.</localizedMessage></error></info>"#;

        let failure = of_task(&xml::read(text).expect("read")).failure("cloning `server-1`");

        assert_eq!(failure.what(), "cloning `server-1`: there is no room for it");
        assert_eq!(failure.hints(), ["free space in `vsphere.datastore`, or name another one"]);
    }
}
