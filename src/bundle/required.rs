//! What each stage of an environment wants on the side without internet, from the environment file alone.
//!
//! Each thing has the stage that starts, places or installs it, and what makes a bundle carry it, so that what is missing
//! is told where it would hurt. What the file says to be there from elsewhere is not wanted of a bundle.
//!
//! # Why
//! The lists stand here and not in the stages: who makes a bundle has none of them at work, and one list for both sides is
//! what keeps a bundle from being enough for `create` and too little for `up`. Tests hold them against the roles, the roots
//! of OpenTofu and the templates of Packer. (2026-12-01)

use std::fmt;

use crate::artifact::Kind;
use crate::bundle::images::{plain, reference};
use crate::bundle::manifest::Manifest;
use crate::bundle::name::FileKind;
use crate::environment::{Environment, HardeningProfile, Platform};
use crate::failure::Failure;
use crate::rke2::{checksum_file, release_files};
use crate::supply::Elsewhere;

/// What `rke2_common` installs where it is missing; with SELinux on, its policy for RKE2 as well.
pub const RKE2_PACKAGES: [&str; 2] = ["iptables-nft", "container-selinux"];
pub const SELINUX_PACKAGE: &str = "rke2-selinux";
/// What `os_hardening` installs.
pub const HARDENING_PACKAGES: [&str; 5] = ["audit", "authselect", "crypto-policies-scripts", "openssh-server", "sudo"];
/// Ansible, and what every release of it since 2.14 requires. The roles use `ansible.builtin` alone, which comes with it.
const ANSIBLE: [&str; 6] = ["ansible-core", "jinja2", "pyyaml", "cryptography", "packaging", "resolvelib"];

/// A thing that a stage wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    /// The first stage that cannot do without it; that of the operator's own program has none.
    pub stage: Option<Kind>,
    pub thing: Thing,
}

/// What there is to be wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A file of the release, by its official name.
    Release(String),
    Program(&'static str),
    /// A container image or a chart, with its digest.
    Image(String),
    /// An OpenTofu provider and its version.
    Provider(&'static str, &'static str),
    /// A plugin of Packer.
    Plugin(&'static str),
    /// A project of Python, as PEP 503 writes it.
    Wheel(&'static str),
    /// A package of the nodes, as `dnf install` takes it.
    Rpm(String),
    /// At least one file of a kind that the environment file names a directory of.
    Any(FileKind),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(name) => write!(f, "release file `{name}`"),
            Self::Program(name) => write!(f, "program `{name}`"),
            Self::Image(reference) => write!(f, "image `{reference}`"),
            Self::Provider(name, version) => write!(f, "provider `{name}` {version}"),
            Self::Plugin(name) => write!(f, "plugin `{name}`"),
            Self::Wheel(name) => write!(f, "wheel `{name}`"),
            Self::Rpm(name) => write!(f, "rpm `{name}`"),
            Self::Any(kind) => write!(f, "any {kind}"),
        }
    }
}

impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Some(stage) => write!(f, "{}, which stage `{stage}` wants", self.thing),
            None => self.thing.fmt(f),
        }
    }
}

impl Thing {
    /// What brings it into the next bundle, beside making that with the same environment file.
    pub fn hint(&self, env: &str) -> Option<String> {
        let file = format!("environments/{env}.yaml");
        let elsewhere =
            |word: &str| format!("or say `elsewhere: [{word}]` in `bundle` if the other side has it of its own");
        match self {
            Self::Release(_) | Self::Program(_) | Self::Image(_) | Self::Any(_) => None,
            Self::Provider(..) => Some(format!(
                "tofu providers mirror DIR   and name DIR with a SHA256SUMS in `bundle.providers` in {file}; {}",
                elsewhere("providers")
            )),
            Self::Plugin(_) => Some(format!(
                "packer init packer/base   and name the directory of plugins in `bundle.plugins` in {file}; {}",
                elsewhere("plugins")
            )),
            Self::Wheel(_) => Some(format!(
                "pip download --dest DIR ansible-core   and name DIR with a SHA256SUMS in `bundle.wheels` in {file}; {}",
                elsewhere("ansible")
            )),
            Self::Rpm(_) => Some(format!(
                "name repositories and the base image's packages in `bundle.rpms` in {file}; {}",
                elsewhere("packages")
            )),
        }
    }
}

