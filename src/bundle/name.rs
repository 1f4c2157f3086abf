//! The kinds of file in a bundle, what each is called, and where it goes when it is loaded.
//!
//! Nothing in a bundle is a path. A kind has a directory of its own and a form of names; a name is letters, digits and a
//! few signs, in as many parts as its kind has.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::rke2::is_release_file;

const LONGEST_PART: usize = 200;

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A part of a container image, called by its digest.
    Blob,
    Chart,
    Iso,
    /// A plugin of Packer: `github.com/hashicorp/amazon/packer-plugin-…`, and its checksum.
    Plugin,
    /// A program of the operator's machine: ours, OpenTofu, Packer.
    Program,
    /// An OpenTofu provider: `HOST/NAMESPACE/TYPE/…`, packed or in two more directories.
    Provider,
    /// A file of the RKE2 release, under its official name.
    Release,
    Rpm,
    /// What makes a directory of RPMs a repository.
    RpmMetadata,
    /// The bill of materials.
    Sbom,
    Wheel,
}

impl FileKind {
    pub const ALL: [Self; 11] = [
        Self::Blob,
        Self::Chart,
        Self::Iso,
        Self::Plugin,
        Self::Program,
        Self::Provider,
        Self::Release,
        Self::Rpm,
        Self::RpmMetadata,
        Self::Sbom,
        Self::Wheel,
    ];

    /// Whether files of this kind may have this name.
    pub fn has_form(self, name: &Name) -> bool {
        let parts = name.0.split('/').count();
        let ends = |end: &str| parts == 1 && name.0.ends_with(end);
        match self {
            Self::Blob => parts == 1 && name.0.len() == 64 && name.0.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Chart => ends(".tgz"),
            Self::Iso => ends(".iso"),
            Self::Plugin => parts == 4,
            Self::Program => PROGRAMS.contains(&name.as_str()),
            Self::Provider => matches!(parts, 4 | 6),
            Self::Release => is_release_file(name.as_str()),
            Self::Rpm => ends(".rpm"),
            Self::RpmMetadata => parts == 1,
            Self::Sbom => name.as_str() == SBOM,
            Self::Wheel => ends(".whl") || ends(".tar.gz"),
        }
    }

    /// The directory of this kind below that of all that was loaded.
    fn directory(self, release: &str) -> PathBuf {
        match self {
            Self::Blob => PathBuf::from("images/blobs/sha256"),
            Self::Chart => PathBuf::from("charts"),
            Self::Iso => PathBuf::from("iso"),
            Self::Plugin => PathBuf::from("plugins"),
            Self::Program => PathBuf::from("bin"),
            Self::Provider => PathBuf::from("providers"),
            Self::Release => Path::new("release").join(release),
            Self::Rpm => PathBuf::from("rpms"),
            Self::RpmMetadata => PathBuf::from("rpms/repodata"),
            Self::Sbom => PathBuf::from("sbom"),
            Self::Wheel => PathBuf::from("wheels"),
        }
    }

    /// Where a file goes, below the directory of all that was loaded.
    pub fn place(self, release: &str, name: &Name) -> PathBuf {
        self.directory(release).join(name.as_str())
    }

    pub fn mode(self, name: &Name) -> u32 {
        let is_program = match self {
            Self::Program => true,
            Self::Plugin => !name.0.ends_with("_SHA256SUM"),
            Self::Provider => !name.0.ends_with(".zip"),
            Self::Blob
            | Self::Chart
            | Self::Iso
            | Self::Release
            | Self::Rpm
            | Self::RpmMetadata
            | Self::Sbom
            | Self::Wheel => false,
        };
        if is_program { 0o755 } else { 0o644 }
    }
}

/// The programs that a bundle may hold.
pub const PROGRAMS: [&str; 3] = ["packer", "sre-provision", "tofu"];
/// The name of the bill of materials.
pub const SBOM: &str = "sbom.cdx.json";

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blob => "blob",
            Self::Chart => "chart",
            Self::Iso => "iso",
            Self::Plugin => "plugin",
            Self::Program => "program",
            Self::Provider => "provider",
            Self::Release => "release file",
            Self::Rpm => "rpm",
            Self::RpmMetadata => "rpm metadata",
            Self::Sbom => "sbom",
            Self::Wheel => "wheel",
        })
    }
}

/// The name of a file: parts of plain signs, none of which begins with a dot, and so never a way out of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-^@=".contains(&byte);
        let is_part = |part: &str| {
            (1..=LONGEST_PART).contains(&part.len()) && !part.starts_with(['.', '-']) && part.bytes().all(is_sign)
        };
        let parts = text.split('/').count();
        (parts <= 6 && text.split('/').all(is_part)).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{}` is no name of a file", text.escape_debug()))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_none() {
        for bad in [
            "",
            "..",
            "../x",
            "a/../b",
            "/etc/passwd",
            "a//b",
            "a/",
            ".x",
            "-x",
            "a b",
            "a\\b",
            "a\0b",
            "é",
            "a/b/c/d/e/f/g",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
        for good in [
            "rke2.linux-amd64.tar.gz",
            "rke2-server-1.35.7~rke2r1-0.el9.x86_64.rpm",
            "registry.opentofu.org/hashicorp/aws/x_1+2.zip",
        ] {
            assert_eq!(Name::parse(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn each_kind_takes_its_own_names_only() {
        let takes = |kind: FileKind, name: &str| kind.has_form(&Name::parse(name).expect("a name"));

        assert!(takes(FileKind::Release, "rke2-images-cilium.linux-amd64.tar.zst"));
        assert!(!takes(FileKind::Release, "rke2-images-other.linux-amd64.tar.zst"));
        assert!(takes(FileKind::Program, "tofu") && !takes(FileKind::Program, "sh"));
        assert!(takes(FileKind::Provider, "h.example/n/t/v/linux_amd64/f") && !takes(FileKind::Provider, "t/f"));
        assert!(!takes(FileKind::Wheel, "a/b.whl"));
    }

    #[test]
    fn every_kind_has_a_directory_of_its_own_below_what_was_loaded() {
        let directories: std::collections::BTreeSet<_> =
            FileKind::ALL.iter().map(|kind| kind.directory("v1.35.4+rke2r1")).collect();

        assert_eq!(directories.len(), FileKind::ALL.len());
        let name = Name::parse("rke2.linux-amd64.tar.gz").expect("a name");
        let place = FileKind::Release.place("v1.35.4+rke2r1", &name);
        assert_eq!(place, Path::new("release/v1.35.4+rke2r1/rke2.linux-amd64.tar.gz"));
    }
}
