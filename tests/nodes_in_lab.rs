//! `node/`, `rke2/` and `compliance/` on machines of the lab: three machines become two servers and an agent.
//!
//! Started by `tests/nodes-in-lab`, which brings the machines up and names them in the environment; ignored otherwise.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "its script tells it the lab by variables, and people read what it measured"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sre_provision::artifact::{Access, Reach};
use sre_provision::compliance::{Catalogue, Depth, Status};
use sre_provision::environment::{HardeningProfile, NodeName, Role};
use sre_provision::failure::Exit;
use sre_provision::node::{Connection, Connections, Keys, Sent, Wait, console_host_keys};
use sre_provision::rke2::{
    ADMIN_KUBECONFIG, Api, Checksums, Expected, Kubeconfig, Route, State, Token, UnitActivity, Version, checksum_file,
    joined, members_agree, question, release_files, serves, unit,
};
use sre_provision::secret::Secret;
use sre_provision::stop::Stop;

const VERSION: &str = "v1.35.4+rke2r1";
const NODES: [(&str, Role); 3] = [("server-1", Role::Server), ("server-2", Role::Server), ("general-1", Role::Agent)];

/// The machines, each with a node's name, and what was told while waiting.
struct Lab {
    connections: Connections,
    access: Access,
    release: PathBuf,
    stop: Stop,
    told: Mutex<Vec<String>>,
}

fn variable(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("`{name}` is not set: run tests/nodes-in-lab")))
}

fn name(node: &str) -> NodeName {
    NodeName(node.to_owned())
}

impl Lab {
    fn new() -> Self {
        let (machines, dir) = (variable("SRE_TEST_MACHINES"), variable("SRE_TEST_DIR"));
        let reach = |node: &str, role| {
            let machine = machines.join(node);
            let console = std::fs::read_to_string(machine.join("console.log")).expect("a console");
            Reach {
                machine: format!("i-{node}"),
                role: Some(role),
                address: std::fs::read_to_string(machine.join("ip")).expect("an address").trim().to_owned(),
                port: 22,
                user: "rocky".to_owned(),
                host_keys: console_host_keys(&console),
                jump: None,
            }
        };
        let access = Access {
            nodes: NODES.map(|(node, role)| (name(node), reach(node, role))).into_iter().collect(),
            unreached: BTreeMap::new(),
            jump: None,
        };
        let key = std::fs::read(dir.join("key")).expect("a key");
        let keys = Keys { node: Some(Secret::new(key)), jump: None };
        let questions = vec![question(), catalogue().question()];
        let connections = Connections::new(&dir.join("ssh"), keys, questions);
        Self {
            connections,
            access,
            release: variable("SRE_TEST_RELEASE"),
            stop: Stop::default(),
            told: Mutex::default(),
        }
    }

    async fn connection(&self, node: &str) -> Connection {
        self.connections.get(&name(node), &self.access).await.expect("connected")
    }

    fn tell(&self, text: &str) {
        println!("      {text}");
        self.told.lock().expect("a lock").push(text.to_owned());
    }
}

fn catalogue() -> Catalogue {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible/roles/os_hardening/vars/main");
    Catalogue::read(&dir, HardeningProfile::Stig).expect("the role's rules")
}

fn version() -> Version {
    VERSION.parse().expect("a version")
}

/// Sends the release and unpacks it; the second time nothing is sent.
async fn install(lab: &Lab, node: &str) {
    let connection = lab.connection(node).await;
    let sums = std::fs::read_to_string(lab.release.join(checksum_file())).expect("checksums");
    let sums = Checksums::parse(&sums).expect("checksums");
    let start = Instant::now();
    let text = include_str!("../environments/airgap.yaml");
    let env = sre_provision::config::read("environments/airgap.yaml", "airgap", text).expect("valid");
    for file in release_files(&env.rke2) {
        let (local, remote) = (lab.release.join(&file), Path::new("/var/lib/rancher/staging").join(&file));
        let digest = sums.of(&file).expect("a digest");
        let first = connection.put(&local, &remote, 0o600, digest).await.expect("sent");
        let second = connection.put(&local, &remote, 0o600, digest).await.expect("there");
        assert!(matches!(first, Sent::Bytes(_)), "{file}");
        assert_eq!(second, Sent::Already, "{file}");
    }
    println!("{node}: release sent in {:?}", start.elapsed());
    let script = "set -e; cd /var/lib/rancher/staging; tar -xzf rke2.linux-amd64.tar.gz -C /usr/local --no-same-owner\n\
                  mkdir -p /var/lib/rancher/rke2/agent/images /etc/rancher/rke2\n\
                  mv rke2-images-*.tar.zst /var/lib/rancher/rke2/agent/images/; systemctl daemon-reload; echo unpacked";
    let tell = |text: &str| lab.tell(text);
    let wait = Wait::within(Duration::from_secs(120), &lab.stop, &tell);
    let first = connection.unit("run-1-install", script, &wait).await.expect("a unit");
    let again = connection.unit("run-1-install", script, &wait).await.expect("a unit");
    assert_eq!((first.code, first.output.trim(), first.reattached), (Some(0), "unpacked", false));
    assert_eq!((again.code, again.output.trim(), again.reattached), (Some(0), "unpacked", true));
    let other = connection.unit("run-1-install", "true", &wait).await.expect_err("another script");
    assert_eq!(other.exit(), Exit::Held);
}

