//! Placement rules of the cluster. They carry no attributes: an environment's bear its short id in their names.

use super::Vsphere;
use super::soap::Reference;
use crate::cloud::{Tags, Thing, ThingKind, Whose};
use crate::failure::Failure;
use crate::identity::TAG_ENVIRONMENT;

impl Vsphere {
    /// The rules of the environment with these tags, in whichever cluster of the datacenter: the file may name another one
    /// now. The id is that of the cluster and the key there.
    pub(super) async fn rules_of(&self, tags: &Tags) -> Result<Vec<Thing>, Failure> {
        let Some(short) = short_id(tags) else { return Ok(vec![]) };
        let mut found = Vec::new();
        for cluster in self.every("ClusterComputeResource", &["configurationEx"]).await? {
            for rule in cluster.children("configurationEx").iter().filter(|element| element.name == "rule") {
                let (key, name) = (rule.text_at(&["key"]), rule.text_at(&["name"]));
                if is_of(name, &short) {
                    found.push(thing(format!("{}/{key}", cluster.reference.id), name.to_owned()));
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn remove_rule(&self, id: &str, name: &str) -> Result<(), Failure> {
        let Some((cluster, key)) = id.split_once('/') else {
            return Err(Failure::bug(format!("`{id}` is no placement rule of a cluster")));
        };
        let cluster = Reference::new("ClusterComputeResource", cluster);
        let arguments = format!(
            "<spec xsi:type=\"ClusterConfigSpecEx\"><rulesSpec><operation>remove</operation>\
             <removeKey xsi:type=\"xsd:int\">{}</removeKey></rulesSpec></spec><modify>true</modify>",
            super::xml::escaped(key)
        );
        let doing = format!("removing the placement rule `{name}`");
        self.task("ReconfigureComputeResource_Task", &cluster, &arguments, &doing).await.map(drop)
    }

    /// The cluster that the file names, unless it is gone.
    pub(super) async fn cluster(&self) -> Result<Option<Reference>, Failure> {
        self.at(&format!("{}/host/{}", self.wanted.datacenter, self.wanted.cluster)).await
    }
}

/// The short id of the environment of which everything is asked for; of whom only a part is (an image's build, by more tags),
/// rules, vCenter tags and what was broken off are no part.
pub fn short_id(tags: &Tags) -> Option<String> {
    if tags.len() != 1 {
        return None;
    }
    let id = tags.get(TAG_ENVIRONMENT)?.replace('-', "");
    id.get(..8).map(str::to_owned)
}

fn is_of(name: &str, short: &str) -> bool {
    name.ends_with(&format!("-{short}-servers"))
}

fn thing(id: String, name: String) -> Thing {
    Thing { kind: ThingKind::Rule, id, name, part_of: None, whose: Whose::Unmarked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_an_environments_by_the_short_id_in_its_name() {
        let tags = Tags::from([(TAG_ENVIRONMENT.to_owned(), "5b1e7c1f-0a2b-4c3d-8000-000000000000".to_owned())]);

        assert_eq!(short_id(&tags).as_deref(), Some("5b1e7c1f"));
        assert!(is_of("dev-5b1e7c1f-servers", "5b1e7c1f"));
        assert!(!is_of("dev-6b1e7c1f-servers", "5b1e7c1f"));
        assert_eq!(short_id(&Tags::new()), None);
    }

    #[test]
    fn who_asks_for_a_part_of_an_environment_is_told_of_no_rule_and_no_tag() {
        let mut tags = Tags::from([(TAG_ENVIRONMENT.to_owned(), "5b1e7c1f-0a2b-4c3d-8000-000000000000".to_owned())]);
        tags.insert("sre:image".to_owned(), "base".to_owned());

        assert_eq!(short_id(&tags), None);
    }
}
