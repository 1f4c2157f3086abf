//! What makes of loaded files something that tools take: an index of wheels for pip, a mirror for OpenTofu, a repository for
//! dnf. Each is text that follows from the manifest and the environment file alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::bundle::manifest::{FileEntry, Manifest};
use crate::bundle::name::FileKind;
use crate::supply::Supply;

/// The index of wheels, below the directory of what was loaded; made anew as a whole.
pub const WHEEL_INDEX: &str = "wheels/simple";

/// Those that are one file each: of an earlier load they may lie there though nothing is fed by them now.
pub const FEEDS: [&str; 2] = [TOFU, RPMS];
const TOFU: &str = "tofu.rc";
const RPMS: &str = "rpms.repo";

/// Files by their place in `dir`, the directory of what was loaded; `root` is the workspace.
pub fn feeds(manifest: &Manifest, supply: &Supply, root: &Path, dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut feeds = wheels(manifest);
    if manifest.of_kind(FileKind::Provider).next().is_some() {
        feeds.insert(TOFU.into(), mirror(&dir.join("providers")));
    }
    if let Some(packages) = supply.rpms.as_ref().filter(|_| manifest.of_kind(FileKind::Rpm).next().is_some()) {
        let keys = packages.repositories.values().flat_map(|repository| &repository.keys);
        let keys: Vec<PathBuf> = keys.map(|key| root.join(key.strip_prefix("file:").unwrap_or(key))).collect();
        feeds.insert(RPMS.into(), repository(&manifest.line, &dir.join("rpms"), &keys));
    }
    feeds
}

/// The projects that a bundle has wheels of; archives of source are none.
pub fn wheel_projects(manifest: &Manifest) -> BTreeSet<String> {
    let names = manifest.of_kind(FileKind::Wheel).map(|file| file.name.as_str());
    names.filter(|name| name.ends_with(".whl")).map(project).collect()
}

/// The simple index of PEP 503: a page of projects, and one of files for each.
fn wheels(manifest: &Manifest) -> BTreeMap<PathBuf, String> {
    let mut projects: BTreeMap<String, Vec<&FileEntry>> = BTreeMap::new();
    for file in manifest.of_kind(FileKind::Wheel) {
        projects.entry(project(file.name.as_str())).or_default().push(file);
    }
    let page = |links: Vec<String>| format!("<!DOCTYPE html>\n<html><body>\n{}\n</body></html>\n", links.join("\n"));
    let mut pages: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (project, files) in &projects {
        let link = |file: &&FileEntry| {
            let name = file.name.as_str();
            // A plus in a path is one only when it is escaped.
            format!("<a href=\"../../{}#sha256={}\">{name}</a><br>", name.replace('+', "%2B"), file.sha256)
        };
        let place = Path::new(WHEEL_INDEX).join(project).join("index.html");
        pages.insert(place, page(files.iter().map(link).collect()));
    }
    if !projects.is_empty() {
        let links = projects.keys().map(|project| format!("<a href=\"{project}/\">{project}</a><br>"));
        pages.insert(Path::new(WHEEL_INDEX).join("index.html"), page(links.collect()));
    }
    pages
}

/// The name of a project as PEP 503 normalises it: what stands before the version.
fn project(file: &str) -> String {
    let name = match file.strip_suffix(".tar.gz") {
        Some(source) => source.rsplit_once('-').map_or(source, |(name, _)| name),
        None => file.split('-').next().unwrap_or(file),
    };
    let lower = name.to_ascii_lowercase().replace(['_', '.'], "-");
    lower.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// OpenTofu's configuration: providers come from here and from nowhere else.
fn mirror(providers: &Path) -> String {
    format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n", providers.display())
}

/// dnf's configuration of the packages; the keys are those of the environment file, and no other.
fn repository(line: &str, rpms: &Path, keys: &[PathBuf]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("file://{}", key.display())).collect();
    format!(
        "[bundle-{line}]\nname=bundle {line}\nbaseurl=file://{}\nenabled=1\ngpgcheck=1\ngpgkey={}\n",
        rpms.display(),
        keys.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::Release;
    use crate::bundle::name::Name;
    use crate::environment::Cni;
    use crate::fingerprint::Digest;
    use crate::supply::{Packages, Repository};

    fn manifest(files: &[(FileKind, &str)]) -> Manifest {
        let entry = |(kind, name): &(FileKind, &str)| FileEntry {
            kind: *kind,
            name: Name::parse(name).expect("a name"),
            size: 0,
            sha256: Digest::of(b""),
            chunks: vec![],
        };
        let release = Release { version: "v1.35.4+rke2r1".to_owned(), cni: Cni::Canal };
        Manifest::new("airgap", 7, release, files.iter().map(entry).collect())
    }

    #[test]
    fn projects_are_named_as_pip_asks_for_them() {
        let named =
            ["ansible_core-2.21.5-py3-none-any.whl", "ruamel.yaml-0.18.6-py3-none-any.whl", "my-pkg-1.0.tar.gz"];

        assert_eq!(named.map(project), ["ansible-core", "ruamel-yaml", "my-pkg"]);
    }

    #[test]
    fn wheels_get_a_page_for_each_project_with_the_digest_of_each_file() {
        let manifest = manifest(&[(FileKind::Wheel, "A_b-1+x-py3-none-any.whl"), (FileKind::Wheel, "c-1.tar.gz")]);
        assert_eq!(wheel_projects(&manifest), BTreeSet::from(["a-b".to_owned()]));

        let feeds = feeds(&manifest, &Supply::default(), Path::new("/w"), Path::new("/w/loaded"));

        let places: Vec<&str> = feeds.keys().filter_map(|place| place.to_str()).collect();
        assert_eq!(places, ["wheels/simple/a-b/index.html", "wheels/simple/c/index.html", "wheels/simple/index.html"]);
        let link = format!(
            "<a href=\"../../A_b-1%2Bx-py3-none-any.whl#sha256={}\">A_b-1+x-py3-none-any.whl</a>",
            Digest::of(b"")
        );
        assert!(feeds[Path::new("wheels/simple/a-b/index.html")].contains(&link));
    }

    #[test]
    fn providers_and_packages_are_fed_where_there_are_any() {
        let manifest = manifest(&[(FileKind::Provider, "h/n/t/x.zip"), (FileKind::Rpm, "a-1-1.noarch.rpm")]);
        let repository = Repository { from: "r".to_owned(), keys: vec!["file:keys/rocky.asc".to_owned()] };
        let repositories = BTreeMap::from([("baseos".to_owned(), repository)]);
        let rpms = Some(Packages { packages: vec![], repositories, base: "base".into() });
        let supply = Supply { rpms, ..Supply::default() };

        let feeds = feeds(&manifest, &supply, Path::new("/w"), Path::new("/w/loaded"));

        assert!(FEEDS.iter().all(|place| feeds.contains_key(Path::new(place))), "{feeds:?}");
        assert!(feeds[Path::new("tofu.rc")].contains("path = \"/w/loaded/providers\""));
        let told = "baseurl=file:///w/loaded/rpms\nenabled=1\ngpgcheck=1\ngpgkey=file:///w/keys/rocky.asc\n";
        assert!(feeds[Path::new("rpms.repo")].ends_with(told), "{feeds:?}");
    }
}
