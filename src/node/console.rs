//! The host keys that cloud-init wrote to a machine's console: the first contact that the platform vouches for.

use ssh_key::{HashAlg, PublicKey};

const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
const END: &str = "-----END SSH HOST KEY KEYS-----";

/// The host keys of the last complete block, as in `known_hosts` without the name; empty while there is none.
///
/// Lines may carry what the console put before them, such as a kernel time stamp. What is no valid public key is left
/// out, and so is the comment behind it.
pub fn console_host_keys(console: &str) -> Vec<String> {
    let Some((before, _)) = console.rsplit_once(END) else { return vec![] };
    let Some((_, block)) = before.rsplit_once(BEGIN) else { return vec![] };
    let mut keys: Vec<String> = block.lines().filter_map(host_key).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The last lines that a console shows, as one; nothing where it shows none. Colours and cursor moves are left out.
pub fn last_words(console: &str) -> Option<String> {
    let shown = without_escapes(console);
    let lines: Vec<&str> = shown.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines[lines.len().saturating_sub(LAST)..].join(" / "))
}

/// How many lines of a console tell where a machine hangs.
const LAST: usize = 3;

/// The text without control characters and ECMA-48 sequences, such as `ESC [ 0 ; 32 m`; line ends stay.
fn without_escapes(text: &str) -> String {
    let mut shown = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                let is_sequence = letters.next() == Some('[');
                if is_sequence {
                    letters.find(|letter| ('@'..='~').contains(letter));
                }
            }
            '\n' => shown.push('\n'),
            letter if letter.is_control() => {}
            letter => shown.push(letter),
        }
    }
    shown
}

/// `SHA256:…` of a host key, as `ssh-keygen -l` shows it.
pub fn host_key_fingerprint(key: &str) -> Option<String> {
    Some(PublicKey::from_openssh(key).ok()?.fingerprint(HashAlg::Sha256).to_string())
}

/// The key in one console line.
fn host_key(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let kind = words.iter().position(|word| word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-"))?;
    let key = format!("{} {}", words[kind], words.get(kind + 1)?);
    PublicKey::from_openssh(&key).ok().map(|_| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn the_keys_of_the_block_are_read_whatever_the_console_puts_before_them() {
        let console = format!(
            "[   9.1] cloud-init[611]: {BEGIN}\r\n[   9.1] cloud-init[611]: {ECDSA} root@ip-10-20-1-5\r\n{ED25519} \
             root@x\r\n{END}\r\nlogin: "
        );

        assert_eq!(console_host_keys(&console), [ECDSA, ED25519]);
    }

    #[test]
    fn an_unfinished_block_is_no_block_and_a_broken_key_is_no_key() {
        let unfinished = format!("{BEGIN}\n{ECDSA}\n");
        let broken = format!("{BEGIN}\nssh-ed25519 AAAAC3NzaC1lZDI1\n{END}\n");

        assert_eq!(console_host_keys(&unfinished), Vec::<String>::new());
        assert_eq!(console_host_keys(&broken), Vec::<String>::new());
        assert_eq!(console_host_keys(&format!("{END}\n{BEGIN}\n")), Vec::<String>::new());
    }

    #[test]
    fn the_last_complete_block_counts() {
        let console = format!("{BEGIN}\n{ED25519}\n{END}\nreboot\n{BEGIN}\n{ECDSA}\n{END}\n");

        assert_eq!(console_host_keys(&console), [ECDSA]);
    }

    #[test]
    fn the_last_words_are_the_last_lines_that_a_person_would_see() {
        let console = "Booting.\r\n\u{1b}[0;32m  OK  \u{1b}[0m Reached target network.\r\n\r\n[FAILED] Mounting /data.\n\
                       You are in emergency mode.\r\n  \r\n";

        assert_eq!(
            last_words(console).as_deref(),
            Some("OK   Reached target network. / [FAILED] Mounting /data. / You are in emergency mode.")
        );
        assert_eq!(last_words("\u{1b}[2J\r\n"), None);
    }

    #[test]
    fn a_fingerprint_is_what_ssh_keygen_shows() {
        assert_eq!(
            host_key_fingerprint(ED25519).as_deref(),
            Some("SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ")
        );
        assert_eq!(host_key_fingerprint("nonsense"), None);
    }
}
