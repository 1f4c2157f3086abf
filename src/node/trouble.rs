//! What OpenSSH says when it cannot connect, as causes and hints.

use std::error::Error as _;

use crate::failure::{Class, Exit, Failure};
use crate::node::console::host_key_fingerprint;
use crate::node::ssh_config::Host;

/// Why the connection to this machine could not be opened.
pub(super) fn not_connected(host: &Host, error: &openssh::Error, jump_log: Option<&str>) -> Failure {
    let said = said(error);
    let failure =
        Failure::new(Exit::Platform, format!("no SSH connection to `{}` ({})", host.name, host.reach.address));
    if is_host_key_trouble(&said) {
        return changed_host_key(host, failure, &said);
    }
    if said.contains("Permission denied") {
        return failure
            .because(format!("`{}` does not accept the key of this environment", host.reach.user))
            .because(last_line(&said))
            .transient()
            .hint("a machine that is still booting has no keys yet; if it stays so, the machine was made with another key");
    }
    match jump_log.and_then(jump_refusal) {
        Some(refusal) if refusal.contains("administratively prohibited") => failure
            .because(format!("the jump machine does not open a way to `{}`: {refusal}", host.reach.address))
            .transient()
            .hint("the sshd of the jump machine must allow TCP forwarding"),
        Some(refusal) => {
            failure.because(format!("the jump machine does not reach `{}`: {refusal}", host.reach.address)).transient()
        }
        None => failure.because(last_line(&said)).transient(),
    }
}

/// Why a command on an open connection did not end well.
pub(super) fn lost(host: &Host, error: &openssh::Error) -> Failure {
    Failure::new(Exit::Platform, format!("lost the SSH connection to `{}`", host.name))
        .because(last_line(&said(error)))
        .transient()
}

/// The machine shows another key than the pinned one: never retried, never accepted.
fn changed_host_key(host: &Host, failure: Failure, said: &str) -> Failure {
    let pinned: Vec<String> = host.reach.host_keys.iter().filter_map(|key| host_key_fingerprint(key)).collect();
    let shown = said.split_whitespace().find(|word| word.starts_with("SHA256:")).map(|word| word.trim_end_matches('.'));
    let shown = shown.map_or_else(|| "shows a key of another kind".to_owned(), |key| format!("shows {key}"));
    failure
        .class(Class::NeedsPerson)
        .because(format!("machine `{}` {shown}, pinned is {}", host.reach.machine, pinned.join(", ")))
        .hint("somebody else may answer at this address: compare with the machine's console before anything else")
}

fn is_host_key_trouble(said: &str) -> bool {
    [
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "no matching host key type",
        "host key is known for",
    ]
    .iter()
    .any(|sign| said.contains(sign))
}

/// What the jump machine answered, as its master's log tells it: `channel 3: open failed: <why>: <text>`.
pub(super) fn jump_refusal(log: &str) -> Option<&str> {
    log.lines().rev().find_map(|line| line.trim().split_once("open failed: ").map(|(_, why)| why))
}

/// All that an error and its sources say.
fn said(error: &openssh::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = format!("{text}\n{next}");
        source = next.source();
    }
    text
}

pub(super) fn last_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::artifact::Reach;

    fn host() -> Host {
        let reach = Reach {
            machine: "i-0abc".to_owned(),
            role: None,
            address: "10.20.1.5".to_owned(),
            port: 22,
            user: "rocky".to_owned(),
            host_keys: vec![
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti".to_owned(),
            ],
            jump: None,
        };
        Host {
            name: "server-1".to_owned(),
            reach,
            behind: Some("jump".to_owned()),
            identity: PathBuf::new(),
            socket: None,
        }
    }

    fn connect_error(said: &str) -> openssh::Error {
        openssh::Error::Connect(io::Error::other(said))
    }

    #[test]
    fn a_changed_host_key_is_shown_beside_the_pinned_one_and_never_retried() {
        let said = "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nThe fingerprint for the ED25519 key sent by the \
                    remote host is\nSHA256:abc.\nHost key verification failed.";

        let failure = not_connected(&host(), &connect_error(said), None);

        assert_eq!(
            failure.to_string(),
            "no SSH connection to `server-1` (10.20.1.5): machine `i-0abc` shows SHA256:abc, pinned is \
             SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"
        );
        assert_eq!(failure.kind(), Class::NeedsPerson);
    }

    #[test]
    fn a_jump_machine_that_refuses_to_forward_is_named_as_the_cause() {
        let log = "channel 2: open failed: administratively prohibited: open failed\n";

        let failure = not_connected(&host(), &connect_error("Connection closed by UNKNOWN port 65535"), Some(log));

        assert_eq!(
            failure.causes(),
            ["the jump machine does not open a way to `10.20.1.5`: administratively prohibited: open failed"]
        );
    }

    #[test]
    fn a_machine_that_does_not_answer_yet_may_be_asked_again() {
        let failure =
            not_connected(&host(), &connect_error("connect to host 10.20.1.5 port 22: Connection refused"), None);

        assert!(failure.is_transient());
        assert_eq!(failure.exit(), Exit::Platform);
        assert_eq!(failure.causes(), ["connect to host 10.20.1.5 port 22: Connection refused"]);
    }
}
