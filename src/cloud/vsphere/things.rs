//! Everything of an environment, by its custom attributes: machines, templates, folders.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Vsphere;
use super::machines::{Seen, holds};
use super::rules::short_id;
use super::soap::Reference;
use crate::cloud::{Candidate, Tags, Thing, ThingKind, Whose};
use crate::failure::{Class, Exit, Failure};
use crate::identity::{TAG_CLASS, TAG_CREATED_BY, TAG_ENVIRONMENT, TAG_EXPIRES, TAG_NAME};

/// A folder of machines with its attributes.
struct Folder {
    id: String,
    name: String,
    tags: Tags,
}

impl Vsphere {
    pub(super) async fn everything(&self, tags: &Tags) -> Result<Vec<Thing>, Failure> {
        let tagged = self.tagged(tags).await?;
        let is_ours = |folder: &Folder| holds(&folder.tags, tags) || tagged.carriers.contains(&folder.id);
        let folders: Vec<Folder> = self.folders().await?.into_iter().filter(is_ours).collect();
        let mut things = vec![];
        for seen in self.all_machines().await? {
            if holds(&seen.tags, tags) || tagged.carriers.contains(&seen.reference.id) {
                things.push(thing(seen, Whose::Ours));
            } else if folders.iter().any(|folder| folder.id == seen.parent) {
                let whose = self.whose(&seen, tags).await?;
                things.push(thing(seen, whose));
            }
        }
        things.extend(self.rules_of(tags).await?);
        things.extend(folders.into_iter().map(|folder| Thing {
            kind: ThingKind::Folder,
            id: folder.id,
            name: folder.name,
            part_of: None,
            whose: Whose::Ours,
        }));
        things.extend(tagged.things);
        Ok(things)
    }

    /// Whose a machine is that lies in the environment's folder without its attribute: a clone that was broken off before it
    /// got one knows by its guestinfo which node it was to be.
    async fn whose(&self, seen: &Seen, tags: &Tags) -> Result<Whose, Failure> {
        let told = self.told_metadata(&seen.reference.id).await?;
        Ok(match (seen.tags.get(TAG_ENVIRONMENT), short_id(tags)) {
            (None, Some(short)) if is_broken_off(&told, &short) => Whose::Unmarked,
            (Some(other), _) => Whose::Foreign(format!("it is of the environment `{other}`")),
            (None, _) => {
                Whose::Foreign("it lies in the folder, and nothing tells that it is of the environment".to_owned())
            }
        })
    }

    async fn folders(&self) -> Result<Vec<Folder>, Failure> {
        let fields = self.fields().await?;
        let objects = self.every("Folder", &["name", "customValue"]).await?;
        let read = |object: &super::inventory::Object| Folder {
            id: object.reference.id.clone(),
            name: object.text("name").to_owned(),
            tags: fields.read(object.children("customValue")),
        };
        Ok(objects.iter().map(read).collect())
    }

    /// Removes one thing. A folder goes only when it is empty: the vCenter would remove with it what lies in it.
    pub(super) async fn remove_thing(&self, thing: &Thing) -> Result<(), Failure> {
        match thing.kind {
            ThingKind::Machine => self.remove_machine(&thing.id).await,
            ThingKind::Image => match self.built_template(&thing.id).await? {
                Some(seen) => self.remove_machine(&seen.reference.id).await,
                None => Ok(()),
            },
            ThingKind::Tag | ThingKind::TagCategory => self.remove_tag(thing).await,
            ThingKind::Rule => self.remove_rule(&thing.id, &thing.name).await,
            ThingKind::Folder => self.remove_folder(&thing.id, &thing.name).await,
            kind => Err(Failure::bug(format!("vSphere has no {}", kind.name()))),
        }
    }

