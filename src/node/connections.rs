//! The table of connections: one per machine, opened when first asked for and opened again when it was lost.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use tokio::sync::Semaphore;

use crate::artifact::{Access, Reach};
use crate::environment::NodeName;
use crate::failure::{Exit, Failure};
use crate::node::census::{Census, Question, ask};
use crate::node::connection::Connection;
use crate::node::ssh_config::{Host, JUMP, config, jump_name, known_hosts};
use crate::node::trouble::not_connected;
use crate::secret::Secret;
use crate::workspace::{RealDisk, make_dir, write_atomic};

/// sshd admits ten sessions on one connection; two are left to Ansible.
const SESSIONS: usize = 8;
/// How long a master may outlive its last use: a killed program cannot close it.
const IDLE: usize = 300;
/// TCP and banner have ten seconds each by configuration; this bounds what they do not.
const OPENING: Duration = Duration::from_secs(40);

/// The private keys, in OpenSSH's PEM form.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    pub node: Option<Secret>,
    /// The key of a jump machine that was there before; without it the environment's own opens it.
    pub jump: Option<Secret>,
}

/// Every connection of one environment; cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Table>);

pub(super) struct Table {
    dir: PathBuf,
    keys: Keys,
    questions: Vec<Question>,
    peers: Mutex<BTreeMap<String, Arc<Peer>>>,
    /// Held while the files are written, so that the last writer saw every change.
    files: tokio::sync::Mutex<()>,
}

/// One machine and the connection to it.
pub(super) struct Peer {
    pub host: Host,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// A copy for the configuration, readable while a session is being opened.
    socket: Mutex<Option<PathBuf>>,
    census: tokio::sync::Mutex<Option<Arc<Census>>>,
    pub sessions: Semaphore,
}

impl Connections {
    /// `dir` is on tmpfs, for its owner alone, and short: a socket's path has room for 107 bytes. Nothing is written
    /// before the first connection. `questions` are what a census asks beside its own.
    pub fn new(dir: &Path, keys: Keys, questions: Vec<Question>) -> Self {
        Self(Arc::new(Table {
            dir: dir.to_owned(),
            keys,
            questions,
            peers: Mutex::default(),
            files: tokio::sync::Mutex::default(),
        }))
    }

    /// The connection to a node, opened through the jump machine where there is one.
    ///
    /// # Errors
    /// Exit 6, transient, while the machine or the jump machine does not answer; exit 6 for a person when it shows
    /// another host key than the pinned one.
    pub async fn get(&self, node: &NodeName, access: &Access) -> Result<Connection, Failure> {
        let reach = access.nodes.get(node).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no way to a node `{node}`")).hint(known_nodes(access))
        })?;
        self.open(&node.0, reach, access.jump.as_ref()).await
    }

    /// As [`get`](Self::get), for a machine that is in no artifact yet, such as one that checks an image.
    pub async fn open(&self, name: &str, reach: &Reach, jump: Option<&Reach>) -> Result<Connection, Failure> {
        let peer = self.0.led(name, reach, jump)?;
        self.0.session(&peer).await?;
        Ok(Connection::new(Arc::clone(&self.0), peer))
    }

    /// Opens the connection to the jump machine alone: the proof of the way in before there are nodes.
    pub async fn open_jump(&self, jump: &Reach) -> Result<Connection, Failure> {
        self.open(JUMP, jump, None).await
    }

    /// What a node answered to one script, asked once and remembered until [`forget_census`](Self::forget_census).
    pub async fn census(&self, node: &NodeName, access: &Access) -> Result<Arc<Census>, Failure> {
        let connection = self.get(node, access).await?;
        let mut remembered = connection.peer.census.lock().await;
        if let Some(census) = &*remembered {
            return Ok(Arc::clone(census));
        }
        let census = Arc::new(ask(&connection, &self.0.questions).await?);
        *remembered = Some(Arc::clone(&census));
        Ok(census)
    }

    /// To be called by whoever changes something on a node that a census tells.
    pub async fn forget_census(&self, node: &NodeName) {
        let peer = lock(&self.0.peers).get(&node.0).cloned();
        if let Some(peer) = peer {
            *peer.census.lock().await = None;
        }
    }

    /// Writes the configuration and the pinned keys for these nodes, so that Ansible and `ssh` can use them.
    pub async fn write_config(&self, access: &Access) -> Result<PathBuf, Failure> {
        if let Some(jump) = &access.jump {
            self.0.peer(JUMP, jump, None)?;
        }
        for (node, reach) in &access.nodes {
            self.0.led(&node.0, reach, access.jump.as_ref())?;
        }
        self.0.write_files().await?;
        Ok(self.config_path())
    }

    pub fn config_path(&self) -> PathBuf {
        self.0.dir.join("config")
    }

    /// Where the private key that opens the jump machine lies once a connection was opened; for Packer's bastion.
    pub fn jump_identity_path(&self) -> PathBuf {
        self.0.identity(JUMP)
    }

    /// Where the pinned host keys lie once a connection was opened.
    pub fn known_hosts_path(&self) -> PathBuf {
        self.0.dir.join("known_hosts")
    }

    /// What opens a shell on a node; [`write_config`](Self::write_config) comes first.
    pub fn ssh_command(&self, node: &NodeName) -> Vec<OsString> {
        vec!["ssh".into(), "-F".into(), self.config_path().into(), node.0.clone().into()]
    }

    /// For `ansible_ssh_args`: our configuration, and the open connections while they live.
    pub fn ansible_ssh_args(&self) -> String {
        format!("-F {}", self.config_path().display())
    }

    /// Closes every connection, the jump machine's last.
    pub async fn close(&self) {
        let mut peers: Vec<Arc<Peer>> = lock(&self.0.peers).values().cloned().collect();
        peers.sort_by_key(|peer| peer.host.name == JUMP);
        for peer in peers {
            let session = peer.session.lock().await.take();
            *lock(&peer.socket) = None;
            // The last user of a session closes its master when it lets go.
            drop(session);
        }
    }
}

