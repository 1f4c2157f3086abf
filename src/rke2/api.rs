//! The Kubernetes API, asked with the administrator's certificate and trusting nothing but the cluster's own CA.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, StatusCode, Url};
use serde_json::Value;

use crate::failure::{Exit, Failure, deepest};
use crate::rke2::kubeconfig::Kubeconfig;
use crate::rke2::node_status::NodeStatus;

/// How the API's address is reached; the name that its certificate must hold stays that of the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the name service and the network of this machine.
    Direct,
    /// At this address, whatever the name service says.
    Address(SocketAddr),
    /// Through a local socket, such as a forward over SSH.
    Socket(PathBuf),
}

/// A client of one cluster's API; cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    url: Url,
    client: Client,
}

impl Api {
    /// A client for `server`, such as `https://dev-api.example:6443`. No proxy is used: the address is private.
    ///
    /// # Errors
    /// Exit 7 when certificate or key cannot be used; nothing is asked yet.
    pub fn new(kubeconfig: &Kubeconfig, server: &str, route: &Route) -> Result<Self, Failure> {
        let unusable = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Unhealthy, format!("no client for the Kubernetes API at {server}")).because(error)
        };
        let url = Url::parse(server).map_err(|error| unusable(&error))?;
        let ca = Certificate::from_pem_bundle(&kubeconfig.ca).map_err(|error| unusable(&error))?;
        let pem = zeroize::Zeroizing::new([&kubeconfig.certificate, kubeconfig.key.expose()].concat());
        let identity = Identity::from_pem(&pem).map_err(|_| unusable(&"its certificate or key is no PEM"))?;
        let mut builder = Client::builder()
            .tls_certs_only(ca)
            .identity(identity)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(15));
        builder = match (route, url.host_str()) {
            (Route::Direct, _) | (Route::Address(_), None) => builder,
            (Route::Address(address), Some(host)) => builder.resolve(host, *address),
            (Route::Socket(path), _) => builder.unix_socket(path.clone()),
        };
        let client = builder.build().map_err(|error| unusable(&deepest(&error)))?;
        Ok(Self { url, client })
    }

    /// The address that is asked.
    pub fn server(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Whether the API is ready to serve.
    ///
    /// # Errors
    /// Exit 7, transient, with the checks that fail; exit 6, transient, when nobody answers; exit 7 when the answer's
    /// certificate is not the cluster's or the client is not known there.
    pub async fn readyz(&self) -> Result<(), Failure> {
        let (status, text) = self.get("readyz?verbose").await?;
        if status.is_success() {
            return Ok(());
        }
        let failing: Vec<&str> = text.lines().filter(|line| line.starts_with("[-]")).collect();
        Err(Failure::new(Exit::Unhealthy, format!("the Kubernetes API at {} is not ready", self.server()))
            .because(if failing.is_empty() { format!("it answers {status}") } else { failing.join(", ") })
            .transient())
    }

    /// Every node of the cluster, by name.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Failure> {
        let (status, text) = self.get("api/v1/nodes").await?;
        let items = serde_json::from_str::<Value>(&text).ok().filter(|_| status.is_success());
        let nodes = items.as_ref().and_then(|list| list.get("items")?.as_array());
        let Some(nodes) = nodes else {
            return Err(Failure::new(
                Exit::Unhealthy,
                format!("the Kubernetes API at {} gave no nodes", self.server()),
            )
            .because(format!("it answers {status}"))
            .transient());
        };
        let mut nodes: Vec<NodeStatus> = nodes.iter().filter_map(NodeStatus::read).collect();
        nodes.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(nodes)
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, String), Failure> {
        let url = self.url.join(path).map_err(|error| Failure::bug("a path of the API is no URL").because(error))?;
        let answer = self.client.get(url).send().await.map_err(|error| self.no_answer(&error))?;
        let status = answer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Failure::new(Exit::Unhealthy, format!("the Kubernetes API at {} refused us", self.server()))
                .because(format!("it answers {status}: the cluster does not know the certificate")));
        }
        let text = answer.text().await.map_err(|error| self.no_answer(&error))?;
        Ok((status, text))
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let cause = deepest(error);
        let failure = |exit| {
            Failure::new(exit, format!("no answer from the Kubernetes API at {}", self.server())).because(&cause)
        };
        if cause.contains("certificate") {
            return failure(Exit::Unhealthy)
                .hint("the answer must come from this cluster and under this name: look at `tls-san` on the servers");
        }
        failure(Exit::Platform).transient()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_key_that_is_none_is_refused_without_being_shown() {
        let kubeconfig =
            Kubeconfig { server: String::new(), ca: vec![], certificate: vec![], key: Secret::new("topsecret") };

        let failure = Api::new(&kubeconfig, "https://dev-api.example:6443", &Route::Direct).expect_err("refused");

        assert_eq!(
            failure.to_string(),
            "no client for the Kubernetes API at https://dev-api.example:6443: its certificate or key is no PEM"
        );
    }
}