/// Writes the configuration and starts the unit without waiting for it.
async fn configure_and_start(lab: &Lab, node: &str, role: Role, token: &Secret, join: Option<&str>) {
    let token = token.expose_str().expect("text");
    let server = join.map(|address| format!("server: https://{address}:9345\n")).unwrap_or_default();
    let script = format!(
        "cat >/etc/rancher/rke2/config.yaml <<'end'\nnode-name: {node}\n{server}token: {token}\nend\n\
         systemctl enable --quiet {unit}\nsystemctl restart --no-block {unit}",
        unit = unit(role)
    );
    lab.connection(node).await.ask("starting RKE2", &script).await.expect("started");
}

async fn join(
    lab: &Lab,
    node: &str,
    role: Role,
    deadline: Duration,
) -> Result<sre_provision::rke2::Member, sre_provision::failure::Failure> {
    let tell = |text: &str| lab.tell(text);
    let wait = Wait::within(deadline, &lab.stop, &tell);
    let start = Instant::now();
    println!("{node}: joining");
    let member = joined(&lab.connection(node).await, &name(node), role, version(), &wait).await;
    println!("{node}: after {:?}", start.elapsed());
    member
}

#[tokio::test]
#[ignore = "needs machines: run tests/nodes-in-lab"]
async fn machines_become_a_cluster_behind_gates_that_ask() {
    let lab = Lab::new();
    for (node, _) in NODES {
        install(&lab, node).await;
    }
    let password = Secret::new("0123456789abcdef0123456789abcdef0123456789abcdef");
    let five_minutes = Duration::from_secs(300);

    // The first server founds the cluster; its own word on CA and kubeconfig is what the others are given.
    configure_and_start(&lab, "server-1", Role::Server, &password, None).await;
    let first = join(&lab, "server-1", Role::Server, five_minutes).await.expect("joined");
    assert_eq!(first.version, VERSION);
    let server = lab.connection("server-1").await;
    let token = Token::parse(
        &server.ask("reading the token", "cat /var/lib/rancher/rke2/server/token").await.expect("a token"),
    );
    let ca = token.expect("a secure token").ca;
    lab.connections.forget_census(&name("server-1")).await;
    let census = lab.connections.census(&name("server-1"), &lab.access).await.expect("a census");
    let state = State::read("server-1", &census).expect("a state");
    assert_eq!(state.ca.as_ref(), Some(&ca));

    // A token of another cluster: the gate ends early, with what the journal said.
    let address = server.reach().address.clone();
    let wrong = Token::server(sre_provision::fingerprint::Digest::of(b"another"), password.clone()).secure();
    configure_and_start(&lab, "server-2", Role::Server, &wrong, Some(&address)).await;
    let start = Instant::now();
    let failure = join(&lab, "server-2", Role::Server, five_minutes).await.expect_err("a wrong token");
    println!("{failure}\n  hint: {:?}", failure.hints());
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(failure.to_string().contains("it was told a token of another cluster"), "{failure}");

    // The right ones.
    let right = Token::server(ca.clone(), password.clone()).secure();
    configure_and_start(&lab, "server-2", Role::Server, &right, Some(&address)).await;
    let second = join(&lab, "server-2", Role::Server, five_minutes).await.expect("joined");
    assert_eq!(second.version, VERSION);
    configure_and_start(&lab, "general-1", Role::Agent, &right, Some(&address)).await;
    join(&lab, "general-1", Role::Agent, five_minutes).await.expect("joined");

    proven(&lab, &server, &address).await;
    census_tells_all(&lab).await;
}

