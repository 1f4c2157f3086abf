//! What OpenSSH is told: the configuration and the pinned host keys, as text.
//!
//! Its form stands in `ssh_config.tera`. Written by us for each environment and read by our own connections, by Ansible
//! and by `sre-provision ssh`. Nothing of the user's configuration takes part.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::artifact::Reach;
use crate::failure::Failure;

/// Key exchange that a host in FIPS mode accepts; the first is also the cheapest.
const KEX: &str = "ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521";
const CIPHERS: &str = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes256-ctr,aes128-ctr";
const MACS: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";
const USER_KEYS: &str =
    "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-ed25519";

/// The host key types, best first, and the signature algorithms of each. Ed25519 is no FIPS algorithm and is asked
/// for only where nothing else is pinned.
const HOST_KEY_TYPES: [(&str, &str); 5] = [
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
    ("ssh-ed25519", "ssh-ed25519"),
];

/// The name of the jump machine in the configuration and among the tags of machines; no node may have it.
pub const JUMP: &str = "jump";

/// The name of a machine that leads to some nodes only.
pub(super) fn jump_name(jump: &Reach) -> String {
    format!("{JUMP}-{}-{}", jump.address, jump.port)
}

/// One machine in the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Host {
    /// What a person types.
    pub name: String,
    pub reach: Reach,
    /// The machine that leads there, by its name here.
    pub behind: Option<String>,
    pub identity: PathBuf,
    /// The socket of its open master.
    pub socket: Option<PathBuf>,
}

/// The configuration as OpenSSH reads it.
const TEMPLATE: &str = include_str!("ssh_config.tera");

/// What the template is told.
#[derive(Serialize)]
struct Whole<'a> {
    hosts: Vec<Block<'a>>,
    config: &'a Path,
    known_hosts: &'a Path,
    kex: &'a str,
    ciphers: &'a str,
    macs: &'a str,
    user_keys: &'a str,
}

/// What the template is told of one machine.
#[derive(Serialize)]
struct Block<'a> {
    /// By name, and by address too: an inventory that names addresses finds the same settings.
    names: String,
    address: &'a str,
    port: u16,
    user: &'a str,
    /// Under which its keys are pinned.
    machine: &'a str,
    host_key_algorithms: String,
    identity: &'a Path,
    socket: Option<&'a Path>,
    behind: Option<&'a str>,
}

impl<'a> Block<'a> {
    fn of(host: &'a Host) -> Self {
        let reach = &host.reach;
        let is_named = host.name != reach.address;
        Self {
            names: if is_named { format!("{} {}", host.name, reach.address) } else { host.name.clone() },
            address: &reach.address,
            port: reach.port,
            user: &reach.user,
            machine: &reach.machine,
            host_key_algorithms: host_key_algorithms(&reach.host_keys),
            identity: &host.identity,
            socket: host.socket.as_deref(),
            behind: host.behind.as_deref(),
        }
    }
}

/// The whole configuration for the machines in `hosts`, which lies in `dir`.
///
/// # Errors
/// A bug: a path that is no text, or a template that names something that it is not told.
pub(super) fn config(dir: &Path, hosts: &[Host]) -> Result<String, Failure> {
    let whole = Whole {
        hosts: hosts.iter().map(Block::of).collect(),
        config: &dir.join("config"),
        known_hosts: &dir.join("known_hosts"),
        kex: KEX,
        ciphers: CIPHERS,
        macs: MACS,
        user_keys: USER_KEYS,
    };
    tera::Context::from_serialize(&whole)
        .and_then(|told| tera::Tera::one_off(TEMPLATE, &told, false))
        .map_err(|error| Failure::bug("the SSH configuration cannot be written").because(error))
}

/// The pinned host keys under the machine ids.
pub(super) fn known_hosts(hosts: &[Host]) -> String {
    let mut lines: Vec<String> = hosts
        .iter()
        .flat_map(|host| host.reach.host_keys.iter().map(|key| format!("{} {key}\n", host.reach.machine)))
        .collect();
    lines.sort();
    lines.dedup();
    lines.concat()
}

