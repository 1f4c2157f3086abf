//! Reads the header of an RPM: what the package is called, what it provides and what it requires.
//!
//! The format: a lead, a header with the signature, the header of the package. A header is a count of entries, a length, the
//! entries (tag, type, offset, count) and the data that they point into; all numbers are big-endian. What is read came with
//! a signed manifest, and is held to its bounds all the same.

/// Of the lead, and of what a header begins with.
const LEAD: usize = 96;
const INTRO: usize = 16;
const ENTRY: usize = 16;
const MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// A kernel's is half a mebibyte.
const MOST_ENTRIES: usize = 4096;
const MOST_DATA: usize = 64 << 20;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const PROVIDES: [u32; 3] = [1047, 1112, 1113];
const REQUIRES: [u32; 3] = [1049, 1048, 1050];
const FILES: [u32; 3] = [1118, 1116, 1117];

/// A name, perhaps with a version and how it is to compare: the sense of rpm's flags 2 (less), 4 (greater), 8 (equal).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    pub name: String,
    pub sense: u32,
    pub version: String,
}

/// What a package says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    /// `[epoch:]version-release`.
    pub version: String,
    pub provides: Vec<Capability>,
    pub requires: Vec<Capability>,
    pub files: Vec<String>,
}

/// How far the beginning of a file was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Whole(Package),
    /// The header is longer than what is here.
    More,
    /// It is no RPM.
    No,
}

/// Reads the beginning of a file.
pub fn read(bytes: &[u8]) -> Read {
    let Some(signature) = bytes.get(LEAD..) else { return Read::More };
    let after = match extent(signature) {
        // The signature's header is filled up to eight bytes.
        Extent::Of(_, length) => LEAD + length.next_multiple_of(8),
        Extent::More => return Read::More,
        Extent::No => return Read::No,
    };
    let Some(main) = bytes.get(after..) else { return Read::More };
    match extent(main) {
        Extent::More => Read::More,
        Extent::No => Read::No,
        Extent::Of(_, length) if main.len() < length => Read::More,
        Extent::Of(entries, length) => match (Header { entries, bytes: &main[..length] }).package() {
            Some(package) => Read::Whole(package),
            None => Read::No,
        },
    }
}

enum Extent {
    /// How many entries, and how long it is as a whole.
    Of(usize, usize),
    More,
    No,
}