impl Table {
    fn identity(&self, name: &str) -> PathBuf {
        let own_key = name == JUMP && self.keys.jump.is_some();
        self.dir.join(if own_key { "jump-key" } else { "key" })
    }

    /// The entry of a machine and of the one that leads there: its own, else the one that leads to all.
    fn led(&self, name: &str, reach: &Reach, jump: Option<&Reach>) -> Result<Arc<Peer>, Failure> {
        let (jump, behind) = match (&reach.jump, jump) {
            (Some(own), _) => (own.as_ref(), jump_name(own)),
            (None, Some(jump)) => (jump, JUMP.to_owned()),
            (None, None) => return self.peer(name, reach, None),
        };
        self.peer(&behind, jump, None)?;
        self.peer(name, reach, Some(behind))
    }

    /// The entry of a machine; a new one when the machine behind the name is another or has moved.
    fn peer(&self, name: &str, reach: &Reach, behind: Option<String>) -> Result<Arc<Peer>, Failure> {
        if reach.host_keys.is_empty() {
            return Err(Failure::new(Exit::Platform, format!("no host key of `{name}` is pinned"))
                .because("a machine is not talked to before its platform has vouched for its key"));
        }
        let identity = self.identity(name);
        let host = Host { name: name.to_owned(), reach: reach.clone(), behind, identity, socket: None };
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(name)
            && peer.host == host
        {
            return Ok(Arc::clone(peer));
        }
        let peer = Arc::new(Peer {
            host,
            session: tokio::sync::Mutex::default(),
            socket: Mutex::default(),
            census: tokio::sync::Mutex::default(),
            sessions: Semaphore::new(SESSIONS),
        });
        peers.insert(name.to_owned(), Arc::clone(&peer));
        Ok(peer)
    }

    /// The open session to a machine: the one there is while it answers, else a new one.
    pub async fn session(&self, peer: &Peer) -> Result<Arc<Session>, Failure> {
        let mut current = peer.session.lock().await;
        if let Some(session) = &*current
            && session.check().await.is_ok()
        {
            return Ok(Arc::clone(session));
        }
        *current = None;
        *lock(&peer.socket) = None;
        if let Some(behind) = &peer.host.behind {
            let jump = lock(&self.peers).get(behind).cloned();
            if let Some(jump) = jump {
                Box::pin(self.session(&jump)).await?;
            }
        }
        let session = Arc::new(self.launch(&peer.host).await?);
        *lock(&peer.socket) = Some(session.control_socket().to_owned());
        *current = Some(Arc::clone(&session));
        drop(current);
        self.write_files().await?;
        Ok(session)
    }

    async fn launch(&self, host: &Host) -> Result<Session, Failure> {
        self.write_files().await?;
        let mut builder = SessionBuilder::default();
        builder
            .config_file(self.dir.join("config"))
            .control_directory(&self.dir)
            .control_persist(ControlPersist::IdleFor(
                std::num::NonZeroUsize::new(IDLE).unwrap_or(std::num::NonZeroUsize::MIN),
            ))
            .known_hosts_check(KnownHosts::Strict);
        let log = host.behind.as_deref().and_then(|behind| self.jump_log(behind));
        let before = log.as_deref().map_or(0, |log| read_from(log, 0).len());
        match tokio::time::timeout(OPENING, builder.connect_mux(&host.name)).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(not_connected(host, &error, log.map(|log| read_from(&log, before)).as_deref())),
            Err(_) => Err(Failure::new(Exit::Platform, format!("no SSH connection to `{}`", host.name))
                .because(format!("`{}` took the connection and then said nothing", host.reach.address))
                .transient()),
        }
    }

    /// Where the jump machine's master writes why a way could not be opened; who asks it is only told that it failed.
    fn jump_log(&self, behind: &str) -> Option<PathBuf> {
        let jump = lock(&self.peers).get(behind).cloned()?;
        let socket = lock(&jump.socket).clone()?;
        Some(socket.with_file_name("log"))
    }

    /// Writes configuration, pinned keys and private keys; atomically, since Ansible may read them at the same time.
    async fn write_files(&self) -> Result<(), Failure> {
        let _turn = self.files.lock().await;
        let hosts: Vec<Host> = lock(&self.peers)
            .values()
            .map(|peer| Host { socket: lock(&peer.socket).clone(), ..peer.host.clone() })
            .collect();
        make_dir(&RealDisk, &self.dir, 0o700)?;
        let Some(key) = &self.keys.node else {
            return Err(Failure::bug("a connection was asked for before there was a key"));
        };
        self.write("key", key.expose())?;
        if let Some(key) = &self.keys.jump {
            self.write("jump-key", key.expose())?;
        }
        self.write("known_hosts", known_hosts(&hosts).as_bytes())?;
        self.write("config", config(&self.dir, &hosts)?.as_bytes())
    }

    /// Writes one file unless it holds that already.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.dir.join(name);
        if std::fs::read(&path).is_ok_and(|held| held == bytes) {
            return Ok(());
        }
        write_atomic(&path, bytes, 0o600)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What a log holds beyond its first `start` bytes.