    async fn remove_folder(&self, id: &str, name: &str) -> Result<(), Failure> {
        let folder = Reference::new("Folder", id);
        let doing = format!("removing the folder `{name}`");
        let seen = self.properties(std::slice::from_ref(&folder), &["childEntity"]).await?;
        let Some(object) = seen.first() else { return Ok(()) };
        let held = object.children("childEntity").len();
        if held > 0 {
            return Err(Failure::new(Exit::Platform, format!("{doing}: it is not empty"))
                .class(Class::Conflict)
                .because(format!("{held} things lie in it")));
        }
        self.destroy(&folder, &doing).await
    }

    /// The environments that something here belongs to; those of a name, or all.
    pub(super) async fn environments(&self, name: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        let machines = self.all_machines().await?.into_iter().filter(|seen| !seen.is_template).map(|seen| seen.tags);
        let folders = self.folders().await?.into_iter().map(|folder| folder.tags);
        let mut found: BTreeMap<String, Vec<Tags>> = BTreeMap::new();
        for tags in machines.chain(folders) {
            let is_wanted = name.is_none_or(|name| tags.get(TAG_NAME).is_some_and(|have| have == name));
            if let Some(id) = tags.get(TAG_ENVIRONMENT).filter(|_| is_wanted) {
                found.entry(id.clone()).or_default().push(tags);
            }
        }
        Ok(found.into_iter().map(|(id, things)| candidate(id, &things)).collect())
    }
}

/// A machine or folder by its id.
pub fn reference(id: &str) -> Reference {
    Reference::new(if id.starts_with("group-") { "Folder" } else { "VirtualMachine" }, id)
}

/// Whether metadata is that of a node of the environment with this short id.
fn is_broken_off(metadata: &str, short: &str) -> bool {
    let told: serde_json::Value = serde_json::from_str(metadata).unwrap_or_default();
    told["instance-id"].as_str().is_some_and(|instance| instance.starts_with(&format!("{short}-")))
}

fn thing(seen: Seen, whose: Whose) -> Thing {
    let (kind, id) = match seen.is_template {
        true => (ThingKind::Image, seen.name.clone()),
        false => (ThingKind::Machine, seen.reference.id),
    };
    Thing { kind, id, name: seen.name, part_of: None, whose }
}

fn candidate(id: String, things: &[Tags]) -> Candidate {
    let text = |key: &str| things.iter().find_map(|tags| tags.get(key)).cloned().unwrap_or_default();
    let ends: Option<Vec<Timestamp>> =
        things.iter().map(|tags| tags.get(TAG_EXPIRES).and_then(|at| at.parse().ok())).collect();
    Candidate {
        id,
        name: text(TAG_NAME),
        class: text(TAG_CLASS),
        created_by: text(TAG_CREATED_BY),
        expires: ends.and_then(|ends| ends.into_iter().max()),
        things: things.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_that_was_broken_off_is_known_by_what_it_was_to_be_told() {
        let metadata = r#"{"instance-id":"5b1e7c1f-server-1","local-hostname":"server-1"}"#;

        assert!(is_broken_off(metadata, "5b1e7c1f"));
        assert!(!is_broken_off(metadata, "6b1e7c1f"));
        assert!(!is_broken_off("", "5b1e7c1f"));
    }

    #[test]
    fn an_environment_ends_when_the_last_of_its_things_does_and_never_where_one_has_no_end() {
        let tags = |expires: &str| {
            Tags::from([(TAG_NAME.to_owned(), "dev".to_owned()), (TAG_EXPIRES.to_owned(), expires.to_owned())])
        };

        let ending = candidate("5b1e".to_owned(), &[tags("2026-11-30T09:00:00Z"), tags("2026-11-30T10:00:00Z")]);
        let lasting = candidate("5b1e".to_owned(), &[tags("2026-11-30T09:00:00Z"), tags("never")]);

        assert_eq!((ending.name.as_str(), ending.things), ("dev", 2));
        assert_eq!(ending.expires.map(|at| at.to_string()).as_deref(), Some("2026-11-30T10:00:00Z"));
        assert_eq!(lasting.expires, None);
    }
}
