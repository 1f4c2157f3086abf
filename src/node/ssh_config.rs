//! What OpenSSH is told: the configuration and the pinned host keys, as text.
//!
//! Written by us for each environment and read by our own connections, by Ansible and by `sre-provision ssh`. Nothing
//! of the user's configuration takes part.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::artifact::Reach;

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

/// One machine in the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Host {
    /// What a person types.
    pub name: String,
    pub reach: Reach,
    pub behind_jump: bool,
    pub identity: PathBuf,
    /// The socket of its open master.
    pub socket: Option<PathBuf>,
}

/// The whole configuration for the machines in `hosts`, which lies in `dir`.
pub(super) fn config(dir: &Path, hosts: &[Host]) -> String {
    let mut text = String::from("# Written by sre-provision at every change; edits are lost.\n");
    for host in hosts {
        text.push_str(&host_block(dir, host));
    }
    text.push_str(&common_block(dir));
    text
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

fn host_block(dir: &Path, host: &Host) -> String {
    let reach = &host.reach;
    // By address too: an inventory that names addresses finds the same settings.
    let mut text = if host.name == reach.address {
        format!("\nHost {}\n", host.name)
    } else {
        format!("\nHost {} {}\n", host.name, reach.address)
    };
    let mut set = |key: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {key} {value}");
    };
    set("HostName", &reach.address);
    set("Port", &reach.port);
    set("User", &reach.user);
    set("HostKeyAlias", &reach.machine);
    set("HostKeyAlgorithms", &host_key_algorithms(&reach.host_keys));
    set("IdentityFile", &quoted(&host.identity));
    if let Some(socket) = &host.socket {
        set("ControlPath", &quoted(socket));
    }
    if host.behind_jump {
        let command = format!("setsid ssh -F {} -W [%h]:%p {JUMP}", quoted(&dir.join("config")));
        set("ProxyCommand", &command);
    }
    text
}

fn common_block(dir: &Path) -> String {
    let known = quoted(&dir.join("known_hosts"));
    format!(
        "
Host *
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  CheckHostIP no
  VerifyHostKeyDNS no
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
  BatchMode yes
  PubkeyAcceptedAlgorithms {USER_KEYS}
  KexAlgorithms {KEX}
  Ciphers {CIPHERS}
  MACs {MACS}
  Compression no
  ForwardAgent no
  ForwardX11 no
  ControlMaster no
  StreamLocalBindMask 0177
  StreamLocalBindUnlink yes
  ConnectTimeout 10
  ServerAliveInterval 10
  ServerAliveCountMax 3
"
    )
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

/// A path as OpenSSH reads it: in quotes, so that a blank does not end it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
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
            },
            behind_jump,
            identity: PathBuf::from("/run/x/key"),
            socket: None,
        }
    }

    #[test]
    fn a_node_behind_a_jump_machine_is_reached_through_it_in_a_session_of_its_own() {
        let text = config(Path::new("/run/x"), &[host("server-1", true)]);

        assert!(text.contains(
            "Host server-1 10.20.1.5\n  HostName 10.20.1.5\n  Port 22\n  User rocky\n  HostKeyAlias i-server-1\n"
        ));
        assert!(text.contains("  ProxyCommand setsid ssh -F \"/run/x/config\" -W [%h]:%p jump\n"));
    }

    #[test]
    fn checking_is_strict_and_nothing_of_the_user_takes_part() {
        let text = config(Path::new("/run/x"), &[]);

        for line in [
            "StrictHostKeyChecking yes",
            "GlobalKnownHostsFile /dev/null",
            "UserKnownHostsFile \"/run/x/known_hosts\"",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            "UpdateHostKeys no",
        ] {
            assert!(text.contains(line), "{line}");
        }
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
