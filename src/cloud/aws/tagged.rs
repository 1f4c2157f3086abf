//! Tags and filters as EC2 takes and gives them.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use crate::cloud::Tags;

pub fn read(tags: &[Tag]) -> Tags {
    tags.iter().filter_map(|tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default()))).collect()
}

pub fn write(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// The tags for something that a call makes.
pub fn specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(write(tags))).build()
}

pub fn filter(name: impl Into<String>, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// One filter per tag; all must match.
pub fn filters(tags: &Tags) -> Vec<Filter> {
    tags.iter().map(|(key, value)| filter(format!("tag:{key}"), &literal(value))).collect()
}

/// Whether `have` holds all of `want`.
pub fn holds(have: &Tags, want: &Tags) -> bool {
    want.iter().all(|(key, value)| have.get(key) == Some(value))
}

/// The name for people.
pub fn name_of(tags: &Tags) -> String {
    tags.get("Name").or_else(|| tags.get(crate::identity::TAG_NAME)).cloned().unwrap_or_default()
}

/// EC2 reads `*` and `?` in a filter's value as wildcards.
fn literal(value: &str) -> String {
    value.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_with_a_wildcard_in_it_finds_itself_only() {
        let tags = Tags::from([("sre:created-by".to_owned(), "who?*".to_owned())]);

        let filters = filters(&tags);

        assert_eq!(filters[0].name(), Some("tag:sre:created-by"));
        assert_eq!(filters[0].values(), ["who\\?\\*"]);
    }
}
