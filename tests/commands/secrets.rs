//! No command prints or writes what it was only lent, and none what is sealed.

use base64::Engine as _;
use sre_provision::secret::Secret;

use crate::{World, ended};

/// What the caller's environment lends: credentials of the platform, of a proxy, and a variable for OpenTofu.
const LENT: [(&str, &str); 5] = [
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENGbPxRfiCYPLANTEDKEY1"),
    ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjPLANTEDSESSIONTOKEN2"),
    ("HTTPS_PROXY", "http://proxy-user:plantedProxyPassw0rd3@127.0.0.1:9"),
    ("TF_VAR_password", "plantedVariableOfTofu4"),
    ("VSPHERE_PASSWORD", "plantedPasswordOfVcenter5"),
];

/// What lies sealed in the store.
const SEALED: [(&str, &str); 4] = [
    ("rke2-server-token", "6c1f9a0e4b7d2385plantedservertoken60"),
    ("rke2-agent-token", "0d5be81732f4a96cplantedagenttoken700"),
    ("kubeconfig", "client-key-data: UExBTlRFREtVQkVDT05GSUdLRVk4\n"),
    (
        "ssh-key-of-old",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nUExBTlRFRFNTSEtFWTlhYmNkZWY\n-----END OPENSSH PRIVATE KEY-----\n",
    ),
];

/// What tells of a value, with its spellings.
fn traces(value: &str) -> Vec<Vec<u8>> {
    let lines = value.lines().flat_map(|line| line.split([' ', '@', ':', '/']));
    let words = lines.filter(|word| word.len() >= 16 && !word.starts_with('-'));
    words
        .flat_map(|word| {
            let encoded = base64::prelude::BASE64_STANDARD.encode(word);
            [word.to_owned(), hex::encode(word), encoded[..encoded.len() - 4].to_owned()].map(String::into_bytes)
        })
        .collect()
}

#[test]
fn what_was_lent_and_what_is_sealed_is_in_no_output_and_in_no_file_but_its_own() {
    let world = World::reached().on_a_platform();
    let secrets = world.secrets();
    for (name, value) in SEALED {
        secrets.put(name, &Secret::new(value.as_bytes())).expect("sealed");
    }
    let key =
        std::fs::read_dir(world.path(".config/sre-provision/keys")).expect("keys").next().expect("one").expect("read");
    let key = std::fs::read_to_string(key.path()).expect("a key");

    let mut said = Vec::new();
    for args in [
        &["up", "dev", "--yes"][..],
        &["up", "dev", "--yes", "--verbose"],
        &["plan", "dev"],
        &["plan", "dev", "--output", "json"],
        &["status"],
        &["nodes", "dev", "--output", "json"],
        &["history", "dev", "--run", "1"],
        &["history", "dev", "--output", "json"],
        &["logs", "dev"],
        &["kubeconfig", "dev", "--output", "json"],
        &["down", "dev", "--dry-run"],
        &["validate", "dev", "--output", "json"],
    ] {
        let mut command = world.command(args);
        let told = ended(command.envs(LENT).env("NO_PROXY", "127.0.0.1"));
        said.push((args.join(" "), format!("{}{}", told.out, told.err).into_bytes()));
    }
    world.forget_the_way();

    assert!(said.iter().all(|(_, text)| !text.is_empty()), "{said:?}");
    let files = walkdir::WalkDir::new(world.dir.path()).into_iter().map(|entry| entry.expect("listed"));
    let own = [world.path(".sre-provision/dev/kubeconfig"), world.path(".config")];
    for entry in
        files.filter(|entry| entry.file_type().is_file() && !own.iter().any(|own| entry.path().starts_with(own)))
    {
        said.push((entry.path().display().to_string(), std::fs::read(entry.path()).expect("read")));
    }
    assert!(said.len() > 30, "it looked at {} places", said.len());
    let values = LENT.iter().chain(&SEALED).map(|(name, value)| (*name, traces(value)));
    for (name, traces) in values.chain([("the key of the store", traces(&key))]) {
        assert!(!traces.is_empty(), "{name} has no traces");
        let found: Vec<&str> = said
            .iter()
            .filter(|(_, text)| traces.iter().any(|trace| text.windows(trace.len()).any(|part| part == trace)))
            .map(|(place, _)| place.as_str())
            .collect();
        assert_eq!(found, Vec::<&str>::new(), "{name}");
    }
}
