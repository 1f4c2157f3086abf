//! A way from here to an address that a node reaches: how the Kubernetes API is asked through a jump machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use openssh::{ForwardType, Session, Socket};

use crate::failure::{Exit, Failure};
use crate::node::connection::Connection;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A local socket that leads to `host:port` as the machine sees it; lives as long as this and the connection.
pub struct Forward {
    path: PathBuf,
    host: String,
    port: u16,
    session: Arc<Session>,
}

impl Forward {
    /// A Unix socket in a directory that only its owner may enter.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// Ends the way; without it, it ends with the connection.
    pub async fn close(self) -> Result<(), Failure> {
        let target = Socket::new(self.host.as_str(), self.port);
        self.session
            .close_port_forward(ForwardType::Local, Socket::from(self.path.as_path()), target)
            .await
            .map_err(|error| Failure::new(Exit::Platform, "cannot close a forward").because(error))
    }
}

impl Connection {
    /// Opens a way to `host:port` from this machine on. That somebody listens there shows only when it is used.
    ///
    /// # Errors
    /// Exit 6 when the connection is lost or the socket cannot be made.
    pub async fn forward(&self, host: &str, port: u16) -> Result<Forward, Failure> {
        let session = self.session().await?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.table.dir().join(format!("f{}-{number}", std::process::id()));
        session
            .request_port_forward(ForwardType::Local, Socket::from(path.as_path()), Socket::new(host, port))
            .await
            .map_err(|error| {
            Failure::new(Exit::Platform, format!("no way from `{}` to `{host}:{port}`", self.name())).because(error)
        })?;
        Ok(Forward { path, host: host.to_owned(), port, session })
    }
}