fn read_from(log: &Path, start: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}

fn known_nodes(access: &Access) -> String {
    let names: Vec<&str> = access.nodes.keys().map(|name| name.0.as_str()).collect();
    format!("the nodes are {}", names.join(", "))
}

/// What is behind a lock; a thread that panicked with it left nothing half-done, since no holder does two things.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(keys: &[&str]) -> Reach {
        Reach {
            machine: "i-1".to_owned(),
            role: None,
            address: "192.0.2.1".to_owned(),
            port: 22,
            user: "rocky".to_owned(),
            host_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            jump: None,
        }
    }

    #[tokio::test]
    async fn a_machine_without_a_pinned_key_is_not_talked_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let connections = Connections::new(dir.path(), Keys::default(), vec![]);

        let failure = connections.open("server-1", &reach(&[]), None).await.err().expect("refused");

        assert_eq!(
            failure.to_string(),
            "no host key of `server-1` is pinned: a machine is not talked to before its platform has vouched for its key"
        );
    }

    #[tokio::test]
    async fn a_node_that_is_unknown_is_refused_with_the_names_of_those_that_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let connections = Connections::new(dir.path(), Keys::default(), vec![]);
        let access = Access {
            nodes: BTreeMap::from([(NodeName("server-1".to_owned()), reach(&["ssh-ed25519 AAAA"]))]),
            unreached: BTreeMap::new(),
            jump: None,
        };

        let failure = connections.get(&NodeName("srver-1".to_owned()), &access).await.err().expect("refused");

        assert_eq!(failure.what(), "there is no way to a node `srver-1`");
        assert_eq!(failure.hints(), ["the nodes are server-1"]);
    }

    #[tokio::test]
    async fn a_node_with_a_way_of_its_own_goes_that_way_and_the_others_go_the_common_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = Keys { node: Some(Secret::new("PRIVATE")), jump: None };
        let connections = Connections::new(dir.path(), keys, vec![]);
        let way = Reach { address: "198.51.100.7".to_owned(), ..reach(&["ssh-ed25519 CCCC"]) };
        let led = Reach { address: "192.0.2.2".to_owned(), jump: Some(Box::new(way)), ..reach(&["ssh-ed25519 BBBB"]) };
        let node = |name: &str| NodeName(name.to_owned());
        let access = Access {
            nodes: BTreeMap::from([(node("server-1"), reach(&["ssh-ed25519 AAAA"])), (node("server-2"), led)]),
            unreached: BTreeMap::new(),
            jump: Some(reach(&["ssh-ed25519 DDDD"])),
        };

        let config = connections.write_config(&access).await.expect("written");

        let text = std::fs::read_to_string(&config).expect("a configuration");
        let way_of = |node: &str| {
            let block = text.split("\nHost ").find(|block| block.starts_with(node)).expect("a block");
            block
                .lines()
                .find(|line| line.contains("ProxyCommand"))
                .and_then(|line| line.rsplit(' ').next())
                .map(str::to_owned)
        };
        assert_eq!(way_of("server-1 ").as_deref(), Some("jump"));
        assert_eq!(way_of("server-2 ").as_deref(), Some("jump-198.51.100.7-22"));
        assert_eq!(way_of("jump-198.51.100.7-22 "), None);
    }

    #[tokio::test]
    async fn the_files_for_ansible_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let keys = Keys { node: Some(Secret::new("PRIVATE")), jump: None };
        let connections = Connections::new(dir.path(), keys, vec![]);
        let access = Access {
            nodes: BTreeMap::from([(NodeName("server-1".to_owned()), reach(&["ssh-ed25519 AAAA"]))]),
            unreached: BTreeMap::new(),
            jump: Some(reach(&["ssh-ed25519 BBBB"])),
        };

        let config = connections.write_config(&access).await.expect("written");

        let text = std::fs::read_to_string(&config).expect("a configuration");
        assert!(text.contains("Host server-1 192.0.2.1\n") && text.contains("Host jump 192.0.2.1\n"), "{text}");
        for name in ["config", "known_hosts", "key"] {
            let mode = std::fs::metadata(dir.path().join(name)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
