//! The administrator's kubeconfig: read as RKE2 wrote it, written as the people outside need it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::failure::{Exit, Failure};
use crate::secret::Secret;

/// The CA and the client's certificate and key, in PEM.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// The server it was written for, such as `https://127.0.0.1:6443`.
    pub server: String,
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Secret,
}

#[derive(Deserialize)]
struct File {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

impl Kubeconfig {
    /// Reads a kubeconfig with one cluster and one user, as RKE2 writes it.
    ///
    /// # Errors
    /// Exit 7 when it is another form; nothing of it is in the message.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::new(Exit::Unhealthy, "the server's kubeconfig cannot be read").because(why);
        // The parser's own message may quote the file, so it is left out.
        let file: File = serde_saphyr::from_str(text).map_err(|_| wrong("it is not in the form that RKE2 writes"))?;
        let (Ok([cluster]), Ok([user])) = (<[_; 1]>::try_from(file.clusters), <[_; 1]>::try_from(file.users)) else {
            return Err(wrong("it has not exactly one cluster and one user"));
        };
        let decode =
            |text: &str| BASE64_STANDARD.decode(text).map_err(|_| wrong("a certificate or key in it is not base64"));
        Ok(Self {
            server: cluster.cluster.server,
            ca: decode(&cluster.cluster.certificate_authority_data)?,
            certificate: decode(&user.user.client_certificate_data)?,
            key: Secret::new(decode(&user.user.client_key_data)?),
        })
    }

    /// The file for people: the server as they reach it, everything else called `name`.
    ///
    /// `name` is an environment's and `server` a URL of ours; both need no quoting in YAML beyond the quotes here.
    pub fn written(&self, name: &str, server: &str) -> Secret {
        let (ca, certificate) = (BASE64_STANDARD.encode(&self.ca), BASE64_STANDARD.encode(&self.certificate));
        let key = zeroize::Zeroizing::new(BASE64_STANDARD.encode(self.key.expose()));
        Secret::new(format!(
            r#"apiVersion: v1
kind: Config
clusters:
  - name: "{name}"
    cluster:
      server: "{server}"
      certificate-authority-data: {ca}
users:
  - name: "{name}-admin"
    user:
      client-certificate-data: {certificate}
      client-key-data: {}
contexts:
  - name: "{name}"
    context:
      cluster: "{name}"
      user: "{name}-admin"
current-context: "{name}"
"#,
            key.as_str()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_RKE2: &str = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: Q0E=\n    server: \
                           https://127.0.0.1:6443\n  name: default\ncontexts:\n- context:\n    cluster: default\n    \
                           user: default\n  name: default\ncurrent-context: default\nkind: Config\npreferences: {}\n\
                           users:\n- name: default\n  user:\n    client-certificate-data: Q0VSVA==\n    \
                           client-key-data: S0VZ\n";

    #[test]
    fn what_rke2_wrote_is_written_again_with_another_address_and_name() {
        let read = Kubeconfig::parse(OF_RKE2).expect("a kubeconfig");

        let written = read.written("dev", "https://dev-api.example:6443");
        let again = Kubeconfig::parse(written.expose_str().expect("text")).expect("a kubeconfig");

        assert_eq!(read.server, "https://127.0.0.1:6443");
        assert_eq!(again.server, "https://dev-api.example:6443");
        assert_eq!((again.ca.as_slice(), again.certificate.as_slice()), (&b"CA"[..], &b"CERT"[..]));
        assert_eq!(again.key.expose(), b"KEY");
        assert!(written.expose_str().expect("text").ends_with("current-context: \"dev\"\n"));
    }

    #[test]
    fn a_kubeconfig_in_another_form_is_refused_without_being_shown() {
        let failure = Kubeconfig::parse("users: [{user: {token: topsecret}}]").expect_err("refused");

        assert_eq!(
            failure.to_string(),
            "the server's kubeconfig cannot be read: it is not in the form that RKE2 writes"
        );
    }
}
