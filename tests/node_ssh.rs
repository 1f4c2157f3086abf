//! `node/` against a real sshd: pinned keys, scripts, files, forwards, a jump machine, a machine that goes away.
//!
//! Each test starts its own sshd on a free loopback port, as the user that runs the tests, with keys made for it. What
//! needs systemd on the other side (units) is tested in the lab.
#![expect(clippy::disallowed_methods, reason = "the world of the test is made of files and programs")]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sre_provision::artifact::{Access, Reach};
use sre_provision::environment::NodeName;
use sre_provision::failure::{Class, Exit, Failure};
use sre_provision::fingerprint::Digest;
use sre_provision::node::{Connection, Connections, Keys, Question, Sent};
use sre_provision::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[path = "node_ssh/transfers.rs"]
mod transfers;

/// An sshd of a test's own; ends with it.
struct Machine {
    dir: tempfile::TempDir,
    address: String,
    port: u16,
    sshd: Child,
}

impl Machine {
    /// Starts an sshd that admits the key beside `user_key`.
    fn start(user_key: &Path, options: &str) -> Self {
        Self::start_at("127.0.0.1", user_key, options)
    }

    fn start_at(address: &str, user_key: &Path, options: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        keygen(&dir.path().join("host"));
        let port = free_port();
        let config = format!(
            "Port {port}\nListenAddress {address}\nHostKey {host}\nAuthorizedKeysFile {keys}.pub\nPidFile none\n\
             PermitRootLogin yes\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n{options}\n",
            host = dir.path().join("host").display(),
            keys = user_key.display(),
        );
        std::fs::write(dir.path().join("config"), config).expect("a configuration");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let sshd = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd, from the package openssh-server");
        let machine = Self { dir, address: address.to_owned(), port, sshd };
        machine.wait();
        machine
    }

    fn wait(&self) {
        let start = Instant::now();
        while TcpStream::connect((self.address.as_str(), self.port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "sshd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn host_key(&self) -> String {
        public_key(&self.dir.path().join("host"))
    }

    fn reach(&self, machine: &str) -> Reach {
        Reach {
            machine: machine.to_owned(),
            role: None,
            address: self.address.clone(),
            port: self.port,
            user: whoami(),
            host_keys: vec![self.host_key()],
            jump: None,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// A user key and the connections that use it.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        // sshd's privilege separation directory, which its service would make.
        std::fs::create_dir_all("/run/sshd").expect("/run/sshd");
        let dir = tempfile::tempdir().expect("a directory");
        keygen(&dir.path().join("user"));
        Self { dir }
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("user")
    }

    fn connections(&self) -> Connections {
        self.connections_asking(vec![])
    }

    fn connections_asking(&self, questions: Vec<Question>) -> Connections {
        let key = std::fs::read(self.key()).expect("a key");
        Connections::new(&self.dir.path().join("s"), Keys { node: Some(Secret::new(key)), jump: None }, questions)
    }
}

fn keygen(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f"])
        .arg(path)
        .status()
        .expect("ssh-keygen");
    assert!(made.success());
}

fn public_key(private: &Path) -> String {
    let text = std::fs::read_to_string(private.with_extension("pub")).expect("a public key");
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

fn node(name: &str) -> NodeName {
    NodeName(name.to_owned())
}

async fn failure_of(connecting: impl Future<Output = Result<Connection, Failure>>) -> Failure {
    connecting.await.err().expect("a failure")
}

#[tokio::test]
async fn a_script_runs_whole_with_its_output_code_and_an_empty_stdin() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let connection = world.connections().open("server-1", &machine.reach("i-1"), None).await.expect("connected");

    let output =
        connection.run("cat; echo \"it's $((6 * 7))\"; echo wrong >&2; umask; exit 3", true).await.expect("run");

    assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.code), ("it's 42\n0077\n", "wrong\n", 3));
}

#[tokio::test]
async fn a_secret_in_a_script_is_in_no_argument_of_a_process() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let connection = world.connections().open("server-1", &machine.reach("i-1"), None).await.expect("connected");

    let script = "token=canary-4711; for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <\"$file\" 2>/dev/null; echo; done | \
                  grep -c 'canary-471[1]'";
    let output = connection.run(script, true).await.expect("run");

