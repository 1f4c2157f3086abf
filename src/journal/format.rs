//! Which format an entry has, and how older ones are read.
//!
//! A newer minor format only adds: it is read, and not written to. A newer major one is refused. An older major one is
//! brought forward by pure functions, one per step, after its digest was verified; the files stay as they are. Every
//! released format has golden files in `tests/golden/journal/`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The format of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Format {
    pub major: u32,
    pub minor: u32,
}

/// The format that is written.
pub const CURRENT: Format = Format { major: 1, minor: 0 };

/// A function that brings an entry from one major format to the next.
type Migration = fn(Value) -> Value;

/// One line per older major format: what it is and what brings it to the next one. 1 is the first.
const MIGRATIONS: [(u32, Migration); 0] = [];

/// How an entry of some format may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Known,
    /// Written by a newer program; reading it is safe, writing after it is not.
    NewerMinor,
    NewerMajor,
}

impl Format {
    pub(super) fn reading(self) -> Reading {
        if self.major > CURRENT.major {
            Reading::NewerMajor
        } else if self.major == CURRENT.major && self.minor > CURRENT.minor {
            Reading::NewerMinor
        } else {
            Reading::Known
        }
    }
}

/// Brings an entry of a known format to the current one.
pub(super) fn migrate(value: Value, from: Format) -> Value {
    MIGRATIONS.iter().filter(|(major, _)| *major >= from.major).fold(value, |value, (_, forward)| forward(value))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        parts.map(|(major, minor)| Self { major, minor }).ok_or_else(|| format!("`{text}` is no format"))
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_minor_format_is_read_and_a_newer_major_one_is_not() {
        let readings = ["1.0", "1.7", "2.0", "0.9"].map(|text| text.parse::<Format>().expect("a format").reading());

        assert_eq!(readings, [Reading::Known, Reading::NewerMinor, Reading::NewerMajor, Reading::Known]);
    }
}
