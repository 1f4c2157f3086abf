//! Looks at the vCenter's inventory: objects by their path, properties of objects, everything of a type.

use std::collections::BTreeMap;

use super::Vsphere;
use super::soap::{Reference, Refused};
use super::xml::{Element, escaped};
use crate::failure::{Exit, Failure};

/// How many objects are told in one answer.
const AT_ONCE: usize = 500;

/// What of the vCenter serves us.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub properties: Reference,
    pub views: Reference,
    pub search: Reference,
    pub fields: Reference,
    pub rights: Reference,
    /// What everything lies in.
    pub root: Reference,
    /// `8.0.2`.
    pub version: String,
    /// `VirtualCenter`, or `HostAgent` of a single host.
    pub kind: String,
    /// Its id, which no other vCenter has.
    pub id: String,
}

impl Content {
    pub fn read(answer: &Element) -> Self {
        let content = answer.child("returnval").cloned().unwrap_or_default();
        let reference = |name: &str| content.child(name).map(Reference::read).unwrap_or_default();
        let about = |name: &str| content.text_at(&["about", name]).to_owned();
        Self {
            properties: reference("propertyCollector"),
            views: reference("viewManager"),
            search: reference("searchIndex"),
            fields: reference("customFieldsManager"),
            rights: reference("authorizationManager"),
            root: reference("rootFolder"),
            version: about("version"),
            kind: about("apiType"),
            id: about("instanceUuid"),
        }
    }
}

/// An object with the properties that were asked for, by their paths.
#[derive(Clone, Debug, Default)]
pub struct Object {
    pub reference: Reference,
    pub properties: BTreeMap<String, Element>,
}

impl Object {
    pub fn read(element: &Element) -> Self {
        let set = element
            .all("propSet")
            .filter_map(|set| Some((set.text_at(&["name"]).to_owned(), set.child("val")?.clone())));
        Self { reference: element.child("obj").map(Reference::read).unwrap_or_default(), properties: set.collect() }
    }

    pub fn text(&self, path: &str) -> &str {
        self.properties.get(path).map_or("", |value| value.text.as_str())
    }

    pub fn children(&self, path: &str) -> &[Element] {
        self.properties.get(path).map_or(&[], |value| &value.children)
    }
}

impl Vsphere {
    pub(super) async fn content(&self) -> Result<&Content, Failure> {
        let asked = async {
            let instance = Reference::new("ServiceInstance", "ServiceInstance");
            let answer = self.service.ask("RetrieveServiceContent", &instance, "").await;
            answer
                .map(|answer| Content::read(&answer))
                .map_err(|refused| refused.failure("asking the vCenter what it is"))
        };
        self.content.get_or_try_init(|| asked).await
    }

    /// What is at a path such as `DC0/host/DC0_C0`.
    pub(super) async fn at(&self, path: &str) -> Result<Option<Reference>, Failure> {
        let search = &self.content().await?.search;
        let arguments = format!("<inventoryPath>{}</inventoryPath>", escaped(path));
        let doing = format!("looking for `{path}`");
        let answer = self.service.call("FindByInventoryPath", search, &arguments).await;
        let found = answer.map_err(|refused| refused.failure(&doing))?;
        Ok(found.child("returnval").map(Reference::read))
    }

    /// Properties of these objects; one that is gone is left out.
    pub(super) async fn properties(&self, of: &[Reference], paths: &[&str]) -> Result<Vec<Object>, Failure> {
        let mut found = vec![];
        for one in of {
            let set = format!("<objectSet>{}<skip>false</skip></objectSet>", one.written("obj"));
            match self.retrieve(&one.kind, paths, &set).await {
                Ok(objects) => found.extend(objects),
                Err(Refused::Fault(fault)) if fault.is_gone() => {}
                Err(refused) => return Err(refused.failure(&format!("looking at `{}`", one.id))),
            }
        }
        Ok(found)
    }

    /// Every object of a type in the datacenter, with these properties.
    pub(super) async fn every(&self, kind: &str, paths: &[&str]) -> Result<Vec<Object>, Failure> {
        let doing = format!("listing every {kind}");
        let datacenter = self.datacenter().await?;
        let views = &self.content().await?.views;
        let arguments = format!("{}<type>{kind}</type><recursive>true</recursive>", datacenter.written("container"));
        let made = self.service.call("CreateContainerView", views, &arguments).await;
        let made = made.map_err(|refused| refused.failure(&doing))?;
        let Some(view) = made.child("returnval").map(Reference::read) else {
            return Err(Failure::new(Exit::Platform, format!("{doing}: the vCenter gave no view")));
        };
        let set = format!(
            "<objectSet>{}<skip>true</skip><selectSet xsi:type=\"TraversalSpec\"><name>view</name>\
             <type>ContainerView</type><path>view</path><skip>false</skip></selectSet></objectSet>",
            view.written("obj")
        );
        let objects = self.retrieve(kind, paths, &set).await.map_err(|refused| refused.failure(&doing));
        // One that stays goes with the session.
        let _ = self.service.call("DestroyView", &view, "").await;
        objects
    }

