//! The registry that a bundle was loaded into, as if the environment file had named it for the nodes.
//!
//! `bundle load` writes `registries.yaml` in the words of `rke2.config.registries`, with references and no secrets. What the
//! environment file itself says of a registry counts before it.

use std::io::ErrorKind;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::rke2_config::Registries;
use crate::workspace::Workspace;

/// Adds what was loaded for this environment, if anything was.
///
/// # Errors
/// Exit 3: the file cannot be read, or is another than `bundle load` writes.
pub fn add_registries(workspace: &Workspace, name: &str, registries: &mut Registries) -> Result<(), Failure> {
    let path = workspace.state(name).loaded().join("registries.yaml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unread(&path, &error)),
    };
    let loaded: Registries = serde_saphyr::from_str(&text).map_err(|error| unread(&path, &error))?;
    for (name, endpoints) in loaded.mirrors {
        registries.mirrors.entry(name).or_insert(endpoints);
    }
    for (host, access) in loaded.access {
        registries.access.entry(host).or_insert(access);
    }
    Ok(())
}

fn unread(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Environment, format!("`{}` cannot be read", path.display()))
        .because(why)
        .hint("remove it: `sre-provision bundle load` writes it anew")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rke2_config::RegistryAccess;
    use crate::workspace::{RealDisk, make_dir, write_atomic};

    const LOADED: &str = r#"{
      "mirrors": {"docker.io": ["https://r.lan:5000"], "quay.io": ["https://r.lan:5000"]},
      "access": {"r.lan:5000": {"ca": "keys/ca.pem", "username": "puller", "password": "file:keys/password"}}
    }"#;

    fn added(text: Option<&str>, registries: &mut Registries) -> Result<(), Failure> {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = Workspace::open(dir.path()).expect("a workspace");
        if let Some(text) = text {
            let loaded = workspace.state("dev").loaded();
            make_dir(&RealDisk, &loaded, 0o700).expect("made");
            write_atomic(&loaded.join("registries.yaml"), text.as_bytes(), 0o644).expect("written");
        }
        add_registries(&workspace, "dev", registries)
    }

    #[test]
    fn what_was_loaded_is_as_if_the_file_had_named_it_and_its_own_word_counts_first() {
        let own = vec!["https://own.example".to_owned()];
        let mut registries =
            Registries { mirrors: BTreeMap::from([("quay.io".to_owned(), own.clone())]), ..Default::default() };

        added(Some(LOADED), &mut registries).expect("added");

        let loaded = vec!["https://r.lan:5000".to_owned()];
        let mirrors = BTreeMap::from([("docker.io".to_owned(), loaded), ("quay.io".to_owned(), own)]);
        let access = RegistryAccess {
            ca: Some("keys/ca.pem".into()),
            username: Some("puller".to_owned()),
            password: Some("file:keys/password".to_owned()),
        };
        assert_eq!(registries, Registries { mirrors, access: BTreeMap::from([("r.lan:5000".to_owned(), access)]) });
    }

    #[test]
    fn nothing_was_loaded_and_something_else_lies_there() {
        let mut registries = Registries::default();

        added(None, &mut registries).expect("nothing to add");
        let failure = added(Some("mirrors: [1"), &mut registries).expect_err("refused");

        assert_eq!(registries, Registries::default());
        assert!(failure.what().ends_with("loaded/registries.yaml` cannot be read"), "{}", failure.what());
    }
}
