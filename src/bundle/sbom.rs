//! The bill of materials of a bundle: CycloneDX 1.6, in JSON.
//!
//! It says nothing of when it was made, so that a bundle that is made again from the same files has the same one.

use serde_json::{Value, json};

use crate::bundle::create::Item;
use crate::bundle::manifest::ImageEntry;
use crate::bundle::name::FileKind;
use crate::failure::Failure;
use crate::workspace::file_digest;

/// The licence of what we know, by the beginning of its name. Of Ansible's collections and other wheels their own metadata
/// tells.
const LICENCES: [(FileKind, &str, &str); 9] = [
    (FileKind::Plugin, "github.com/hashicorp/", "MPL-2.0"),
    (FileKind::Program, "packer", "BUSL-1.1"),
    (FileKind::Program, "sre-provision", "Apache-2.0"),
    (FileKind::Program, "tofu", "MPL-2.0"),
    (FileKind::Release, "rke2", "Apache-2.0"),
    (FileKind::Wheel, "ansible-", "GPL-3.0-or-later"),
    (FileKind::Wheel, "ansible_core-", "GPL-3.0-or-later"),
    (FileKind::Provider, "registry.opentofu.org/hashicorp/", "MPL-2.0"),
    (FileKind::Provider, "registry.terraform.io/hashicorp/", "MPL-2.0"),
];

/// The bill of these files and images. `version` tells that of a program, where it is known. Reads the files whose digest is
/// not known yet.
pub fn sbom(
    line: &str,
    items: &[Item],
    images: &[ImageEntry],
    version: impl Fn(&str) -> Option<String>,
) -> Result<Vec<u8>, Failure> {
    let files = items.iter().filter(|item| !matches!(item.kind, FileKind::Blob | FileKind::RpmMetadata));
    let mut components = files.map(|item| component(item, &version)).collect::<Result<Vec<_>, _>>()?;
    components.extend(images.iter().map(|image| {
        let hashes = json!([{ "alg": "SHA-256", "content": image.digest }]);
        json!({ "type": "container", "name": image.reference, "hashes": hashes })
    }));
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "application", "name": format!("bundle {line}") } },
        "components": components,
    });
    serde_json::to_vec_pretty(&bill).map_err(|error| Failure::bug("a bill of materials is no JSON").because(error))
}

fn component(item: &Item, version: &impl Fn(&str) -> Option<String>) -> Result<Value, Failure> {
    let name = item.name.as_str();
    let digest = item.sha256.clone().map_or_else(|| file_digest(&item.from), Ok)?;
    let kind = match item.kind {
        FileKind::Program | FileKind::Plugin | FileKind::Provider => "application",
        FileKind::Rpm | FileKind::Wheel => "library",
        FileKind::Blob
        | FileKind::Chart
        | FileKind::Iso
        | FileKind::Release
        | FileKind::RpmMetadata
        | FileKind::Sbom => "file",
    };
    let mut component = json!({
        "type": kind,
        "name": name,
        "hashes": [{ "alg": "SHA-256", "content": digest }],
        "properties": [{ "name": "sre-provision:kind", "value": item.kind.to_string() }],
    });
    let licence = LICENCES.iter().find(|(kind, begins, _)| *kind == item.kind && name.starts_with(begins));
    if let Some((_, _, licence)) = licence {
        component["licenses"] = json!([{ "license": { "id": licence } }]);
    }
    if let Some(version) = version(name) {
        component["version"] = json!(version);
    }
    Ok(component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::name::Name;
    use crate::fingerprint::Digest;

    #[test]
    fn packer_is_named_with_its_version_and_licence() {
        let name = Name::parse("packer").expect("a name");
        let item = Item { kind: FileKind::Program, name, from: "/x".into(), sha256: Some(Digest::of(b"packer")) };

        let bytes = sbom("prod", &[item], &[], |_| Some("1.16.0".to_owned())).expect("a bill");

        let bill: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
        let component = &bill["components"][0];
        assert_eq!((&component["name"], &component["version"]), (&json!("packer"), &json!("1.16.0")));
        assert_eq!(component["licenses"], json!([{ "license": { "id": "BUSL-1.1" } }]));
        assert_eq!(component["hashes"][0]["content"], json!(Digest::of(b"packer")));
    }
}