/// All that the stages want; of what was left out of a bundle on demand, nothing.
pub fn required(env: &Environment, is_left_out: impl Fn(&str) -> bool) -> Vec<Required> {
    let of = |stage: Kind| move |thing: Thing| Required { stage: Some(stage), thing };
    let mut all = vec![Required { stage: None, thing: Thing::Program("sre-provision") }];
    let release = [checksum_file()].into_iter().chain(release_files(&env.rke2));
    all.extend(release.map(Thing::Release).map(of(installs(env.platform))));
    all.extend(env.load_balancer.image.iter().cloned().map(Thing::Image).map(of(Kind::Servers)));
    let more = env.bundle.images.iter().chain(&env.bundle.oci_charts).cloned();
    all.extend(more.map(|reference| Required { stage: None, thing: Thing::Image(reference) }));
    all.extend(machines(env, &is_left_out));
    if !env.bundle.elsewhere.contains(&Elsewhere::Ansible) {
        all.extend(ANSIBLE.map(Thing::Wheel).map(of(first_play(env.platform))));
    }
    let packages = node_packages(env).into_iter();
    all.extend(packages.map(|(stage, name)| Required { stage: Some(stage), thing: Thing::Rpm(name.to_owned()) }));
    let named = env.bundle.rpms.iter().flat_map(|rpms| &rpms.packages).cloned().map(Thing::Rpm);
    let kinds = [
        (FileKind::Plugin, env.bundle.plugins.is_some() && !is_left_out("packer")),
        (FileKind::Provider, env.bundle.providers.is_some()),
        (FileKind::Wheel, env.bundle.wheels.is_some()),
        (FileKind::Chart, env.bundle.charts.is_some()),
        (FileKind::Iso, env.bundle.iso.is_some()),
    ];
    let kinds = kinds.into_iter().filter(|(_, is_named)| *is_named).map(|(kind, _)| Thing::Any(kind));
    for thing in named.chain(kinds) {
        // A stage that wants it says more than that it was named.
        if !all.iter().any(|known| known.thing == thing) {
            all.push(Required { stage: None, thing });
        }
    }
    all
}

/// Packages that stages want on a machine that exists, each with the stage; of other platforms the image has them.
fn node_packages(env: &Environment) -> Vec<(Kind, &'static str)> {
    if env.platform != Platform::Hosts || env.bundle.elsewhere.contains(&Elsewhere::Packages) {
        return vec![];
    }
    let hardening = HARDENING_PACKAGES.iter().filter(|_| env.hardening.profile != HardeningProfile::None);
    let rke2 = RKE2_PACKAGES.iter().chain([&SELINUX_PACKAGE]).map(|name| (Kind::Servers, *name));
    hardening.map(|name| (Kind::Hardening, *name)).chain(rke2).collect()
}

/// The programs that stages start, beside our own.
pub fn programs(env: &Environment, is_left_out: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let program = |one: Required| match one.thing {
        Thing::Program(name) if one.stage.is_some() => Some(name),
        _ => None,
    };
    machines(env, &is_left_out).into_iter().filter_map(program).collect()
}

