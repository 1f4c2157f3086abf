//! What must be known of an image before nodes boot from it, as the environment file says.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::StateBucket;
use crate::units::Span;

/// Statements about images, and which of them `up` wants to see. Nothing is signed and nothing is wanted unless it says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// The private key that signs a statement about each image that is built: ECDSA on P-256, PKCS#8 in PEM, `file:PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<String>,
    /// The public keys whose statements count: `file:PATH` of a PEM file, or what stands between the lines of one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<String>,
    /// How long a statement counts from the moment of its measurement.
    pub valid_for: Span,
    /// What an image must show before `up` uses it; nothing where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// The channel that leads to the node image: none is built then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Where statements and channels are kept, for several environments together; in the workspace where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StateBucket>,
    /// `images build`: what was looked up once is looked up again. Not a key of the file.
    #[serde(skip)]
    pub look_anew: bool,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            sign: None,
            trust: vec![],
            valid_for: Span(Duration::from_secs(30 * 86_400)),
            require: None,
            channel: None,
            store: None,
            look_anew: false,
        }
    }
}

/// Whether a channel may be called this.
pub fn is_channel(name: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 32 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(is_sign)
}

/// What the statement about an image must say, beside that it is signed by a trusted key, is about this very image and has
/// not expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// How many percent of the rules that were decided must have passed, known exceptions aside.
    pub score: u8,
}