/// The algorithms by which the machine can prove one of the pinned keys.
fn host_key_algorithms(keys: &[String]) -> String {
    let pinned = |kind: &str| keys.iter().any(|key| key.split(' ').next() == Some(kind));
    let mut algorithms: Vec<&str> =
        HOST_KEY_TYPES.iter().filter(|(kind, _)| pinned(kind)).map(|(_, algorithms)| *algorithms).collect();
    if algorithms.len() > 1 {
        algorithms.retain(|algorithm| *algorithm != "ssh-ed25519");
    }
    algorithms.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, behind_jump: bool) -> Host {
        Host {
            name: name.to_owned(),
            reach: Reach {
                machine: format!("i-{name}"),
                role: None,
                address: "10.20.1.5".to_owned(),
                port: 22,
                user: "rocky".to_owned(),
                host_keys: vec!["ssh-ed25519 AAAA1".to_owned(), "ecdsa-sha2-nistp256 AAAA2".to_owned()],
                jump: None,
            },
            behind: behind_jump.then(|| JUMP.to_owned()),
            identity: PathBuf::from("/run/x/key"),
            socket: None,
        }
    }

    #[test]
    fn a_node_behind_a_jump_machine_is_reached_through_it_in_a_session_of_its_own() {
        let text = config(Path::new("/run/x"), &[host("server-1", true)]).expect("text");

        insta::assert_snapshot!(text.split("\nHost *\n").next().unwrap_or_default(), @r#"
        # Written by sre-provision at every change; edits are lost.

        Host server-1 10.20.1.5
          HostName 10.20.1.5
          Port 22
          User rocky
          HostKeyAlias i-server-1
          HostKeyAlgorithms ecdsa-sha2-nistp256
          IdentityFile "/run/x/key"
          ProxyCommand setsid ssh -F "/run/x/config" -W [%h]:%p jump
        "#);
    }

    #[test]
    fn an_open_master_is_used_and_a_machine_without_a_name_stands_under_its_address() {
        let named = Host { socket: Some(PathBuf::from("/run/x/a b/s")), ..host("10.20.1.5", false) };

        let text = config(Path::new("/run/x"), &[named, host("server-2", false)]).expect("text");

        assert!(text.contains("\n\nHost 10.20.1.5\n  HostName 10.20.1.5\n"), "{text}");
        assert!(
            text.contains("  IdentityFile \"/run/x/key\"\n  ControlPath \"/run/x/a b/s\"\n\nHost server-2 10."),
            "{text}"
        );
    }

    #[test]
    fn checking_is_strict_and_nothing_of_the_user_takes_part() {
        let text = config(Path::new("/run/x"), &[]).expect("text");

        for line in [
            "StrictHostKeyChecking yes",
            "GlobalKnownHostsFile /dev/null",
            "UserKnownHostsFile \"/run/x/known_hosts\"",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            "UpdateHostKeys no",
        ] {
            assert!(text.lines().any(|told| told.trim() == line), "{line}");
        }
        assert!(text.ends_with("  ServerAliveCountMax 3\n"), "{text}");
    }

    #[test]
    fn a_fips_key_is_asked_for_where_one_is_pinned_and_ed25519_only_where_nothing_else_is() {
        let both = ["ssh-ed25519 A".to_owned(), "ssh-rsa B".to_owned(), "ecdsa-sha2-nistp256 C".to_owned()];
        let one = ["ssh-ed25519 A".to_owned()];

        assert_eq!(host_key_algorithms(&both), "ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256");
        assert_eq!(host_key_algorithms(&one), "ssh-ed25519");
    }

    #[test]
    fn keys_are_pinned_under_the_machine_id_and_not_under_an_address() {
        let text = known_hosts(&[host("server-1", false)]);

        assert_eq!(text, "i-server-1 ecdsa-sha2-nistp256 AAAA2\ni-server-1 ssh-ed25519 AAAA1\n");
    }
}
