//! Quantities as people write them: `72h`, `100GiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in whole seconds, written `90s`, `15m`, `72h` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A day of the calendar, written `2027-03-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub jiff::civil::Date);

/// A size in bytes, written with a binary unit: `512MiB`, `100GiB`, `2TiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub const GIB: u64 = 1 << 30;

    /// Whether nothing was said: no size is 0.
    pub fn is_none(&self) -> bool {
        self.0 == 0
    }

    /// Whole GiB, rounded up: what the platforms' APIs take.
    pub fn gib(self) -> u64 {
        self.0.div_ceil(Self::GIB)
    }
}

const SPANS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const SIZES: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Splits `72h` into its number and the factor of its unit.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (suffix, factor) = units.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    text.strip_suffix(suffix)?.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes a number in the largest unit that divides it.
fn write_measure(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    match units.iter().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor)) {
        Some((suffix, factor)) => write!(f, "{}{suffix}", number / factor),
        None => write!(f, "{number}{}", units.last().map_or("", |unit| unit.0)),
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        measure(text, &SPANS)
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(|| format!("`{text}` is no length of time; write it like `90s`, `15m`, `72h` or `30d`"))
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        measure(text, &SIZES)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no size; write it like `512MiB` or `100GiB`"))
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = text.len() == "2027-03-31".len();
        let day = text.parse().ok().filter(|_| is_plain).map(Self);
        day.ok_or_else(|| format!("`{text}` is no day of the calendar; write it like `2027-03-31`"))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_measure(f, self.0.as_secs(), &SPANS)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_measure(f, self.0, &SIZES)
    }
}

macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

as_text!(Span, "Span", "^[0-9]+(s|m|h|d)$", "A length of time: `90s`, `15m`, `72h` or `30d`.");
as_text!(ByteSize, "ByteSize", "^[0-9]+(KiB|MiB|GiB|TiB)$", "A size: `512MiB`, `100GiB`.");

as_text!(Day, "Day", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "A day: `2027-03-31`.");

/// How an IPv4 network is described in the schema.
pub struct Ipv4Network;

impl schemars::JsonSchema for Ipv4Network {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ipv4Network".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "ipv4-network", "pattern": "^[0-9.]+/[0-9]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written_as_people_write_them() {
        for text in ["90s", "15m", "72h", "30d"] {
            let back = text.parse::<Span>().expect("a span").to_string();
            assert_eq!(back.parse::<Span>(), text.parse::<Span>(), "{text}");
        }
        assert_eq!("100GiB".parse::<ByteSize>().expect("a size").gib(), 100);
        assert_eq!(ByteSize(ByteSize::GIB + 1).gib(), 2);
    }

    #[test]
    fn a_quantity_without_its_unit_is_refused_with_examples() {
        assert_eq!(
            "72".parse::<Span>().expect_err("no unit"),
            "`72` is no length of time; write it like `90s`, `15m`, `72h` or `30d`"
        );
        assert_eq!(
            "2027-02-30".parse::<Day>().expect_err("February is short"),
            "`2027-02-30` is no day of the calendar; write it like `2027-03-31`"
        );
        assert!("2027-03-31T00:00".parse::<Day>().is_err());
        assert!("1.5GiB".parse::<ByteSize>().is_err());
        assert!("99999999999999999999GiB".parse::<ByteSize>().is_err());
    }
}