    async fn retrieve(&self, kind: &str, paths: &[&str], set: &str) -> Result<Vec<Object>, Refused> {
        let collector = &self.content().await.map_err(Refused::Failure)?.properties;
        let wanted: String = paths.iter().map(|path| format!("<pathSet>{path}</pathSet>")).collect();
        let arguments = format!(
            "<specSet><propSet><type>{kind}</type><all>false</all>{wanted}</propSet>{set}</specSet>\
             <options><maxObjects>{AT_ONCE}</maxObjects></options>"
        );
        let mut answer = self.service.call("RetrievePropertiesEx", collector, &arguments).await?;
        let mut objects = vec![];
        loop {
            let Some(part) = answer.child("returnval") else { return Ok(objects) };
            objects.extend(part.all("objects").map(Object::read));
            let token = part.text_at(&["token"]);
            if token.is_empty() {
                return Ok(objects);
            }
            let more = format!("<token>{}</token>", escaped(token));
            answer = self.service.call("ContinueRetrievePropertiesEx", collector, &more).await?;
        }
    }

    /// The datacenter of the environment.
    pub(super) async fn datacenter(&self) -> Result<Reference, Failure> {
        self.named("vsphere.datacenter", "datacenter", &self.wanted.datacenter, &self.wanted.datacenter).await
    }

    /// The folder that the environment's file names.
    pub(super) async fn folder(&self) -> Result<Reference, Failure> {
        let path = format!("{}/vm/{}", self.wanted.datacenter, self.wanted.folder);
        self.named("vsphere.folder", "folder of machines", &self.wanted.folder, &path).await
    }

    pub(super) async fn resource_pool(&self) -> Result<Reference, Failure> {
        let pool = self.wanted.resource_pool.as_ref().map(|pool| format!("/{pool}")).unwrap_or_default();
        let path = format!("{}/host/{}/Resources{pool}", self.wanted.datacenter, self.wanted.cluster);
        match &self.wanted.resource_pool {
            Some(pool) => self.named("vsphere.resource_pool", "resource pool", pool, &path).await,
            None => self.named("vsphere.cluster", "cluster", &self.wanted.cluster, &path).await,
        }
    }

    pub(super) async fn datastore(&self) -> Result<Reference, Failure> {
        let path = format!("{}/datastore/{}", self.wanted.datacenter, self.wanted.datastore);
        self.named("vsphere.datastore", "datastore", &self.wanted.datastore, &path).await
    }

    pub(super) async fn port_group(&self) -> Result<Reference, Failure> {
        let path = format!("{}/network/{}", self.wanted.datacenter, self.wanted.network);
        self.named("vsphere.network", "port group", &self.wanted.network, &path).await
    }

    /// What the file names under `key`.
    async fn named(&self, key: &str, what: &str, name: &str, path: &str) -> Result<Reference, Failure> {
        let why = || format!("nothing is at `/{path}`, or this account may not see it");
        self.at(path).await?.ok_or_else(|| not_there(key, what, name, &why()))
    }
}

/// Something that the file names under `key` is not in the vCenter.
pub fn not_there(key: &str, what: &str, name: &str, why: &str) -> Failure {
    Failure::new(Exit::Environment, format!("{key}: the vCenter has no {what} `{name}`"))
        .because(why)
        .hint(format!("correct `{key}`, or give the account the right to see it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::vsphere::xml;

    #[test]
    fn an_object_has_the_properties_that_were_asked_for() {
        let text = r#"<objects><obj type="VirtualMachine">vm-57</obj>
            <propSet><name>name</name><val xsi:type="xsd:string">rocky9-base</val></propSet>
            <propSet><name>config.template</name><val xsi:type="xsd:boolean">true</val></propSet></objects>"#;

        let object = Object::read(&xml::read(text).expect("read"));

        assert_eq!(object.reference, Reference::new("VirtualMachine", "vm-57"));
        assert_eq!(
            (object.text("name"), object.text("config.template"), object.text("none")),
            ("rocky9-base", "true", "")
        );
    }
}
