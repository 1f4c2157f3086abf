//! Files that are cut on the way, damaged where they lie, or passed on: what goes over the wire is counted between the two.

use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use sre_provision::artifact::Reach;
use sre_provision::failure::Failure;
use sre_provision::fingerprint::Digest;
use sre_provision::node::{Connection, Course, Sent, Shipment, Uplink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Machine, World};

const MIB: u64 = 1 << 20;

/// A wire to a machine: counts what goes there, and lets only so much through.
struct Wire {
    port: u16,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    /// Beyond this the wire ends or, where it is to hang, lets nothing more through.
    most: AtomicU64,
    hangs: std::sync::atomic::AtomicBool,
}

impl Wire {
    async fn to(machine: &Machine) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let counters = Arc::new(Counters { most: AtomicU64::new(u64::MAX), ..Counters::default() });
        let (shared, there) = (Arc::clone(&counters), format!("{}:{}", machine.address, machine.port));
        let there: SocketAddr = there.parse().expect("an address");
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, there, Arc::clone(&shared)));
            }
        });
        Self { port, counters }
    }

    fn reach(&self, machine: &Machine, name: &str) -> Reach {
        Reach { address: "127.0.0.1".to_owned(), port: self.port, ..machine.reach(name) }
    }

    /// What went to the machine since this was asked last.
    fn sent(&self) -> u64 {
        self.counters.sent.swap(0, Ordering::SeqCst)
    }

    /// Ends after so many bytes from now.
    fn cut_after(&self, bytes: u64) {
        self.sent();
        self.counters.most.store(bytes, Ordering::SeqCst);
    }

    /// Waits until nothing more gets through.
    async fn is_full(&self) {
        while self.counters.sent.load(Ordering::SeqCst) <= self.counters.most.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    fn heal(&self) {
        self.counters.most.store(u64::MAX, Ordering::SeqCst);
    }
}

async fn carry(near: TcpStream, there: SocketAddr, counters: Arc<Counters>) {
    let far = TcpStream::connect(there).await.expect("an sshd");
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let back = tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = near_in.read(&mut buffer).await {
        let sent = counters.sent.fetch_add(read as u64, Ordering::SeqCst);
        if sent + read as u64 > counters.most.load(Ordering::SeqCst) {
            if counters.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            back.abort();
            break;
        }
        if far_out.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

/// A file whose blocks all differ.
fn file_of(path: &Path, mib: u64) -> (Vec<u8>, Digest) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ mib;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(usize::try_from(mib * MIB / 8).expect("a length"))
    .flatten()
    .collect();
    std::fs::write(path, &content).expect("written");
    let digest = Digest::of(&content);
    (content, digest)
}

/// Changes one byte.
fn damage(path: &Path, place: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).expect("a byte");
    file.write_all_at(&[!byte[0]], place).expect("written");
}

fn left_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A machine behind a wire, and a file for it.
struct Sending {
    world: World,
    machine: Machine,
    wire: Wire,
    local: PathBuf,
    remote: PathBuf,
    content: Vec<u8>,
    digest: Digest,
}

impl Sending {
    async fn of(mib: u64) -> Self {
        let world = World::new();
        let machine = Machine::start(&world.key(), "");
        let wire = Wire::to(&machine).await;
        let (local, remote) = (world.dir.path().join("local"), machine.dir.path().join("release/file"));
        let (content, digest) = file_of(&local, mib);
        Self { world, machine, wire, local, remote, content, digest }
    }

    async fn connection(&self) -> Connection {
        let reach = self.wire.reach(&self.machine, "i-1");
        self.world.connections().open("server-1", &reach, None).await.expect("connected")
    }

    async fn put(&self, connection: &Connection) -> Result<Sent, Failure> {
        connection.put(&self.local, &self.remote, 0o600, &self.digest).await
    }

    fn partial(&self) -> PathBuf {
        self.remote.with_extension("partial")
    }
}