    assert_eq!(output.stdout.trim(), "0");
}

#[tokio::test]
async fn a_machine_that_shows_another_key_is_refused_and_both_are_shown() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let other = Machine::start(&world.key(), "");
    let reach = Reach { host_keys: vec![other.host_key()], ..machine.reach("i-1") };

    let failure = failure_of(world.connections().open("server-1", &reach, None)).await;

    let shown = sre_provision::node::host_key_fingerprint(&machine.host_key()).expect("a key");
    let pinned = sre_provision::node::host_key_fingerprint(&other.host_key()).expect("a key");
    assert_eq!(failure.causes(), [format!("machine `i-1` shows {shown}, pinned is {pinned}")]);
    assert_eq!((failure.kind(), failure.exit()), (Class::NeedsPerson, Exit::Platform));
}

#[tokio::test]
async fn one_connection_serves_many_scripts_at_once_and_is_opened_once() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "MaxSessions 10\nLogLevel VERBOSE");
    let connections = world.connections();
    let access = Access {
        nodes: BTreeMap::from([(node("server-1"), machine.reach("i-1"))]),
        unreached: BTreeMap::new(),
        jump: None,
    };

    let scripts = (0..20).map(|number| {
        let (connections, access) = (connections.clone(), access.clone());
        async move {
            let connection = connections.get(&node("server-1"), &access).await.expect("connected");
            connection.run(&format!("sleep 0.05; echo {number}"), false).await.expect("run").stdout
        }
    });
    let said = futures_util::future::join_all(scripts).await;

    assert_eq!(said, (0..20).map(|number| format!("{number}\n")).collect::<Vec<_>>());
    assert_eq!(machine.log().matches("Accepted publickey").count(), 1, "{}", machine.log());
}

#[tokio::test]
async fn a_connection_that_was_lost_is_opened_again_by_the_next_script() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let connection = world.connections().open("server-1", &machine.reach("i-1"), None).await.expect("connected");

    let lost = connection.run("kill -KILL $PPID; sleep 5", false).await;
    let again = connection.run("echo back", false).await.expect("run");

    assert!(lost.is_err_and(|failure| failure.is_transient()));
    assert_eq!(again.stdout, "back\n");
}

#[tokio::test]
async fn a_file_is_sent_once_verified_and_never_half() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let connection = world.connections().open("server-1", &machine.reach("i-1"), None).await.expect("connected");
    let (local, remote) = (world.dir.path().join("local"), world.dir.path().join("far away/it's here"));
    let content = vec![7_u8; 3 << 20];
    std::fs::write(&local, &content).expect("written");
    let digest = Digest::of(&content);

    let first = connection.put(&local, &remote, 0o640, &digest).await.expect("sent");
    let second = connection.put(&local, &remote, 0o600, &digest).await.expect("there");
    let wrong = connection.put(&local, &world.dir.path().join("far away/wrong"), 0o600, &Digest::of(b"x")).await;

    assert_eq!((first, second), (Sent::Bytes(3 << 20), Sent::Already));
    assert_eq!(std::fs::read(&remote).expect("a file"), content);
    assert_eq!(std::fs::metadata(&remote).expect("a file").permissions().mode() & 0o777, 0o600);
    let wrong = wrong.expect_err("refused");
    assert_eq!(wrong.causes()[0], format!("what arrived has the digest {digest}"));
    let left: Vec<_> = std::fs::read_dir(world.dir.path().join("far away")).expect("a directory").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn nodes_are_reached_through_the_jump_machine_with_its_own_pinned_key() {
    let world = World::new();
    let (jump, server) = (Machine::start(&world.key(), "LogLevel VERBOSE"), Machine::start(&world.key(), ""));
    let connections = world.connections();
    let access = Access {
        nodes: BTreeMap::from([(node("server-1"), server.reach("i-1")), (node("server-2"), server.reach("i-2"))]),
        unreached: BTreeMap::new(),
        jump: Some(jump.reach("i-jump")),
    };

    for name in ["server-1", "server-2"] {
        let connection = connections.get(&node(name), &access).await.expect("connected");
        assert_eq!(
            connection.run("echo \"${SSH_CONNECTION##* }\"", false).await.expect("run").stdout,
            format!("{}\n", server.port)
        );
    }

    assert_eq!(jump.log().matches("Accepted publickey").count(), 1, "{}", jump.log());
}

