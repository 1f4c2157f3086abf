//! The files of a release that a cluster without internet needs, under their official names.

use std::collections::BTreeMap;

use crate::environment::{Cni, Rke2};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::version::Version;
use crate::rke2_config::IngressController;

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

/// What is fetched beside the checksums: the bundle, the core images, those of the CNI, and those of the ingress controller
/// and the cloud provider where they have an archive of their own. The combined archive is left out: it holds the same
/// images again.
pub fn release_files(rke2: &Rke2) -> Vec<String> {
    std::iter::once(bundle_file()).chain(image_sets(rke2).into_iter().map(images_file)).collect()
}

fn images_file(set: &str) -> String {
    format!("rke2-images-{set}.linux-{ARCH}.tar.zst")
}

/// Whether a release may have a file of this name that we take.
pub fn is_release_file(name: &str) -> bool {
    let cnis = [Cni::Canal, Cni::Calico, Cni::Cilium, Cni::Flannel].map(Cni::name);
    let sets = ["core", TRAEFIK, NGINX, VSPHERE].into_iter().chain(cnis);
    name == checksum_file() || name == bundle_file() || sets.into_iter().any(|set| images_file(set) == name)
}

/// The ingress controllers that have an archive of their own where they are not the release's default, and the cloud
/// provider with its storage for vSphere.
const TRAEFIK: &str = "traefik";
const NGINX: &str = "ingress-nginx";
const VSPHERE: &str = "vsphere";
/// The key of RKE2's configuration, and its value, that has RKE2 install that provider.
const CLOUD_PROVIDER: (&str, &str) = ("cloud-provider-name", "rancher-vsphere");

/// The sets of images that a node needs, as the names of their archives have them.
pub fn image_sets(rke2: &Rke2) -> Vec<&'static str> {
    let (key, vsphere) = CLOUD_PROVIDER;
    let is_on_vsphere = rke2.config.more.get(key).is_some_and(|value| value == vsphere);
    let more = ingress_set(rke2).into_iter().chain(is_on_vsphere.then_some(VSPHERE));
    ["core", rke2.cni.name()].into_iter().chain(more).collect()
}

/// The archive of the ingress controller, where the core has it not: up to 1.35 it has ingress-nginx, then Traefik. A
/// cluster that came from 1.35 to 1.36 without naming one keeps ingress-nginx (RKE2 docs, release-notes/v1.36.X).
fn ingress_set(rke2: &Rke2) -> Option<&'static str> {
    let minor = rke2.version.parse::<Version>().ok()?.minor;
    match rke2.config.ingress_controller {
        Some(IngressController::Traefik) => (minor < 36).then_some(TRAEFIK),
        Some(IngressController::IngressNginx) => (minor >= 36).then_some(NGINX),
        Some(IngressController::None) => None,
        None => (minor == 36).then_some(NGINX),
    }
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
            release_files(&rke2("v1.35.4+rke2r1", None)),
            [
                "rke2.linux-amd64.tar.gz",
                "rke2-images-core.linux-amd64.tar.zst",
                "rke2-images-cilium.linux-amd64.tar.zst"
            ]
        );
    }

    #[test]
    fn an_ingress_controller_that_the_core_has_not_comes_with_its_own_archive() {
        use IngressController::{IngressNginx, None as Nothing, Traefik};

        let last = |version: &str, controller| image_sets(&rke2(version, controller)).last().copied();
        let sets = [Some(Traefik), Some(IngressNginx), Some(Nothing), None];
        let before = sets.map(|controller| last("v1.35.4+rke2r1", controller).unwrap_or_default());
        let after = sets.map(|controller| last("v1.36.3+rke2r1", controller).unwrap_or_default());

        assert_eq!(before, ["traefik", "cilium", "cilium", "cilium"]);
        assert_eq!(after, ["cilium", "ingress-nginx", "cilium", "ingress-nginx"]);
        assert_eq!(last("v1.37.0+rke2r1", None), Some("cilium"));
    }

    #[test]
    fn the_provider_for_vsphere_comes_where_rke2_is_to_install_it() {
        let mut rke2 = rke2("v1.35.4+rke2r1", None);
        rke2.config.more = BTreeMap::from([("cloud-provider-name".to_owned(), "rancher-vsphere".to_owned())]);

        assert_eq!(image_sets(&rke2), ["core", "cilium", "vsphere"]);
        assert!(release_files(&rke2).iter().all(|name| is_release_file(name)));
        assert!(!is_release_file("rke2-images-other.linux-amd64.tar.zst"));
    }

    fn rke2(version: &str, ingress_controller: Option<IngressController>) -> Rke2 {
        let config = crate::rke2_config::Rke2Config { ingress_controller, ..Default::default() };
        Rke2 {
            version: version.to_owned(),
            cni: Cni::Cilium,
            profile: Default::default(),
            release: None,
            disable: vec![],
            config,
        }
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
