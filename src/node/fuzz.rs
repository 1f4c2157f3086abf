//! What machines say of themselves, under fuzzing.

use crate::fuzz::Target;
use crate::node::Census;
use crate::node::console::{console_host_keys, host_key_fingerprint, last_words};
use crate::node::trouble::{jump_refusal, last_line};

pub const TARGETS: &[Target] = &[
    Target { name: "node-console", run: console, seeds: &[] },
    Target { name: "node-census", run: census, seeds: &[] },
    Target { name: "node-trouble", run: trouble, seeds: &[] },
];

/// A console may be written by anybody on the machine; only valid keys come out of it, and its last words are harmless.
fn console(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for key in console_host_keys(&text) {
        assert!(host_key_fingerprint(&key).is_some(), "`{key}` is no key");
        assert!(!key.contains('\n'), "a key is one line of `known_hosts`");
        assert_eq!(key.split(' ').count(), 2, "`{key}` brings something along");
    }
    assert!(last_words(&text).is_none_or(|words| !words.chars().any(char::is_control)));
}

fn census(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Census::read("server-1", &text) {
        Ok(census) => assert!(census.answer("node").is_none(), "what a node is was no question"),
        Err(failure) => assert!(failure.what().contains("server-1")),
    }
}

fn trouble(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(!last_line(&text).contains('\n'));
    assert!(jump_refusal(&text).is_none_or(|refusal| !refusal.contains('\n')));
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