/// The API, direct and through a forward, under the cluster's CA alone.
async fn proven(lab: &Lab, server: &Connection, address: &str) {
    let text = server.ask("reading the kubeconfig", &format!("cat {ADMIN_KUBECONFIG}")).await.expect("a kubeconfig");
    let kubeconfig = Kubeconfig::parse(&text).expect("a kubeconfig");
    let forward = server.forward("127.0.0.1", 6443).await.expect("a forward");
    let routes = [
        (format!("https://{address}:6443"), Route::Direct),
        ("https://kubernetes:6443".to_owned(), Route::Address(format!("{address}:6443").parse().expect("an address"))),
        ("https://kubernetes.default:6443".to_owned(), Route::Socket(forward.socket().to_owned())),
    ];
    let expected = Expected {
        nodes: NODES.map(|(node, role)| (name(node), role)).into_iter().collect(),
        excused: BTreeMap::new(),
        version: version(),
    };
    let tell = |text: &str| lab.tell(text);
    let both = [lab.connection("server-1").await, lab.connection("server-2").await];
    let wait = Wait::within(Duration::from_secs(60), &lab.stop, &tell);
    members_agree(&both, &expected, &wait).await.expect("etcd's own word");
    for (url, route) in routes {
        let api = Api::new(&kubeconfig, &url, &route).expect("a client");
        let wait = Wait::within(Duration::from_secs(60), &lab.stop, &tell);
        let proof = serves(&api, &expected, &wait).await.expect("a cluster that serves");
        assert_eq!((proof.servers, proof.agents), (2, 1));
    }
    let wrong = Api::new(&kubeconfig, "https://elsewhere.example:6443", &Route::Socket(forward.socket().to_owned()));
    let failure = wrong.expect("a client").readyz().await.expect_err("another name");
    println!("{failure}");
    assert_eq!((failure.exit(), failure.is_transient()), (Exit::Unhealthy, false));
}

/// One script per node answers what a run that changes nothing asks.
async fn census_tells_all(lab: &Lab) {
    for (node, _) in NODES {
        lab.connections.forget_census(&name(node)).await;
    }
    let start = Instant::now();
    let asked = NODES.map(|(node, _)| async move { lab.connections.census(&name(node), &lab.access).await });
    let answers = futures_util::future::join_all(asked).await;
    println!("census of {} nodes in {:?}", NODES.len(), start.elapsed());
    let mut counts = BTreeMap::new();
    for ((node, role), census) in NODES.into_iter().zip(answers) {
        let census = census.expect("a census");
        let state = State::read(node, &census).expect("a state");
        assert_eq!(state.lacks(role, VERSION), None, "{node}");
        assert_eq!(state.unit(role).activity, UnitActivity::Active);
        let report = catalogue().results(node, &census).expect("a report");
        for finding in report.findings.values() {
            *counts.entry((node, finding.status)).or_insert(0) += 1;
        }
        assert_eq!(report.findings.len(), catalogue().len());
    }
    println!("{counts:?}");
    let server = lab.connection("server-1").await;
    let start = Instant::now();
    let deep = server.run(&catalogue().script(Depth::Deep), true).await.expect("a deep check");
    let report = catalogue().judge(&deep.stdout);
    println!("deep check in {:?}", start.elapsed());
    assert_eq!(report.count(Status::NotLookedAt), 0);
    for (id, finding) in report.findings.iter().filter(|(_, finding)| finding.status == Status::Unknown) {
        println!("{id}: {finding:?}");
    }
}

#[tokio::test]
#[ignore = "needs machines: run tests/nodes-in-lab"]
async fn a_unit_outlives_the_connection_and_is_found_again() {
    let lab = Lab::new();
    let tell = |text: &str| lab.tell(text);
    let script = "echo one; sleep 3; echo two; exit 5";
    let connection = lab.connection("general-1").await;
    let short = Wait::within(Duration::from_millis(800), &lab.stop, &tell);
    let long = Wait::within(Duration::from_secs(60), &lab.stop, &tell);

    let too_short = connection.unit("run-2-slow", script, &short).await.expect_err("too short");
    drop(connection);
    lab.connections.close().await;
    let again = lab.connection("general-1").await.unit("run-2-slow", script, &long).await.expect("found");

    assert!(too_short.what().contains("not within 800 ms"), "{too_short}");
    assert_eq!((again.code, again.output.as_str(), again.reattached), (Some(5), "one\ntwo\n", true));
    lab.connection("general-1").await.forget_unit("run-2-slow").await.expect("forgotten");
}

#[tokio::test]
#[ignore = "needs a machine on which the role os_hardening ran: run tests/nodes-in-lab"]
async fn what_the_role_sets_is_what_the_check_wants() {
    let lab = Lab::new();
    let connection = lab.connection("general-1").await;

    let said = connection.run(&catalogue().script(Depth::Deep), true).await.expect("a deep check");
    let report = catalogue().judge(&said.stdout);

    for (id, finding) in &report.findings {
        if matches!(finding.status, Status::Fail | Status::Unknown) && finding.excepted.is_none() {
            println!("{id}: {:?}: {} (wanted: {})", finding.status, finding.observed, finding.wanted);
        }
    }
    for status in [Status::Pass, Status::Fail, Status::NotApplicable, Status::Unknown] {
        println!("{status:?}: {}", report.count(status));
    }
    assert!(report.count(Status::Pass) > 150, "{} rules pass", report.count(Status::Pass));
    let settings = |id: &String| id.starts_with("RHEL-09-255") || id.starts_with("RHEL-09-6111");
    assert_eq!(report.open().into_iter().filter(settings).collect::<Vec<_>>(), Vec::<String>::new());
}
