//! Storage policies, which only the vCenter's storage policy service knows: SOAP as the rest, at a place and in a namespace
//! of its own, with the session of the vCenter.

use super::Vsphere;
use super::soap::{Api, Reference};
use super::xml::Element;
use crate::failure::Failure;

impl Vsphere {
    /// The names of the policies that machines and disks can be given, in their order.
    pub(super) async fn policies(&self) -> Result<Vec<String>, Failure> {
        let service = Reference::new("PbmServiceInstance", "ServiceInstance");
        let content = self.policy_call("PbmRetrieveServiceContent", &service, "").await?;
        let manager = content.child("returnval").and_then(|content| content.child("profileManager"));
        let manager = manager.map(Reference::read).unwrap_or_default();
        let asked = "<resourceType><resourceType>STORAGE</resourceType></resourceType>\
                     <profileCategory>REQUIREMENT</profileCategory>";
        let known = self.policy_call("PbmQueryProfile", &manager, asked).await?;
        let ids = ids(&known);
        if ids.is_empty() {
            return Ok(vec![]);
        }
        Ok(names(&self.policy_call("PbmRetrieveContent", &manager, &ids).await?))
    }

    async fn policy_call(&self, method: &str, this: &Reference, arguments: &str) -> Result<Element, Failure> {
        let answer = self.service.call_at(Api::Policies, method, this, arguments).await;
        answer.map_err(|refused| refused.failure("asking for the storage policies"))
    }
}

/// The ids of an answer, as the next call wants them.
fn ids(known: &Element) -> String {
    let id = |one: &Element| format!("<uniqueId>{}</uniqueId>", super::xml::escaped(one.text_at(&["uniqueId"])));
    known.all("returnval").map(|one| format!("<profileIds>{}</profileIds>", id(one))).collect()
}

fn names(told: &Element) -> Vec<String> {
    let mut names: Vec<String> = told.all("returnval").map(|one| one.text_at(&["name"]).to_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::vsphere::xml;

    #[test]
    fn policies_are_asked_for_by_their_ids_and_told_by_their_names() {
        let known = xml::read(
            "<R><returnval><uniqueId>a-1</uniqueId></returnval><returnval><uniqueId>b&amp;2</uniqueId></returnval></R>",
        );
        let told = xml::read("<R><returnval><name>vSAN</name></returnval><returnval><name>Fast</name></returnval></R>");

        assert_eq!(
            ids(&known.expect("read")),
            "<profileIds><uniqueId>a-1</uniqueId></profileIds><profileIds><uniqueId>b&amp;2</uniqueId></profileIds>"
        );
        assert_eq!(names(&told.expect("read")), ["Fast", "vSAN"]);
    }
}