#[tokio::test]
async fn a_jump_machine_that_does_not_forward_is_the_cause() {
    let world = World::new();
    let (jump, server) = (Machine::start(&world.key(), "AllowTcpForwarding no"), Machine::start(&world.key(), ""));
    let connections = world.connections();

    let failure = failure_of(connections.open("server-1", &server.reach("i-1"), Some(&jump.reach("i-jump")))).await;

    assert_eq!(failure.what(), "no SSH connection to `server-1` (127.0.0.1)");
    assert_eq!(
        failure.causes(),
        ["the jump machine does not open a way to `127.0.0.1`: administratively prohibited: open failed"]
    );
}

#[tokio::test]
async fn a_node_that_the_jump_machine_does_not_reach_may_be_asked_again() {
    let world = World::new();
    let jump = Machine::start(&world.key(), "");
    let reach = Reach { port: free_port(), ..jump.reach("i-1") };

    let failure = failure_of(world.connections().open("server-1", &reach, Some(&jump.reach("i-jump")))).await;

    assert_eq!(failure.causes(), ["the jump machine does not reach `127.0.0.1`: connect failed: Connection refused"]);
    assert!(failure.is_transient());
}

#[tokio::test]
async fn what_stays_of_a_configuration_serves_a_plain_ssh_as_well() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "LogLevel VERBOSE");
    let connections = world.connections();
    let access = Access {
        nodes: BTreeMap::from([(node("server-1"), machine.reach("i-1"))]),
        unreached: BTreeMap::new(),
        jump: None,
    };
    connections.get(&node("server-1"), &access).await.expect("connected");

    let words = connections.ssh_command(&node("server-1"));
    let output = Command::new(&words[0]).args(&words[1..]).arg("echo there").output().expect("ssh");

    assert_eq!(String::from_utf8_lossy(&output.stdout), "there\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(machine.log().matches("Accepted publickey").count(), 1, "it uses the open connection");
}

#[tokio::test]
async fn a_forward_leads_to_what_the_machine_reaches() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let connection = world.connections().open("jump", &machine.reach("i-1"), None).await.expect("connected");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"pong").await.expect("written");
    });

    let forward = connection.forward("127.0.0.1", port).await.expect("a forward");
    let mut stream = tokio::net::UnixStream::connect(forward.socket()).await.expect("connected");
    let mut said = String::new();
    stream.read_to_string(&mut said).await.expect("read");
    let socket = forward.socket().to_owned();
    forward.close().await.expect("closed");

    assert_eq!(said, "pong");
    echo.await.expect("ended");
    assert!(tokio::net::UnixStream::connect(&socket).await.is_err(), "the way is closed");
}

#[tokio::test]
async fn a_census_is_asked_once_and_again_when_something_changed() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let count = world.dir.path().join("count");
    let question = Question { name: "count", script: format!("echo x >>'{0}'; wc -l <'{0}'", count.display()) };
    let connections = world.connections_asking(vec![question]);
    let access = Access {
        nodes: BTreeMap::from([(node("server-1"), machine.reach("i-1"))]),
        unreached: BTreeMap::new(),
        jump: None,
    };
    let ask = || async {
        let census = connections.census(&node("server-1"), &access).await.expect("a census");
        census.answer("count").expect("an answer").text.trim().to_owned()
    };

    let (first, second) = (ask().await, ask().await);
    connections.forget_census(&node("server-1")).await;
    let third = ask().await;

    assert_eq!((first.as_str(), second.as_str(), third.as_str()), ("1", "1", "2"));
}

#[tokio::test]
async fn closing_ends_every_master() {
    let world = World::new();
    let machine = Machine::start(&world.key(), "");
    let connections = world.connections();
    let connection = connections.open("server-1", &machine.reach("i-1"), None).await.expect("connected");
    connection.run("true", false).await.expect("run");
    drop(connection);

    connections.close().await;

    let masters = std::fs::read_dir(world.dir.path().join("s")).expect("a directory");
    let masters: Vec<_> =
        masters.flatten().filter(|entry| entry.file_name().to_string_lossy().contains(".ssh-connection")).collect();
    assert!(masters.is_empty(), "{masters:?}");
}
