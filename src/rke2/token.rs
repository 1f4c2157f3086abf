//! Join tokens: the short form that founds a cluster, and the secure form that also pins the cluster's CA.

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::secret::Secret;

const MARK: &str = "K10";
/// Bootstrap tokens look like this: 6 characters, a dot, 16 characters.
const BOOTSTRAP_LENGTHS: (usize, usize) = (6, 16);

/// A token in its secure form, `K10<sha256 of the CA>::<user>:<password>`.
#[derive(Clone, Debug)]
pub struct Token {
    pub ca: Digest,
    /// `server` or `node`.
    pub user: String,
    pub password: Secret,
}

impl Token {
    /// The token with which servers join the cluster of this CA.
    pub fn server(ca: Digest, password: Secret) -> Self {
        Self { ca, user: "server".to_owned(), password }
    }

    /// The token with which agents join: it cannot read the cluster's keys.
    pub fn agent(ca: Digest, password: Secret) -> Self {
        Self { ca, user: "node".to_owned(), password }
    }

    /// Reads the content of a server's `token` or `agent-token` file.
    ///
    /// # Errors
    /// Exit 7 when it is in another form; the text is in no message.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let parsed = || {
            let (ca, rest) = text.trim().strip_prefix(MARK)?.split_once("::")?;
            let (user, password) = rest.split_once(':')?;
            Some(Self { ca: Digest::parse(ca)?, user: user.to_owned(), password: Secret::new(password) })
        };
        parsed().ok_or_else(|| {
            Failure::new(Exit::Unhealthy, "the cluster's token is not in its secure form")
                .because("expected is `K10<sha256 of the CA>::<user>:<password>`")
        })
    }

    /// As it is written to a token file.
    pub fn secure(&self) -> Secret {
        let mut text = format!("{MARK}{}::{}:", self.ca, self.user).into_bytes();
        text.extend_from_slice(self.password.expose());
        Secret::new(text)
    }
}

/// The digest of a cluster's CA as its tokens hold it: of the file as it is when one certificate is in it. With a
/// chain RKE2 takes the root's DER form instead, which this does not read.
pub fn ca_hash(server_ca_pem: &[u8]) -> Option<Digest> {
    let text = std::str::from_utf8(server_ca_pem).ok()?;
    let is_single = text.matches("-----BEGIN CERTIFICATE-----").count() == 1;
    is_single.then(|| Digest::of(server_ca_pem))
}

/// Whether RKE2 takes this for a password and nothing else: at least 32 characters of hex or base64url, which no
/// other form of a token can be mistaken for.
pub fn is_password(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let is_bootstrap = text.split_once('.').is_some_and(|(id, secret)| (id.len(), secret.len()) == BOOTSTRAP_LENGTHS);
    text.len() >= 32 && is_plain && !is_bootstrap && !text.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_and_written_in_its_secure_form() {
        let text = format!("K10{}::server:{}\n", "a1".repeat(32), "p:w".repeat(4));

        let token = Token::parse(&text).expect("a token");

        assert_eq!(token.ca.as_str(), "a1".repeat(32));
        assert_eq!(token.user, "server");
        assert_eq!(token.secure().expose_str(), Some(text.trim()));
    }

    #[test]
    fn a_short_token_is_refused_without_being_shown() {
        let failure = Token::parse("topsecret").expect_err("short");

        assert!(!failure.to_string().contains("topsecret"), "{failure}");
    }

    #[test]
    fn a_password_cannot_be_mistaken_for_another_form() {
        assert!(is_password(&"a".repeat(64)));
        assert!(!is_password("abcdef.0123456789abcdef"));
        assert!(!is_password(&format!("K10{}", "a".repeat(64))));
        assert!(!is_password(&format!("server:{}", "a".repeat(64))));
        assert!(!is_password("short"));
    }

    #[test]
    fn the_hash_of_a_single_ca_is_that_of_its_file() {
        let pem = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

        assert_eq!(ca_hash(pem), Some(Digest::of(pem)));
        assert_eq!(ca_hash(&[&pem[..], &pem[..]].concat()), None);
    }
}
