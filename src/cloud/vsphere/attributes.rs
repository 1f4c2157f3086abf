//! Custom attributes: what a vCenter has for tags with values. Their names are the vCenter's, not one environment's, so
//! that they are defined once and never removed.

use std::collections::BTreeMap;

use super::Vsphere;
use super::soap::Reference;
use super::xml::{Element, escaped};
use crate::cloud::Tags;
use crate::failure::Failure;

/// The attributes that the vCenter knows, by name.
#[derive(Clone, Debug, Default)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    pub fn from_definitions(definitions: &[Element]) -> Self {
        let known =
            definitions.iter().map(|field| (field.text_at(&["name"]).to_owned(), field.text_at(&["key"]).to_owned()));
        Self(known.collect())
    }

    /// The values of one object; an empty one is none.
    pub fn read(&self, values: &[Element]) -> Tags {
        let value_of = |key: &str| {
            let mut of_key = values.iter().filter(|value| value.text_at(&["key"]) == key);
            of_key.next_back().map(|value| value.text_at(&["value"]).to_owned())
        };
        let found = self.0.iter().filter_map(|(name, key)| Some((name.clone(), value_of(key)?)));
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
        let manager = &self.content().await?.fields;
        for name in names.filter(|name| !known.0.contains_key(*name)) {
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
            let Some(key) = known.0.get(name) else { continue };
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

        let read = fields.read(&values.expect("read").children);
        assert_eq!(read, Tags::from([("sre:environment".to_owned(), "5b1e".to_owned())]));
    }
}
