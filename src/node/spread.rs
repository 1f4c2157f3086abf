//! One file to several nodes: straight from here, or passed on among them where the way from here is the slow one.
//!
//! Passed on, the file goes over the way from here once. The nodes stand in a row: the first gets it from here, each
//! other one from the node before it, block by block while that one receives. The digests of the blocks come over SSH,
//! so no node believes another. A door is opened on the node's own address for one other node, which must know a secret
//! of this one transfer; it is closed once that one came in, and gone with the SSH session at the latest. Whoever gets
//! nothing there, or something else, gets the rest from here.
//!
//! # Why
//! The door is the kubelet's port: it must be open between all nodes of a cluster anyhow, in every firewall and security
//! group, and until RKE2 runs nobody uses it. Where the kubelet does, as in an upgrade, it is one fixed port of ours, which
//! the security group of nodes admits; it is listened at only while a file is passed on. Where that is used or closed, too,
//! the file comes straight from here. Plain TCP instead of TLS or SSH between nodes: what is sent is public, its blocks are
//! checked, and no key that opens a node is ever on another one. (2026-11-30)

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::failure::Failure;
use crate::node::connection::Connection;
use crate::node::receiver::{Heard, Receiver, Said};
use crate::node::shipment::Shipment;
use crate::node::transfer::{Sent, direct};

/// The kubelet's, and our own: see above.
const DOORS: [u16; 2] = [10250, 9344];
/// What is sent to measure the way, to all nodes together and at least a MiB to each; it is thrown away there. Each round
/// only when the one before was quick: over a fast way the turns of so few bytes take longer than the bytes.
const PROBE: u64 = 1 << 20;
const PROBES: [u64; 3] = [PROBE, 16 << 20, 64 << 20];
const QUICK: Duration = Duration::from_millis(500);
/// Below this, what could be saved is not worth a look.
const WORTH_A_LOOK: u64 = 64 << 20;
/// Passing on saves at least so much of the time, else it is not worth a door.
const WORTH_A_DOOR: Duration = Duration::from_secs(5);
/// About what a gigabit link brings; a faster way is not the slow part.
const FAST: f64 = 100.0 * 1024.0 * 1024.0;

/// How files go to several nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// To each one from here.
    Straight,
    /// To the first from here, to each other one from the one before.
    PassedOn,
}

/// What is known of the way from here; for all files that go to the same nodes.
#[derive(Debug, Default)]
pub struct Uplink {
    /// Bytes per second, once measured.
    rate: OnceCell<f64>,
    /// A node did not get in at another one's door.
    is_barred: AtomicBool,
}

/// A file on its way to one node.
struct Arrival<'a> {
    receiver: Receiver<'a>,
    /// `None` when the node has it already.
    found: Option<u64>,
}

/// What one node is to hear about: its place in the list, and how much of the file it has.
pub type HeardBy<'a> = &'a (dyn Fn(usize, u64) -> Result<(), Failure> + Sync);

impl Uplink {
    /// A way whose rate is known, in bytes per second.
    pub fn of(rate: f64) -> Self {
        Self { rate: OnceCell::new_with(Some(rate)), ..Self::default() }
    }

    /// Bytes per second as measured, if they were.
    pub fn rate(&self) -> Option<f64> {
        self.rate.get().copied()
    }

    /// Brings one file to all of these nodes, to each under its path there; gives each one's result and the course that
    /// was taken.
    pub async fn spread(
        &self,
        nodes: &[(&Connection, &Path)],
        shipment: &Shipment,
        mode: u32,
        heard: HeardBy<'_>,
    ) -> (Vec<Result<Sent, Failure>>, Course) {
        let starting = nodes.iter().map(async |(node, remote)| {
            let (receiver, found) = Receiver::start(node, shipment, remote, mode).await?;
            Ok(Arrival { receiver, found })
        });
        let mut arrivals: Vec<Result<Arrival<'_>, Failure>> = join_all(starting).await;
        let course = self.course(&mut arrivals, shipment.size).await;
        let results = match course {
            Course::Straight => straight(arrivals, shipment, heard).await,
            Course::PassedOn => self.passed_on(arrivals, shipment, heard).await,
        };
        (results, course)
    }