#[tokio::test]
async fn a_file_that_was_cut_on_the_way_goes_on_from_there_and_is_not_sent_again() {
    let sending = Sending::of(24).await;
    let connection = sending.connection().await;

    sending.wire.cut_after(13 * MIB);
    let cut = sending.put(&connection).await.expect_err("cut");
    let is_named_early = sending.remote.exists();
    sending.wire.heal();
    sending.wire.sent();
    let second = sending.put(&connection).await.expect("sent");
    let over_the_wire = sending.wire.sent();
    let third = sending.put(&connection).await.expect("there");
    let for_nothing = sending.wire.sent();

    assert!(cut.is_transient() && !is_named_early, "{cut}");
    let Sent::Bytes(second) = second else { panic!("nothing was sent") };
    assert!((11 * MIB..=14 * MIB).contains(&second), "{second} bytes sent again");
    assert!((second..second + MIB / 4).contains(&over_the_wire), "{over_the_wire} over the wire for {second}");
    assert_eq!(third, Sent::Already);
    assert!(for_nothing < 64 << 10, "{for_nothing} over the wire for nothing");
    assert_eq!(std::fs::read(&sending.remote).expect("a file"), sending.content);
    assert_eq!(left_in(sending.remote.parent().expect("a directory")), ["file"]);
}

#[tokio::test]
async fn what_lies_there_is_believed_block_by_block_and_only_damaged_ones_are_sent() {
    let sending = Sending::of(12).await;
    let connection = sending.connection().await;
    sending.put(&connection).await.expect("sent");

    damage(&sending.remote, 5 * MIB + 17);
    let of_a_whole = sending.put(&connection).await.expect("sent");
    std::fs::rename(&sending.remote, sending.partial()).expect("renamed");
    std::fs::File::options()
        .write(true)
        .open(sending.partial())
        .and_then(|file| file.set_len(9 * MIB + 5))
        .expect("cut");
    damage(&sending.partial(), 3);
    damage(&sending.partial(), 8 * MIB);
    let of_a_part = sending.put(&connection).await.expect("sent");

    assert_eq!((of_a_whole, of_a_part), (Sent::Bytes(MIB), Sent::Bytes(5 * MIB)));
    assert_eq!(std::fs::read(&sending.remote).expect("a file"), sending.content);
}

#[tokio::test]
async fn a_receiver_whose_sender_is_gone_without_a_word_gives_way() {
    let sending = Sending::of(8).await;
    let first = sending.connection().await;
    sending.wire.counters.hangs.store(true, Ordering::SeqCst);
    sending.wire.cut_after(3 * MIB);
    let ended = tokio::select! {
        ended = sending.put(&first) => Some(ended),
        () = sending.wire.is_full() => None,
    };
    sending.wire.heal();

    let second =
        sending.world.connections().open("again", &sending.machine.reach("i-1"), None).await.expect("connected");
    let sent = sending.put(&second).await.expect("sent");

    assert!(ended.is_none(), "the first one hangs: {ended:?}");
    assert!(matches!(sent, Sent::Bytes(bytes) if bytes >= 5 * MIB), "{sent:?}");
    assert_eq!(std::fs::read(&sending.remote).expect("a file"), sending.content);
}

/// Machines with addresses of their own, each behind a wire.
struct Row {
    world: World,
    machines: Vec<(Machine, Wire)>,
    connections: Vec<Connection>,
    shipment: Shipment,
    content: Vec<u8>,
}

impl Row {
    /// `net` is the third number of the addresses: a door's port is the same in all tests.
    async fn of(net: u8, count: u8, mib: u64) -> Self {
        let world = World::new();
        let (content, digest) = file_of(&world.dir.path().join("local"), mib);
        let shipment = Shipment::of(&world.dir.path().join("local"), &digest).await.expect("a file");
        let (mut machines, mut connections) = (Vec::new(), Vec::new());
        let table = world.connections();
        for number in 1..=count {
            let machine = Machine::start_at(&format!("127.0.{net}.{number}"), &world.key(), "");
            let wire = Wire::to(&machine).await;
            let name = format!("server-{number}");
            connections.push(table.open(&name, &wire.reach(&machine, &name), None).await.expect("connected"));
            machines.push((machine, wire));
        }
        Self { world, machines, connections, shipment, content }
    }

