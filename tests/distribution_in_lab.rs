//! Files to machines of the lab: cut cables, power losses, full disks, closed doors; and what `benches/distribution` times.
//!
//! Started by `tests/distribution-in-lab`, which brings the machines up and names them in the environment; ignored
//! otherwise.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "its script tells it the lab by variables, faults are programs, and people read what it measured"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sre_provision::artifact::Reach;
use sre_provision::failure::{Exit, Failure};
use sre_provision::fingerprint::Digest;
use sre_provision::node::{Connection, Connections, Course, Keys, Sent, Shipment, Uplink, console_host_keys};
use sre_provision::secret::Secret;

const MIB: u64 = 1 << 20;

/// The machines `node-1` … and a file for them.
struct Lab {
    connections: Connections,
    reaches: Vec<Reach>,
    dir: tempfile::TempDir,
}

fn variable(name: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(name).unwrap_or_else(|| panic!("`{name}` is not set: run tests/distribution-in-lab")),
    )
}

/// A verb of the lab on one machine, such as `fault cut`.
fn lab(words: &[&str]) {
    let output = Command::new(variable("SRE_TEST_LAB")).args(words).output().expect("the lab's command");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Lab {
    fn new() -> Self {
        let machines = variable("SRE_TEST_MACHINES");
        let count: usize = variable("SRE_TEST_COUNT").to_string_lossy().parse().expect("a number");
        let reach = |number: usize| {
            let machine = machines.join(format!("node-{number}"));
            let console = std::fs::read_to_string(machine.join("console.log")).expect("a console");
            Reach {
                machine: format!("i-{number}"),
                role: None,
                address: std::fs::read_to_string(machine.join("ip")).expect("an address").trim().to_owned(),
                port: 22,
                user: "rocky".to_owned(),
                host_keys: console_host_keys(&console),
                jump: None,
            }
        };
        let key = std::fs::read(variable("SRE_TEST_KEY")).expect("a key");
        let dir = tempfile::tempdir().expect("a directory");
        let keys = Keys { node: Some(Secret::new(key)), jump: None };
        let connections = Connections::new(&dir.path().join("s"), keys, vec![]);
        Self { connections, reaches: (1..=count).map(reach).collect(), dir }
    }

    /// The connection to `node-<number>`, asked for until it answers.
    async fn connection(&self, number: usize) -> Connection {
        let start = Instant::now();
        loop {
            match self.connections.open(&format!("node-{number}"), &self.reaches[number - 1], None).await {
                Ok(connection) => return connection,
                Err(failure) => assert!(start.elapsed() < Duration::from_secs(180), "{failure}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn all(&self) -> Vec<Connection> {
        join_all((1..=self.reaches.len()).map(|number| self.connection(number))).await
    }

    /// A file whose bytes nothing can squeeze.
    async fn shipment(&self, mib: u64) -> Shipment {
        let path = self.dir.path().join(format!("{mib}"));
        let mut content = vec![0; usize::try_from(mib * MIB).expect("a length")];
        aws_lc_rs::rand::fill(&mut content).expect("random numbers");
        std::fs::write(&path, &content).expect("written");
        Shipment::of(&path, &Digest::of(&content)).await.expect("a file")
    }
}

async fn spread(
    nodes: &[Connection],
    shipment: &Shipment,
    remote: &str,
    uplink: &Uplink,
    heard: &(dyn Fn(usize, u64) -> Result<(), Failure> + Sync),
) -> (Vec<Result<Sent, Failure>>, Course) {
    let nodes: Vec<(&Connection, &Path)> = nodes.iter().map(|node| (node, Path::new(remote))).collect();
    uplink.spread(&nodes, shipment, 0o600, heard).await
}

/// Sends to one node, and does `fault` once it has so much of the file.
async fn send_until(
    connection: &Connection,
    shipment: &Shipment,
    remote: &str,
    most: u64,
    fault: impl Fn() + Sync,
) -> Result<Sent, Failure> {
    let is_done = AtomicBool::new(false);
    let heard = |_: usize, bytes: u64| {
        if bytes >= most && !is_done.swap(true, Ordering::SeqCst) {
            fault();
        }
        Ok(())
    };
    spread(std::slice::from_ref(connection), shipment, remote, &Uplink::default(), &heard).await.0.remove(0)
}

async fn said(connection: &Connection, script: &str) -> String {
    connection.ask("looking", script).await.expect("an answer").trim().to_owned()
}

#[tokio::test]
#[ignore = "needs machines: run tests/distribution-in-lab"]
async fn a_file_goes_on_after_a_cut_cable_and_after_a_power_loss_and_is_sent_once() {
    let lab_of_test = Lab::new();
    let node = lab_of_test.connection(1).await;
    let shipment = lab_of_test.shipment(192).await;
    let remote = "/var/lib/sre-provision/release/cut/file";

    let cut = send_until(&node, &shipment, remote, 64 * MIB, || lab(&["fault", "cut", "node-1"])).await;
    lab(&["fault", "heal", "node-1"]);
    let node = lab_of_test.connection(1).await;
    let after_cut: u64 =
        said(&node, &format!("stat -c %s {remote}.partial; test ! -e {remote}")).await.parse().expect("a size");
    let lost = send_until(&node, &shipment, remote, after_cut + 48 * MIB, || lab(&["fault", "crash", "node-1"])).await;
    lab(&["machine", "start", "node-1"]);
    let node = lab_of_test.connection(1).await;
    let after_loss: u64 =
        said(&node, &format!("stat -c %s {remote}.partial; test ! -e {remote}")).await.parse().expect("a size");
    let last = send_until(&node, &shipment, remote, u64::MAX, || ()).await.expect("sent");
    let again = send_until(&node, &shipment, remote, u64::MAX, || ()).await.expect("there");

    println!(
        "      after the cut {} MiB, after the power loss {} MiB, then {last:?}",
        after_cut / MIB,
        after_loss / MIB
    );
    assert!(cut.expect_err("cut").is_transient() && lost.expect_err("lost").is_transient());
    assert!(after_cut >= 64 * MIB && after_loss > after_cut);
    let Sent::Bytes(last) = last else { panic!("nothing was sent") };
    assert!(last < shipment.size() - 64 * MIB, "{last} bytes sent again");
    assert_eq!(again, Sent::Already);
}

#[tokio::test]
#[ignore = "needs machines: run tests/distribution-in-lab"]
async fn a_full_disk_is_named_before_and_while_a_file_is_sent_and_nothing_stays() {
    let lab_of_test = Lab::new();
    let node = lab_of_test.connection(2).await;
    let shipment = lab_of_test.shipment(64).await;
    let (dir, remote) = ("/var/lib/sre-provision/release/full", "/var/lib/sre-provision/release/full/file");
    said(&node, &format!("mkdir -p {dir}; mount -t tmpfs -o size=80m full {dir}")).await;
    let occupy = format!("head -c 70M /dev/zero >{dir}/other; ls {dir}");

    let while_sent = send_until(&node, &shipment, remote, 16 * MIB, || {
        lab(&["machine", "exec", "node-2", "sh", "-c", &occupy]);
    })
    .await;
    let left = said(&node, &format!("ls -A {dir}; umount {dir}")).await;
    lab(&["fault", "fill", "node-2"]);
    let before = send_until(&node, &shipment, remote, u64::MAX, || ()).await;
    let left_then = said(&node, &format!("ls -A {dir}")).await;
    lab(&["fault", "unfill", "node-2"]);
    let then = send_until(&node, &shipment, remote, u64::MAX, || ()).await;

    for failure in [while_sent.expect_err("full"), before.expect_err("full")] {
        println!("      {failure}; hint: {:?}", failure.hints());
        assert_eq!(failure.exit(), Exit::Tool);
        assert_eq!(failure.what(), format!("`{remote}` does not fit on `node-2`"));
        assert_eq!(failure.causes(), ["it needs 64 MiB, 0 MiB are free"]);
        assert_eq!(
            failure.hints(),
            ["make room on `node-2` or give it a larger disk, then run the same command again"]
        );
    }
    assert_eq!((left.as_str(), left_then.as_str()), ("other", ""));
    assert_eq!(then.expect("sent"), Sent::Bytes(64 * MIB));
}

/// The security group lets nothing in between machines when this runs.
#[tokio::test]
#[ignore = "needs machines: run tests/distribution-in-lab"]
async fn closed_nodes_that_do_not_reach_each_other_are_sent_the_file_from_here() {
    let lab_of_test = Lab::new();
    let nodes = lab_of_test.all().await;
    let shipment = lab_of_test.shipment(32).await;
    let slow = Uplink::of(1024.0 * 1024.0);

    let (results, course) = spread(&nodes, &shipment, "/var/tmp/closed", &slow, &|_, _| Ok(())).await;
    let (again, second) =
        spread(&nodes, &lab_of_test.shipment(33).await, "/var/tmp/closed-2", &slow, &|_, _| Ok(())).await;

    assert_eq!((course, second), (Course::PassedOn, Course::Straight), "after that, no door is tried");
    assert!(results.into_iter().all(|result| result.expect("sent") == Sent::Bytes(32 * MIB)));
    assert!(again.into_iter().all(|result| result.expect("sent") == Sent::Bytes(33 * MIB)));
}

#[tokio::test]
#[ignore = "needs machines: run tests/distribution-in-lab"]
async fn nodes_pass_the_file_on_and_one_that_loses_power_meanwhile_harms_no_other() {
    let lab_of_test = Lab::new();
    let nodes = lab_of_test.all().await;
    let shipment = lab_of_test.shipment(256).await;
    let slow = Uplink::of(1024.0 * 1024.0);
    let is_done = AtomicBool::new(false);
    let heard = |place: usize, bytes: u64| {
        if place == 1 && bytes >= 64 * MIB && !is_done.swap(true, Ordering::SeqCst) {
            lab(&["fault", "crash", "node-2"]);
        }
        Ok(())
    };

    let (results, course) = spread(&nodes, &shipment, "/var/tmp/passed", &slow, &heard).await;
    lab(&["machine", "start", "node-2"]);
    let again = lab_of_test.all().await;
    let (second, _) = spread(&again, &shipment, "/var/tmp/passed", &slow, &|_, _| Ok(())).await;

    assert_eq!(course, Course::PassedOn);
    for (place, result) in results.into_iter().enumerate() {
        println!("      node-{}: {result:?}", place + 1);
        match place {
            1 => assert!(result.expect_err("lost").is_transient()),
            _ => assert!(matches!(result.expect("sent"), Sent::Bytes(_))),
        }
    }
    for (place, result) in second.into_iter().enumerate() {
        let sent = result.expect("sent");
        assert_eq!(sent, if place == 1 { Sent::Bytes(0) } else { Sent::Already }, "node-{}", place + 1);
    }
    let sums =
        join_all(again.iter().map(|node| said(node, "sha256sum </var/tmp/passed; ls -d /var/tmp/passed*"))).await;
    assert!(sums.iter().all(|sum| *sum == sums[0] && !sum.contains("partial")), "{sums:?}");
}

/// Occupies the kubelet's port on a node, as a kubelet does.
const KUBELET: &str = r#"for python in /usr/libexec/platform-python /usr/bin/python3; do
  [ -x "$python" ] || continue
  setsid "$python" -c 'import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 10250)); s.listen(8); time.sleep(600)' </dev/null >/dev/null 2>&1 &
  echo $!
  break
done"#;

/// All that went to these nodes from here, in copies of the file.
fn copies(results: &[Result<Sent, Failure>], shipment: &Shipment) -> f64 {
    let sent = results.iter().map(|result| match result {
        Ok(Sent::Bytes(bytes)) => *bytes,
        Ok(Sent::Already) => 0,
        Err(failure) => panic!("{failure}"),
    });
    sent.sum::<u64>() as f64 / shipment.size() as f64
}

#[tokio::test]
#[ignore = "needs machines: run tests/distribution-in-lab"]
async fn servers_and_then_agents_cost_about_one_copy_over_a_slow_way_with_kubelets_running_too() {
    let lab_of_test = Lab::new();
    let nodes = lab_of_test.all().await;
    let (first, second) = (lab_of_test.shipment(128).await, lab_of_test.shipment(129).await);
    let slow = Uplink::of(5.0 * 1024.0 * 1024.0);
    let (servers, _) = nodes.split_at(2);

    // As `up`: one row of servers and agents; then agents alone, at their turn.
    let (founding, course) = spread(&nodes, &first, "/var/tmp/run", &slow, &|_, _| Ok(())).await;
    let (joining, _) = spread(&nodes, &first, "/var/tmp/run", &slow, &|_, _| Ok(())).await;
    // As `upgrade`: the same with kubelets that have the first door; then what servers have goes on to the others.
    let kubelets = join_all(nodes.iter().map(|node| said(node, KUBELET))).await;
    let (upgrading, upgrade) = spread(servers, &second, "/var/tmp/upgrade", &slow, &|_, _| Ok(())).await;
    let (later, later_course) = spread(&nodes, &second, "/var/tmp/upgrade", &slow, &|_, _| Ok(())).await;
    for (node, id) in nodes.iter().zip(&kubelets) {
        said(node, &format!("kill {id}")).await;
    }

    let up = copies(&founding, &first) + copies(&joining, &first);
    let upgraded = copies(&upgrading, &second) + copies(&later, &second);
    println!("      up: {up:.2} copies to 4 nodes; upgrade: {upgraded:.2} copies, servers first");
    assert_eq!((course, upgrade, later_course), (Course::PassedOn, Course::PassedOn, Course::PassedOn));
    assert!(up <= 1.3 && upgraded <= 1.3, "{up:.2} {upgraded:.2}");
}

/// Prints what one distribution took, for `benches/distribution`.
#[tokio::test]
#[ignore = "needs machines: run benches/distribution"]
async fn bench_one_distribution() {
    let lab = Lab::new();
    let file = variable("SRE_TEST_FILE");
    let digest = Digest::parse(&variable("SRE_TEST_DIGEST").to_string_lossy()).expect("a digest");
    let nodes = lab.all().await;
    let uplink = Uplink::default();

    let start = Instant::now();
    let shipment = Shipment::of(&file, &digest).await.expect("a file");
    let (results, course) = spread(&nodes, &shipment, "/var/tmp/bench/file", &uplink, &|_, _| Ok(())).await;
    let took = start.elapsed().as_secs_f64();

    let sent: u64 =
        results.into_iter().map(|result| if let Sent::Bytes(sent) = result.expect("sent") { sent } else { 0 }).sum();
    println!("result {took:.3} {course:?} {sent} {:.0}", uplink.rate().unwrap_or_default());
}
