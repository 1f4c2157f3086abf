//! Custom attributes: what a vCenter has for tags with values. Their names are the vCenter's, not one environment's, so
//! that they are defined once and never removed.

use std::collections::BTreeMap;

use super::Vsphere;
use super::soap::Reference;
use super::xml::{Element, escaped};
use crate::cloud::Tags;
use crate::failure::{Class, Exit, Failure};

/// The attributes that the vCenter knows.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Key by name, of those that everything may carry.
    keys: BTreeMap<String, String>,
    /// The only type that may carry it, by name: it is somebody else's.
    bound: BTreeMap<String, String>,
}

impl Fields {
    pub fn from_definitions(definitions: &[Element]) -> Self {
        let mut fields = Self::default();
        for definition in definitions {
            let name = definition.text_at(&["name"]).to_owned();
            match definition.text_at(&["managedObjectType"]) {
                "" => fields.keys.insert(name, definition.text_at(&["key"]).to_owned()),
                only => fields.bound.insert(name, only.to_owned()),
            };
        }
        fields
    }

    /// Whether all of these are defined.
    pub fn has_all(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.keys.contains_key(*name))
    }

    /// That none of these is somebody else's.
    ///
    /// # Errors
    /// Exit 6, naming one that is.
    pub fn check<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> Result<(), Failure> {
        let foreign = names.find_map(|name| Some((name, self.bound.get(name)?)));
        let Some((name, only)) = foreign.filter(|(name, _)| !self.keys.contains_key(*name)) else { return Ok(()) };
        Err(Failure::new(Exit::Platform, format!("the custom attribute `{name}` is somebody else's"))
            .class(Class::NeedsPerson)
            .because(format!("only a `{only}` may carry it; machines and folders of environments carry it here"))
            .hint(format!("rename `{name}` in the vCenter, or make it one of all types")))
    }

    /// The values of one object; an empty one is none.
    pub fn read(&self, values: &[Element]) -> Tags {
        let value_of = |key: &str| {
            let mut of_key = values.iter().filter(|value| value.text_at(&["key"]) == key);
            of_key.next_back().map(|value| value.text_at(&["value"]).to_owned())
        };
        let found = self.keys.iter().filter_map(|(name, key)| Some((name.clone(), value_of(key)?)));
        found.filter(|(_, value)| !value.is_empty()).collect()
    }
}

impl Vsphere {
    pub(super) async fn fields(&self) -> Result<Fields, Failure> {
        let manager = self.content().await?.fields.clone();
        let objects = self.properties(&[manager], &["field"]).await?;
        Ok(Fields::from_definitions(objects.first().map(|object| object.children("field")).unwrap_or_default()))
    }

    /// Defines those of these attributes that the vCenter does not know.
    pub(super) async fn ensure_fields<'n>(&self, names: impl Iterator<Item = &'n str> + Send) -> Result<(), Failure> {
        let known = self.fields().await?;
        let names: Vec<&str> = names.collect();
        known.check(names.iter().copied())?;
        let manager = &self.content().await?.fields;
        for name in names.into_iter().filter(|name| !known.keys.contains_key(*name)) {
            let arguments = format!("<name>{}</name>", escaped(name));
            match self.service.call("AddCustomFieldDef", manager, &arguments).await {
                // Somebody else was faster.
                Err(refused) if refused.is("DuplicateName") => {}
                Err(refused) => return Err(refused.failure(&format!("defining the custom attribute `{name}`"))),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn set_fields(&self, of: &Reference, tags: &Tags) -> Result<(), Failure> {
        self.ensure_fields(tags.keys().map(String::as_str)).await?;
        let known = self.fields().await?;
        let manager = &self.content().await?.fields;
        for (name, value) in tags {
            let Some(key) = known.keys.get(name) else { continue };
            let arguments = format!("{}<key>{key}</key><value>{}</value>", of.written("entity"), escaped(value));
            let doing = format!("setting `{name}` of `{}`", of.id);
            self.service.call("SetField", manager, &arguments).await.map_err(|refused| refused.failure(&doing))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::vsphere::xml;

    #[test]
    fn attributes_are_read_by_their_names_and_empty_ones_are_none() {
        let fields = xml::read(
            "<val><CustomFieldDef><key>101</key><name>sre:environment</name></CustomFieldDef>\
             <CustomFieldDef><key>102</key><name>sre:node</name></CustomFieldDef></val>",
        );
        let values = xml::read(
            "<val><CustomFieldValue><key>101</key><value>5b1e</value></CustomFieldValue>\
             <CustomFieldValue><key>102</key><value></value></CustomFieldValue></val>",
        );

        let fields = Fields::from_definitions(&fields.expect("read").children);

        assert_eq!(
            fields.check(["sre:environment", "sre:node"].into_iter()).map_err(|failure| failure.to_string()),
            Ok(())
        );
        let read = fields.read(&values.expect("read").children);
        assert_eq!(read, Tags::from([("sre:environment".to_owned(), "5b1e".to_owned())]));
    }
    #[test]
    fn an_attribute_that_only_another_type_may_carry_is_somebody_elses() {
        let fields = xml::read(
            "<val><CustomFieldDef><key>101</key><name>sre:environment</name>\
             <managedObjectType>HostSystem</managedObjectType></CustomFieldDef></val>",
        );

        let fields = Fields::from_definitions(&fields.expect("read").children);

        let failure = fields.check(["sre:name", "sre:environment"].into_iter()).expect_err("refused");
        assert_eq!(failure.what(), "the custom attribute `sre:environment` is somebody else's");
        assert_eq!(failure.hints(), ["rename `sre:environment` in the vCenter, or make it one of all types"]);
    }
}
