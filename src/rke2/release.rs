//! The files of a release that a cluster without internet needs, under their official names.

use std::collections::BTreeMap;

use crate::environment::Cni;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::version::Version;

/// The one machine architecture so far, in the words of RKE2's file names.
pub const ARCH: &str = "amd64";

/// The release's own list of SHA-256 sums.
pub fn checksum_file() -> String {
    format!("sha256sum-{ARCH}.txt")
}

/// Program, units and scripts.
pub fn bundle_file() -> String {
    format!("rke2.linux-{ARCH}.tar.gz")
}

/// What is fetched beside the checksums: the bundle, the core images and those of the CNI. The combined archive is
/// left out: it holds the same images again.
pub fn release_files(cni: Cni) -> Vec<String> {
    let images = image_sets(cni).map(|set| format!("rke2-images-{set}.linux-{ARCH}.tar.zst"));
    std::iter::once(bundle_file()).chain(images).collect()
}

/// The sets of images that a node needs, as the names of their archives have them.
pub fn image_sets(cni: Cni) -> [&'static str; 2] {
    ["core", cni.name()]
}

/// The URL or path of one file, where releases lie under `base` by their version. `+` is escaped in URLs only: a
/// directory has the name as it is.
pub fn release_url(base: &str, version: Version, file: &str) -> String {
    let is_url = base.contains("://");
    let version = if is_url { version.in_url() } else { version.to_string() };
    format!("{}/{version}/{file}", base.trim_end_matches('/'))
}

/// The digests of a release by file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksums(BTreeMap<String, Digest>);

impl Checksums {
    /// Reads `<64 hex>  <name>` lines.
    ///
    /// # Errors
    /// Exit 1 when a line is of another form or a name stands twice with different digests.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut sums = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let entry = line.split_once("  ").and_then(|(sum, name)| Some((name.trim(), Digest::parse(sum)?)));
            let Some((name, digest)) = entry else {
                return Err(Failure::new(Exit::NotDone, format!("`{}` is no list of checksums", checksum_file()))
                    .because(format!("line {} is `{}`", index + 1, shortened(line))));
            };
            let before = sums.insert(name.to_owned(), digest.clone());
            if before.is_some_and(|before| before != digest) {
                return Err(Failure::new(Exit::NotDone, format!("`{}` names `{name}` twice", checksum_file())));
            }
        }
        Ok(Self(sums))
    }

    /// # Errors
    /// Exit 1 when the release has no such file.
    pub fn of(&self, file: &str) -> Result<&Digest, Failure> {
        self.0.get(file).ok_or_else(|| {
            Failure::new(Exit::NotDone, format!("the release has no `{file}`"))
                .because(format!("`{}` does not name it", checksum_file()))
        })
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_the_bundle_the_core_images_and_those_of_the_cni() {
        assert_eq!(
            release_files(Cni::Cilium),
            [
                "rke2.linux-amd64.tar.gz",
                "rke2-images-core.linux-amd64.tar.zst",
                "rke2-images-cilium.linux-amd64.tar.zst"
            ]
        );
    }

    #[test]
    fn the_plus_is_escaped_in_urls_alone() {
        let version = "v1.35.4+rke2r1".parse().expect("a version");

        assert_eq!(
            release_url("https://releases.example/rke2/", version, "rke2.linux-amd64.tar.gz"),
            "https://releases.example/rke2/v1.35.4%2Brke2r1/rke2.linux-amd64.tar.gz"
        );
        assert_eq!(release_url("/mnt/usb", version, "a"), "/mnt/usb/v1.35.4+rke2r1/a");
    }

    #[test]
    fn a_checksum_list_gives_each_file_its_digest() {
        let sum = "0".repeat(64);
        let sums = Checksums::parse(&format!("{sum}  rke2.linux-amd64\n\n{sum}  sub/x\n")).expect("a list");

        assert_eq!(sums.of("rke2.linux-amd64").expect("named").as_str(), sum);
        assert_eq!(
            sums.of("rke2.linux-arm64").expect_err("not named").to_string(),
            "the release has no `rke2.linux-arm64`: `sha256sum-amd64.txt` does not name it"
        );
    }

    #[test]
    fn an_error_page_is_no_checksum_list() {
        let failure = Checksums::parse("<html>Not Found</html>").expect_err("refused");

        assert_eq!(
            failure.to_string(),
            "`sha256sum-amd64.txt` is no list of checksums: line 1 is `<html>Not Found</html>`"
        );
        assert_eq!(failure.exit(), Exit::NotDone);
    }
}