fn extent(bytes: &[u8]) -> Extent {
    if bytes.len() < INTRO {
        return Extent::More;
    }
    let (Some(entries), Some(data)) = (number(bytes, 8), number(bytes, 12)) else { return Extent::More };
    let (entries, data) = (entries as usize, data as usize);
    match bytes.starts_with(&MAGIC) && entries <= MOST_ENTRIES && data <= MOST_DATA {
        true => Extent::Of(entries, INTRO + entries * ENTRY + data),
        false => Extent::No,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A whole header.
struct Header<'a> {
    entries: usize,
    bytes: &'a [u8],
}

impl Header<'_> {
    fn package(&self) -> Option<Package> {
        let one = |tag| self.texts(tag)?.into_iter().next();
        let (name, version, release) = (one(NAME)?, one(VERSION)?, one(RELEASE)?);
        let epoch = self.numbers(EPOCH).and_then(|epoch| epoch.first().map(|epoch| format!("{epoch}:")));
        let version = format!("{}{version}-{release}", epoch.unwrap_or_default());
        let (provides, requires) = (self.capabilities(PROVIDES)?, self.capabilities(REQUIRES)?);
        Some(Package { name, version, provides, requires, files: self.files()? })
    }

    fn capabilities(&self, [name, flags, version]: [u32; 3]) -> Option<Vec<Capability>> {
        let Some(names) = self.texts(name) else { return Some(vec![]) };
        let (flags, versions) = (self.numbers(flags)?, self.texts(version)?);
        let is_even = names.len() == flags.len() && names.len() == versions.len();
        let all = names.into_iter().zip(flags).zip(versions);
        is_even.then(|| all.map(|((name, sense), version)| Capability { name, sense, version }).collect())
    }

    fn files(&self) -> Option<Vec<String>> {
        let [directories, indexes, names] = FILES;
        let Some(names) = self.texts(names) else { return Some(vec![]) };
        let (directories, indexes) = (self.texts(directories)?, self.numbers(indexes)?);
        let path = |(name, index): (String, u32)| Some(format!("{}{name}", directories.get(index as usize)?));
        (names.len() == indexes.len()).then(|| names.into_iter().zip(indexes).map(path).collect())?
    }

    /// The data of a tag from its offset on, and how many values it has.
    fn entry(&self, tag: u32) -> Option<(&[u8], usize)> {
        let entry =
            (0..self.entries).map(|index| INTRO + index * ENTRY).find(|at| number(self.bytes, *at) == Some(tag))?;
        let (offset, count) = (number(self.bytes, entry + 8)? as usize, number(self.bytes, entry + 12)? as usize);
        let data = self.bytes.get(INTRO + self.entries * ENTRY..)?.get(offset..)?;
        (count <= data.len()).then_some((data, count))
    }

    fn numbers(&self, tag: u32) -> Option<Vec<u32>> {
        let (data, count) = self.entry(tag)?;
        (0..count).map(|index| number(data, index * 4)).collect()
    }

    fn texts(&self, tag: u32) -> Option<Vec<String>> {
        let (data, count) = self.entry(tag)?;
        let texts: Vec<String> =
            data.split(|byte| *byte == 0).take(count).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        (texts.len() == count).then_some(texts)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The bytes of an RPM without content that says this of itself.
    pub fn written(package: &Package) -> Vec<u8> {
        let (version, release) = package.version.split_once('-').expect("a release");
        let text = |tag, values: Vec<&str>| {
            let data: Vec<u8> = values.iter().flat_map(|value| [value.as_bytes(), b"\0"].concat()).collect();
            (tag, 8, values.len(), data)
        };
        let numbers =
            |tag, values: Vec<u32>| (tag, 4, values.len(), values.iter().flat_map(|n| n.to_be_bytes()).collect());
        let mut entries =
            vec![text(NAME, vec![&package.name]), text(VERSION, vec![version]), text(RELEASE, vec![release])];
        for (tags, all) in [(PROVIDES, &package.provides), (REQUIRES, &package.requires)] {
            entries.push(text(tags[0], all.iter().map(|one| one.name.as_str()).collect()));
            entries.push(numbers(tags[1], all.iter().map(|one| one.sense).collect()));
            entries.push(text(tags[2], all.iter().map(|one| one.version.as_str()).collect()));
        }
        entries.push(text(FILES[0], vec!["/"]));
        entries.push(numbers(FILES[1], vec![0; package.files.len()]));
        entries.push(text(FILES[2], package.files.iter().map(|file| &file[1..]).collect()));
        let mut rpm = vec![0; LEAD];
        rpm.extend(header(&[]));
        rpm.extend(header(&entries));
        rpm
    }

    fn header(entries: &[(u32, u32, usize, Vec<u8>)]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, count, bytes) in entries {
            for number in [*tag, *kind, data.len() as u32, *count as u32] {
                index.extend(number.to_be_bytes());
            }
            data.extend(bytes);
        }
        let numbers = [entries.len() as u32, data.len() as u32].map(u32::to_be_bytes).concat();
        [&MAGIC[..], &[0; 4], &numbers, &index, &data].concat()
    }

    fn package() -> Package {
        let capability =
            |name: &str, sense, version: &str| Capability { name: name.to_owned(), sense, version: version.to_owned() };
        Package {
            name: "app".to_owned(),
            version: "2-1.el9".to_owned(),
            provides: vec![capability("app", 8, "2-1.el9")],
            requires: vec![capability("lib", 12, "1"), capability("/bin/sh", 0, "")],
            files: vec!["/app".to_owned()],
        }
    }

    #[test]
    fn a_package_is_read_as_it_was_written_and_one_that_is_cut_asks_for_more() {
        let rpm = written(&package());

        assert_eq!(read(&rpm), Read::Whole(package()));
        for length in [0, 50, LEAD, LEAD + INTRO + 10, rpm.len() - 1] {
            assert_eq!(read(&rpm[..length]), Read::More, "{length}");
        }
    }

    #[test]
    fn what_is_no_rpm_or_claims_what_cannot_be_is_none() {
        let rpm = written(&package());
        let changed = |at: usize, to: u8| {
            let mut changed = rpm.clone();
            changed[at] = to;
            read(&changed)
        };

        assert_eq!(read(&[b'x'; 200]), Read::No);
        assert_eq!(changed(LEAD, 0), Read::No);
        assert_eq!(changed(LEAD + INTRO + 8, 0xff), Read::No, "too many entries");
        assert_eq!(changed(LEAD + INTRO + 12, 0xff), Read::No, "too much data");
        assert_eq!(changed(LEAD + 2 * INTRO + 8, 0xff), Read::No, "an offset behind the data");
    }
}
