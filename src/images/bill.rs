//! The bill of an image's packages: CycloneDX 1.6, in JSON.

use serde_json::{Value, json};

use crate::failure::Failure;

/// The bill of these packages: form, name, version and architecture of each. The same packages give the same bill.
///
/// # Errors
/// It is no JSON, which is a bug.
pub fn bill(image: &str, packages: &[[String; 4]]) -> Result<Vec<u8>, Failure> {
    let components: Vec<Value> = packages.iter().map(component).collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "operating-system", "name": image } },
        "components": components,
    });
    serde_json::to_vec_pretty(&bill).map_err(|error| Failure::bug("a bill of packages is no JSON").because(error))
}

fn component([form, name, version, arch]: &[String; 4]) -> Value {
    // An epoch of 0 is as good as none.
    let version = version.strip_prefix("0:").unwrap_or(version);
    let (vendor, named) = if form == "rpm" { ("rocky", version) } else { ("debian", version) };
    let (epoch, bare) = named.split_once(':').map_or((None, named), |(epoch, bare)| (Some(epoch), bare));
    let epoch = epoch.map(|epoch| format!("&epoch={epoch}")).unwrap_or_default();
    let purl = format!("pkg:{form}/{vendor}/{}@{}?arch={arch}{epoch}", quoted(name), quoted(bare));
    json!({ "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl })
}

/// Percent-encoding as package URLs want it.
fn quoted(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_with_its_version_and_package_url() {
        let packages = [
            ["rpm", "bash", "0:5.1.8-9.el9", "x86_64"].map(str::to_owned),
            ["deb", "g++", "4:12.2.0-3", "amd64"].map(str::to_owned),
        ];

        let bytes = bill("ami-1", &packages).expect("a bill");

        let bill: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
        let told: Vec<&Value> = [0, 1].map(|at| &bill["components"][at]["purl"]).to_vec();
        let (bash, gcc) =
            ("pkg:rpm/rocky/bash@5.1.8-9.el9?arch=x86_64", "pkg:deb/debian/g%2B%2B@12.2.0-3?arch=amd64&epoch=4");
        assert_eq!(told, [bash, gcc]);
        assert_eq!(bill["components"][0]["version"], json!("5.1.8-9.el9"));
    }
}