    /// Brings the file to all, each under a name of its own: they share a disk.
    async fn spread(&self, uplink: &Uplink) -> (Vec<Sent>, Course) {
        for (_, wire) in &self.machines {
            wire.sent();
        }
        let remotes: Vec<PathBuf> = (0..self.machines.len()).map(|place| self.remote(place)).collect();
        let nodes: Vec<(&Connection, &Path)> =
            self.connections.iter().zip(remotes.iter().map(PathBuf::as_path)).collect();
        let (results, course) = uplink.spread(&nodes, &self.shipment, 0o600, &|_, _| Ok(())).await;
        (results.into_iter().map(|result| result.expect("sent")).collect(), course)
    }

    fn remote(&self, place: usize) -> PathBuf {
        self.world.dir.path().join(format!("far/{place}/file"))
    }

    fn over_the_wires(&self) -> u64 {
        self.machines.iter().map(|(_, wire)| wire.sent()).sum()
    }

    fn all_have_it(&self) {
        for place in 0..self.machines.len() {
            assert!(std::fs::read(self.remote(place)).expect("a file") == self.content, "machine {place}");
            assert_eq!(left_in(self.remote(place).parent().expect("a directory")), ["file"]);
        }
    }
}

/// A way on which 32 MiB take half a minute.
fn slow() -> Uplink {
    Uplink::of(1024.0 * 1024.0)
}

#[tokio::test]
async fn over_a_slow_way_the_file_goes_once_however_many_nodes_there_are() {
    let row = Row::of(91, 4, 32).await;

    let (sent, course) = row.spread(&slow()).await;
    let over_the_wires = row.over_the_wires();

    assert_eq!(course, Course::PassedOn);
    assert_eq!(sent, [Sent::Bytes(32 * MIB), Sent::Bytes(0), Sent::Bytes(0), Sent::Bytes(0)]);
    assert!((32 * MIB..33 * MIB).contains(&over_the_wires), "{over_the_wires}");
    row.all_have_it();
    // Each door is gone with its session.
    let knocks = join_all((1..=4).map(|number| TcpStream::connect(format!("127.0.91.{number}:10250")))).await;
    assert!(knocks.iter().all(Result::is_err), "{knocks:?}");
}

#[tokio::test]
async fn a_node_that_has_the_file_passes_it_on_and_nothing_goes_over_the_slow_way() {
    let row = Row::of(92, 3, 40).await;
    std::fs::create_dir_all(row.remote(1).parent().expect("a directory")).expect("made");
    std::fs::write(row.remote(1), &row.content).expect("written");

    let (sent, course) = row.spread(&slow()).await;
    let over_the_wires = row.over_the_wires();

    assert_eq!(course, Course::PassedOn);
    assert_eq!(sent, [Sent::Bytes(0), Sent::Already, Sent::Bytes(0)]);
    assert!(over_the_wires < MIB / 2, "{over_the_wires}");
    row.all_have_it();
}

#[tokio::test]
async fn where_the_kubelet_has_its_port_a_node_opens_the_other_door() {
    let row = Row::of(98, 3, 32).await;
    let taken = TcpListener::bind("127.0.98.1:10250").await.expect("the port of the kubelet");

    let (sent, course) = row.spread(&slow()).await;

    assert_eq!(course, Course::PassedOn);
    assert_eq!(sent, [Sent::Bytes(32 * MIB), Sent::Bytes(0), Sent::Bytes(0)]);
    drop(taken);
    row.all_have_it();
}

#[tokio::test]
async fn nodes_whose_doors_are_taken_are_no_obstacle() {
    let row = Row::of(93, 3, 32).await;
    let bind = async |port: u16| TcpListener::bind(("127.0.93.1", port)).await.expect("a port");
    let taken = [bind(10250).await, bind(9344).await];

    let (sent, course) = row.spread(&slow()).await;

    assert_eq!(course, Course::PassedOn);
    assert_eq!(sent, [Sent::Bytes(32 * MIB), Sent::Bytes(32 * MIB), Sent::Bytes(0)]);
    drop(taken);
    row.all_have_it();
}

#[tokio::test]
async fn over_a_quick_way_every_node_is_sent_the_file() {
    let row = Row::of(94, 2, 8).await;

    let (sent, course) = row.spread(&Uplink::default()).await;

    assert_eq!((course, sent), (Course::Straight, vec![Sent::Bytes(8 * MIB), Sent::Bytes(8 * MIB)]));
    row.all_have_it();
}
