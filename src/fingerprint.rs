//! What would make an artifact out of date, and the digest over it.
//!
//! A stage declares its inputs; it does not read them. `plan/` reads each into a digest of its own, so that a changed
//! fingerprint can name the input that changed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::digest::{self, SHA256};
use serde::{Deserialize, Serialize};

/// A SHA-256 digest, lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{}` is no SHA-256 digest", text.escape_debug()))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(digest::digest(&SHA256, bytes)))
    }

    /// What a sum over pieces came to.
    pub fn from_sum(sum: digest::Context) -> Self {
        Self(hex::encode(sum.finish()))
    }

    /// The digest of a value's RFC 8785 form, so that key order and number spelling do not count.
    pub fn of_value(value: &impl Serialize) -> Self {
        // The words of this program serialise; a map key that is not a string would be a defect caught by any test.
        Self::of(&serde_json_canonicalizer::to_vec(value).unwrap_or_default())
    }

    /// Takes 64 hex digits as they come from a checksum file.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| Self(text.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for names and screens.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// One thing whose change makes an artifact out of date.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A file or a directory of the workspace, by its relative path: names, mode bits and contents count, times do not.
    Tree(PathBuf),
    /// A value of the environment or of the program.
    Value(serde_json::Value),
    /// The digest and version of a tool, by its name on the command line.
    Tool(&'static str),
}

/// The declared inputs of a stage or step, by the name a person would call them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(BTreeMap<String, Input>);

impl Inputs {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn tree(mut self, path: &str) -> Self {
        self.0.insert(path.to_owned(), Input::Tree(path.into()));
        self
    }

    /// A value under the path it has in the environment file, such as `nodes.servers`.
    pub fn value(mut self, name: &str, value: &impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or(serde_json::Value::Null);
        self.0.insert(name.to_owned(), Input::Value(value));
        self
    }

    pub fn tool(mut self, name: &'static str) -> Self {
        self.0.insert(name.to_owned(), Input::Tool(name));
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Input)> {
        self.0.iter().map(|(name, input)| (name.as_str(), input))
    }
}

/// Each input read, by name; kept in the journal so that the next plan can say which one moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reading(pub BTreeMap<String, Digest>);

impl Reading {
    pub fn insert(&mut self, name: impl Into<String>, digest: Digest) {
        self.0.insert(name.into(), digest);
    }

    /// The fingerprint over all of it, for one subject such as `nodes` or `servers/server-2`.
    pub fn fingerprint(&self, subject: &str) -> Digest {
        Digest::of_value(&("sre-provision/1", subject, self))
    }

    /// The names whose digests differ between the two, added and removed ones included, in order.
    pub fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(earlier.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != earlier.0.get(*name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(pairs: &[(&str, &str)]) -> Reading {
        Reading(pairs.iter().map(|(name, value)| ((*name).to_owned(), Digest::of(value.as_bytes()))).collect())
    }

    #[test]
    fn a_changed_an_added_and_a_removed_input_are_named() {
        let earlier = reading(&[("role", "1"), ("image", "1"), ("gone", "1")]);
        let now = reading(&[("role", "2"), ("image", "1"), ("new", "1")]);

        assert_eq!(now.changed_since(&earlier), ["gone", "new", "role"]);
    }

    proptest::proptest! {
        // Safety 11
        #[test]
        fn the_fingerprint_changes_with_what_was_declared_and_with_nothing_else(
            one in proptest::collection::btree_map("[a-d]", "[xy]", 0..5),
            two in proptest::collection::btree_map("[a-d]", "[xy]", 0..5),
        ) {
            let read = |inputs: &BTreeMap<String, String>| {
                let inputs = inputs.iter().fold(Inputs::new(), |all, (name, value)| all.value(name, value));
                let digests = inputs.iter().map(|(name, input)| (name.to_owned(), Digest::of(format!("{input:?}").as_bytes())));
                Reading(digests.collect())
            };
            let (earlier, now) = (read(&one), read(&two));

            let differing: Vec<&String> = one.keys().chain(two.keys()).filter(|name| one.get(*name) != two.get(*name)).collect();
            let differing: std::collections::BTreeSet<String> = differing.into_iter().cloned().collect();
            proptest::prop_assert_eq!(now.changed_since(&earlier), differing.into_iter().collect::<Vec<_>>());
            proptest::prop_assert_eq!(now.fingerprint("nodes") == earlier.fingerprint("nodes"), one == two);
        }
    }

    #[test]
    fn the_fingerprint_is_of_one_subject() {
        let reading = reading(&[("role", "1")]);

        assert_ne!(reading.fingerprint("servers/server-1"), reading.fingerprint("servers/server-2"));
    }

    #[test]
    fn what_is_no_digest_is_not_read_as_one() {
        let read = |text: &str| serde_json::from_value::<Digest>(text.into()).map_err(|error| error.to_string());

        assert_eq!(read(&"a1".repeat(32)).expect("a digest").short(), "a1a1a1a1a1a1");
        assert_eq!(read("ééééééé"), Err("`ééééééé` is no SHA-256 digest".to_owned()));
        assert_eq!(serde_json::to_value(Digest::of(b"")).expect("JSON"), Digest::of(b"").as_str());
    }

    #[test]
    fn key_order_does_not_change_a_digest() {
        let one: serde_json::Value = serde_json::from_str(r#"{"a":1,"b":[1,2]}"#).expect("valid");
        let two: serde_json::Value = serde_json::from_str(r#"{"b":[1,2],"a":1.0}"#).expect("valid");

        assert_eq!(Digest::of_value(&one), Digest::of_value(&two));
    }
}