/// The packages that stages want on nodes, whether the file names them or not.
pub fn packages(env: &Environment) -> Vec<String> {
    node_packages(env).into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// Who takes the files of the release: the image that nodes are made from, or on machines that exist the servers.
fn installs(platform: Platform) -> Kind {
    match platform {
        Platform::Aws | Platform::Vsphere => Kind::NodeImage,
        Platform::Hosts => Kind::Servers,
    }
}

fn first_play(platform: Platform) -> Kind {
    match platform {
        Platform::Aws | Platform::Vsphere => Kind::BaseImage,
        Platform::Hosts => Kind::Hardening,
    }
}

/// What makes machines; those that exist need neither images nor OpenTofu.
fn machines(env: &Environment, is_left_out: &impl Fn(&str) -> bool) -> Vec<Required> {
    let (plugin, provider, version) = match env.platform {
        Platform::Aws => ("github.com/hashicorp/amazon", "hashicorp/aws", "5.100.0"),
        Platform::Vsphere => ("github.com/hashicorp/vsphere", "hashicorp/vsphere", "1.26.0"),
        Platform::Hosts => return vec![],
    };
    let elsewhere = &env.bundle.elsewhere;
    let all = [
        (true, Kind::Network, Thing::Program("tofu")),
        (!elsewhere.contains(&Elsewhere::Providers), Kind::Network, Thing::Provider(provider, version)),
        (!is_left_out("packer"), Kind::BaseImage, Thing::Program("packer")),
        (!is_left_out("packer") && !elsewhere.contains(&Elsewhere::Plugins), Kind::BaseImage, Thing::Plugin(plugin)),
    ];
    let wanted = all.into_iter().filter(|(is_wanted, ..)| *is_wanted);
    wanted.map(|(_, stage, thing)| Required { stage: Some(stage), thing }).collect()
}

impl Thing {
    /// Whether a bundle has it, as far as its manifest tells: RPMs are looked into elsewhere.
    ///
    /// # Errors
    /// Exit 3: an image is not named by its digest.
    pub fn is_in(&self, manifest: &Manifest) -> Result<bool, Failure> {
        let any = |kind, is_it: &dyn Fn(&str) -> bool| manifest.of_kind(kind).any(|file| is_it(file.name.as_str()));
        Ok(match self {
            Self::Release(name) => manifest.file(FileKind::Release, name).is_some(),
            Self::Program(name) => manifest.file(FileKind::Program, name).is_some(),
            Self::Image(text) => {
                let (reference, digest) = reference(text)?;
                let name = plain(&reference);
                manifest.images.iter().any(|image| image.digest == digest && image.reference == name)
            }
            Self::Provider(name, version) => any(FileKind::Provider, &|file| is_provider(file, name, version)),
            Self::Plugin(name) => any(FileKind::Plugin, &|file| {
                file.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')) && file.ends_with("_linux_amd64")
            }),
            Self::Wheel(name) => crate::bundle::feeds::wheel_projects(manifest).contains(*name),
            Self::Any(kind) => manifest.of_kind(*kind).next().is_some(),
            Self::Rpm(_) => true,
        })
    }
}

/// `HOST/hashicorp/aws/terraform-provider-aws_5.100.0_linux_amd64.zip`, or unpacked
/// `HOST/hashicorp/aws/5.100.0/linux_amd64/…`.
fn is_provider(file: &str, name: &str, version: &str) -> bool {
    let Some((_, path)) = file.split_once('/') else { return false };
    let Some(rest) = path.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) else { return false };
    rest.starts_with(&format!("{version}/linux_amd64/")) || rest.ends_with(&format!("_{version}_linux_amd64.zip"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::{FileEntry, Release};
    use crate::bundle::name::Name;
    use crate::config;
    use crate::fingerprint::Digest;

    fn environment(name: &str) -> Environment {
        let text = std::fs::read_to_string(format!("environments/{name}.yaml")).expect("a file");
        let mut env = config::read(&format!("environments/{name}.yaml"), name, &text).expect("valid");
        env.bundle.elsewhere.clear();
        env
    }

    fn told(env: &Environment) -> Vec<String> {
        required(env, |_| false).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn machines_that_exist_want_the_release_ansible_and_every_package_of_the_roles() {
        let told = told(&environment("airgap"));

        assert_eq!(
            told,
            [
                "program `sre-provision`",
                "release file `sha256sum-amd64.txt`, which stage `servers` wants",
                "release file `rke2.linux-amd64.tar.gz`, which stage `servers` wants",
                "release file `rke2-images-core.linux-amd64.tar.zst`, which stage `servers` wants",
                "release file `rke2-images-canal.linux-amd64.tar.zst`, which stage `servers` wants",
                "wheel `ansible-core`, which stage `hardening` wants",
                "wheel `jinja2`, which stage `hardening` wants",
                "wheel `pyyaml`, which stage `hardening` wants",
                "wheel `cryptography`, which stage `hardening` wants",
                "wheel `packaging`, which stage `hardening` wants",
                "wheel `resolvelib`, which stage `hardening` wants",
                "rpm `audit`, which stage `hardening` wants",
                "rpm `authselect`, which stage `hardening` wants",
                "rpm `crypto-policies-scripts`, which stage `hardening` wants",
                "rpm `openssh-server`, which stage `hardening` wants",
                "rpm `sudo`, which stage `hardening` wants",
                "rpm `iptables-nft`, which stage `servers` wants",
                "rpm `container-selinux`, which stage `servers` wants",
                "rpm `rke2-selinux`, which stage `servers` wants",
            ]
        );
    }

    #[test]
    fn where_machines_are_made_what_makes_them_is_wanted_and_what_was_left_out_is_not() {
        let env = environment("dev");
        let told = told(&env);

        for line in [
            "program `tofu`, which stage `network` wants",
            "provider `hashicorp/aws` 5.100.0, which stage `network` wants",
            "program `packer`, which stage `base-image` wants",
            "plugin `github.com/hashicorp/amazon`, which stage `base-image` wants",
            "release file `rke2.linux-amd64.tar.gz`, which stage `node-image` wants",
        ] {
            assert!(told.iter().any(|told| told == line), "{line}: {told:?}");
        }
        assert!(!told.iter().any(|line| line.starts_with("rpm ")), "an image has its packages: {told:?}");
        let without = required(&env, |program| program == "packer");
        let is_of_packer = |one: &Required| matches!(one.thing, Thing::Plugin(_) | Thing::Program("packer"));
        assert!(!without.iter().any(is_of_packer), "{without:?}");
    }

    #[test]
    fn what_is_there_from_elsewhere_and_what_nobody_asks_for_is_not_wanted() {
        let mut env = environment("airgap");
        env.hardening.profile = HardeningProfile::None;
        assert!(!packages(&env).contains(&"audit".to_owned()));
        env.bundle.elsewhere = [Elsewhere::Ansible, Elsewhere::Packages].into();

        assert_eq!(required(&env, |_| false).len(), 5);
        assert_eq!(packages(&env), Vec::<String>::new());
    }

    #[test]
    fn kube_vips_image_is_wanted_by_the_servers_and_a_package_that_is_named_twice_once() {
        let image = format!("registry.example/kube-vip:1@sha256:{}", "a".repeat(64));
        let mut env = environment("airgap");
        env.load_balancer.image = Some(image.clone());
        let (packages, base) = (vec!["audit".to_owned(), "chrony".to_owned()], "base".into());
        env.bundle.rpms = Some(crate::supply::Packages { packages, repositories: [].into(), base });

        let told = told(&env);

        assert!(told.contains(&format!("image `{image}`, which stage `servers` wants")), "{told:?}");
        let audit: Vec<&String> = told.iter().filter(|line| line.contains("`audit`")).collect();
        assert_eq!(audit, ["rpm `audit`, which stage `hardening` wants"]);
        assert_eq!(told.last().map(String::as_str), Some("rpm `chrony`"));
        assert_eq!(super::packages(&env).len(), 8);
    }

    #[test]
    fn providers_and_plugins_are_those_that_the_roots_and_templates_pin() {
        for platform in ["aws", "vsphere"] {
            let env = environment(if platform == "aws" { "dev" } else { "vsphere-dev" });
            let things: Vec<Thing> = required(&env, |_| false).into_iter().map(|one| one.thing).collect();
            let provider = things.iter().find_map(|thing| match thing {
                Thing::Provider(name, version) => Some((*name, *version)),
                _ => None,
            });
            let (name, version) = provider.expect("one");
            for root in std::fs::read_dir(format!("tofu/roots/{platform}")).expect("roots") {
                let file = root.expect("a root").path().join("main.tf.json");
                let root: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(file).expect("a root")).expect("JSON");
                let wanted = root["terraform"]["required_providers"].as_object().expect("providers").values();
                for wanted in wanted {
                    assert_eq!((&wanted["source"], &wanted["version"]), (&name.into(), &format!("= {version}").into()));
                }
            }
            let plugin = things.iter().find_map(|thing| match thing {
                Thing::Plugin(name) => Some(format!("source  = \"{name}\"")),
                _ => None,
            });
            let template = std::fs::read_to_string("packer/base/plugins.pkr.hcl").expect("a template");
            assert!(template.contains(&plugin.expect("one")), "{platform}");
        }
    }

    #[test]
    fn the_roles_use_nothing_of_a_collection_that_ansible_core_does_not_bring() {
        for entry in walkdir::WalkDir::new("ansible").into_iter().filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_none_or(|end| end != "yml") {
                continue;
            }
            let text = std::fs::read_to_string(path).expect("read");
            for line in text.lines().map(|line| line.trim_start().trim_start_matches("- ")) {
                let word = line.split(':').next().unwrap_or_default();
                let is_module = ["ansible.", "community.", "containers.", "kubernetes."]
                    .iter()
                    .any(|collection| word.starts_with(collection));
                let is_plain = word.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte));
                assert!(!is_module || !is_plain || word.starts_with("ansible.builtin."), "{}: {line}", path.display());
            }
        }
    }

    fn manifest(kind: FileKind, names: &[&str]) -> Manifest {
        let entry = |name: &&str| FileEntry {
            kind,
            name: Name::parse(name).expect("a name"),
            size: 1,
            sha256: Digest::of(b"x"),
            chunks: vec![Digest::of(b"x")],
        };
        let rke2 = Release { version: "v1.35.4+rke2r1".to_owned(), cni: crate::environment::Cni::Canal };
        Manifest::new("airgap", 1, rke2, names.iter().map(entry).collect())
    }

    #[test]
    fn a_provider_counts_packed_or_not_and_only_in_its_version() {
        let is_in = |file: &str| {
            Thing::Provider("hashicorp/aws", "5.100.0").is_in(&manifest(FileKind::Provider, &[file])).expect("told")
        };

        assert!(is_in("registry.opentofu.org/hashicorp/aws/terraform-provider-aws_5.100.0_linux_amd64.zip"));
        assert!(is_in("registry.opentofu.org/hashicorp/aws/5.100.0/linux_amd64/terraform-provider-aws"));
        assert!(!is_in("registry.opentofu.org/hashicorp/aws/terraform-provider-aws_5.99.0_linux_amd64.zip"));
        assert!(!is_in("registry.opentofu.org/hashicorp/awscc/terraform-provider-awscc_5.100.0_linux_amd64.zip"));
    }

    #[test]
    fn a_plugin_and_a_wheel_are_looked_for_by_their_names() {
        let plugin = "github.com/hashicorp/amazon/packer-plugin-amazon_v1.8.2_x5.0_linux_amd64";
        let plugins = manifest(FileKind::Plugin, &[plugin]);
        let sums = manifest(FileKind::Plugin, &[&format!("{plugin}_SHA256SUM")]);
        let wheels = manifest(FileKind::Wheel, &["PyYAML-6.0.2-cp311-cp311-manylinux2014_x86_64.whl"]);

        assert!(Thing::Plugin("github.com/hashicorp/amazon").is_in(&plugins).expect("told"));
        assert!(!Thing::Plugin("github.com/hashicorp/amazon").is_in(&sums).expect("told"));
        assert!(!Thing::Plugin("github.com/hashicorp/vsphere").is_in(&plugins).expect("told"));
        assert!(Thing::Wheel("pyyaml").is_in(&wheels).expect("told"));
        assert!(!Thing::Wheel("ansible-core").is_in(&wheels).expect("told"));
    }
}