    /// Decides by what could be saved, and by how fast the way from here is: measured once, with the first large file.
    async fn course(&self, arrivals: &mut [Result<Arrival<'_>, Failure>], size: u64) -> Course {
        let lacking = arrivals.iter().flatten().filter(|arrival| arrival.found.is_some()).count() as u64;
        let has_it = arrivals.iter().flatten().any(|arrival| arrival.found.is_none());
        let beyond_first = lacking.saturating_sub(u64::from(!has_it)) * size;
        if beyond_first < WORTH_A_LOOK || self.is_barred.load(Ordering::Relaxed) {
            return Course::Straight;
        }
        let measuring = async { measure(arrivals, lacking).await.ok_or(()) };
        let rate = self.rate.get_or_try_init(|| measuring).await;
        rate.map_or(Course::Straight, |rate| choose(beyond_first, *rate))
    }

    async fn passed_on(
        &self,
        arrivals: Vec<Result<Arrival<'_>, Failure>>,
        shipment: &Shipment,
        heard: HeardBy<'_>,
    ) -> Vec<Result<Sent, Failure>> {
        let mut results: Vec<Option<Result<Sent, Failure>>> = Vec::new();
        let mut row: Vec<(usize, Arrival<'_>)> = Vec::new();
        for (place, arrival) in arrivals.into_iter().enumerate() {
            results.push(match arrival {
                Ok(Arrival { found: None, .. }) if row.first().is_some_and(|(_, first)| first.found.is_none()) => {
                    Some(Ok(Sent::Already))
                }
                Ok(arrival) if arrival.found.is_none() => {
                    row.insert(0, (place, arrival));
                    None
                }
                Ok(arrival) => {
                    row.push((place, arrival));
                    None
                }
                Err(failure) => Some(Err(failure)),
            });
        }
        let doors = doors(&mut row).await;
        let links = row.iter_mut().zip(doors).map(|((place, arrival), door)| async {
            let place = *place;
            let heard = |bytes| heard(place, bytes);
            (place, self.arrive(arrival, door, shipment, &heard).await)
        });
        // Each keeps its session until all are through: the next one may still be getting blocks from it.
        for (place, result) in join_all(links).await {
            if let Some(known) = results.get_mut(place) {
                *known = Some(result);
            }
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(Failure::bug("a node was left out")))).collect()
    }

    /// One node's part: from the one before where there is a door, the rest from here.
    async fn arrive(
        &self,
        arrival: &mut Arrival<'_>,
        door: Ways,
        shipment: &Shipment,
        heard: Heard<'_>,
    ) -> Result<Sent, Failure> {
        let Some(found) = arrival.found else { return Ok(Sent::Already) };
        let receiver = &mut arrival.receiver;
        let Some(lacking) = door.lacking? else {
            return direct(receiver, shipment, found, heard).await.map(Sent::Bytes);
        };
        let Some(door) = door.before.filter(|_| !lacking.is_empty()) else {
            return receiver.take(&lacking, heard).await.map(Sent::Bytes);
        };
        receiver
            .tell(&json!({
                "do": "pull", "address": door.address, "port": door.port, "own": door.next, "secret": door.secret
            }))
            .await;
        match receiver.hear_past(heard).await? {
            Said::Need { ranges, why } => {
                if why.is_some() && ranges == lacking {
                    self.is_barred.store(true, Ordering::Relaxed);
                }
                receiver.take(&ranges, heard).await.map(Sent::Bytes)
            }
            said => Err(receiver.unexpected(&said)),
        }
    }
}

/// What a node in the row is to do.
struct Ways {
    /// The ranges that it lacks; `None` when it was not asked.
    lacking: Result<Option<Vec<(u64, u64)>>, Failure>,
    /// The door of the one before it.
    before: Option<Door>,
}

struct Door {
    address: String,
    port: u16,
    /// The address of the one that may come in.
    next: String,
    secret: String,
}

/// Has each node of the row look at what it has, and each but the last open a door for the next one.
async fn doors(row: &mut [(usize, Arrival<'_>)]) -> Vec<Ways> {
    let own = join_all(row.iter().map(|(_, arrival)| arrival.receiver.own_address())).await;
    let looks = row.iter_mut().enumerate().map(|(index, (_, arrival))| {
        let next = own.get(index + 1).cloned().flatten();
        let own = own.get(index).cloned().flatten();
        async move {
            let lacking = match arrival.found {
                None => Ok(None),
                Some(_) => arrival.receiver.keep(&|_| Ok(())).await.map(Some),
            };
            let door = match (&lacking, own, next) {
                (Ok(_), Some(address), Some(next)) => open(&mut arrival.receiver, address, next).await,
                _ => None,
            };
            (lacking, door)
        }
    });
    let mut before = None;
    let mut ways = Vec::new();
    for (lacking, door) in join_all(looks).await {
        ways.push(Ways { lacking, before });
        before = door;
    }
    ways
}

/// Has a node open a door for another one; `None` where it cannot, and that one gets the file from here.
async fn open(receiver: &mut Receiver<'_>, address: String, next: String) -> Option<Door> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).ok()?;
    let secret = hex::encode(secret);
    for port in DOORS {
        receiver
            .tell(&json!({ "do": "listen", "address": address, "port": port, "from": next, "secret": secret }))
            .await;
        match receiver.hear().await {
            Ok(Said::Listening) => return Some(Door { address, port, next, secret }),
            Ok(Said::Closed { .. }) => {}
            // One that is lost says so again when it is sent the file.
            Ok(_) | Err(_) => return None,
        }
    }
    None
}

async fn straight(
    arrivals: Vec<Result<Arrival<'_>, Failure>>,
    shipment: &Shipment,
    heard: HeardBy<'_>,
) -> Vec<Result<Sent, Failure>> {
    let sending = arrivals.into_iter().enumerate().map(|(place, arrival)| async move {
        let mut arrival = arrival?;
        match arrival.found {
            None => Ok(Sent::Already),
            Some(found) => {
                let heard = |bytes| heard(place, bytes);
                direct(&mut arrival.receiver, shipment, found, &heard).await.map(Sent::Bytes)
            }
        }
    });
    join_all(sending).await
}

/// Sends bytes to all that lack the file, at once, as the file would go; gives bytes per second of all together. A node
/// that is lost meanwhile is lost for the file as well.
async fn measure(arrivals: &mut [Result<Arrival<'_>, Failure>], lacking: u64) -> Option<f64> {
    let mut rate = None;
    for (round, bytes) in PROBES.into_iter().enumerate() {
        // Bytes that a link cannot squeeze: they have to take as long as a release does.
        let mut noise = vec![0; usize::try_from((bytes / lacking.max(1)).max(PROBE)).ok()?];
        rand::fill(&mut noise).ok()?;
        let started = Instant::now();
        let sent = join_all(arrivals.iter_mut().map(|arrival| probe(arrival, &noise))).await;
        let took = started.elapsed();
        rate = Some(sent.iter().sum::<u64>() as f64 / took.as_secs_f64().max(1e-6)).filter(|rate| *rate > 0.0);
        if rate.is_none_or(|rate| is_known(round, took, rate)) {
            break;
        }
    }
    rate
}

/// Whether another round would tell more: not of a slow way, nor of one that was fast beyond what a shaper lets through at
/// once.
fn is_known(round: usize, took: Duration, rate: f64) -> bool {
    took > QUICK || (round > 0 && rate >= FAST)
}

/// Sends one node bytes that it throws away; gives how many it read.
async fn probe(arrival: &mut Result<Arrival<'_>, Failure>, noise: &[u8]) -> u64 {
    let Ok(Arrival { receiver, found: Some(_) }) = arrival else { return 0 };
    let failure = match receiver.probe(noise).await {
        Ok(Said::Probed) => return noise.len() as u64,
        Ok(said) => receiver.unexpected(&said),
        Err(failure) => failure,
    };
    *arrival = Err(failure);
    0
}

/// The course for so many bytes beyond the first copy, at so many bytes per second.
fn choose(beyond_first: u64, rate: f64) -> Course {
    let saved = beyond_first as f64 / rate;
    if rate < FAST && saved >= WORTH_A_DOOR.as_secs_f64() { Course::PassedOn } else { Course::Straight }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    #[test]
    fn a_way_is_known_when_it_is_slow_and_as_fast_only_after_more_than_a_burst() {
        assert!(is_known(0, Duration::from_millis(700), 6.0 * MIB));
        assert!(!is_known(0, Duration::from_millis(10), 400.0 * MIB), "that may be what a shaper lets through at once");
        assert!(is_known(1, Duration::from_millis(40), 400.0 * MIB));
        assert!(!is_known(1, Duration::from_millis(200), 80.0 * MIB), "so few bytes take longer than they would");
    }

    #[test]
    fn files_are_passed_on_only_where_the_way_from_here_is_slow_and_much_is_saved() {
        let release = 512 << 20;

        assert_eq!(choose(3 * release, 12.0 * MIB), Course::PassedOn);
        assert_eq!(choose(release / 2, 90.0 * MIB), Course::Straight, "less than five seconds are saved");
        assert_eq!(choose(7 * release, 90.0 * MIB), Course::PassedOn);
        assert_eq!(choose(100 * release, 400.0 * MIB), Course::Straight, "no node passes on faster than that");
    }
}
