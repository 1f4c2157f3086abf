//! Join tokens: the short form that founds a cluster, and the secure form that also pins the cluster's CA.

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::secret::Secret;

const MARK: &str = "K10";

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
}
