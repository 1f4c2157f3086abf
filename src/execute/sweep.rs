//! What is found of an environment, what of it goes, and its removal thing by thing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::cloud::{Cloud, Tags, Thing, ThingKind, Whose};
use crate::event::Events;
use crate::execute::Book;
use crate::failure::{Exit, Failure};
use crate::stop::Stop;

/// What the platform tells of an environment, by what `down` does with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sorted {
    /// What is removed, in the order in which it can go.
    pub going: Vec<Thing>,
    /// Images that other environments may use, with the snapshots that they are made of.
    pub shared: Vec<Thing>,
    /// What lies among ours and is somebody else's; never touched.
    pub foreign: Vec<Thing>,
}

impl Sorted {
    pub fn of(things: Vec<Thing>, images: bool) -> Self {
        let (foreign, own): (Vec<_>, Vec<_>) =
            things.into_iter().partition(|thing| matches!(thing.whose, Whose::Foreign(_)));
        let is_kept = |thing: &Thing| !images && thing.kind == ThingKind::Image;
        let kept: BTreeSet<String> = own.iter().filter(|thing| is_kept(thing)).map(|thing| thing.id.clone()).collect();
        let is_part_of_kept = |thing: &Thing| {
            thing.kind == ThingKind::Snapshot && thing.part_of.as_ref().is_some_and(|image| kept.contains(image))
        };
        let (shared, mut going): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|thing| is_kept(thing) || is_part_of_kept(thing));
        going.sort();
        Self { going, shared, foreign }
    }

    /// Why the network must stay: somebody else's machine or load balancer lies in it and would lose its way out.
    pub fn held(&self) -> Option<String> {
        let lies_in_it = |thing: &&Thing| {
            thing.kind == ThingKind::Machine || thing.kind == ThingKind::LoadBalancer || is_of_network(thing.kind)
        };
        let holders: Vec<String> = self.foreign.iter().filter(lies_in_it).map(describe).collect();
        (!holders.is_empty()).then(|| format!("{} in it is somebody else's", holders.join(", ")))
    }
}

/// What a network is made of, in AWS's words; it goes when nothing lies in it.
fn is_of_network(kind: ThingKind) -> bool {
    matches!(
        kind,
        ThingKind::NatGateway
            | ThingKind::Endpoint
            | ThingKind::NetworkInterface
            | ThingKind::Address
            | ThingKind::InternetGateway
            | ThingKind::RouteTable
            | ThingKind::SecurityGroup
            | ThingKind::Subnet
            | ThingKind::Vpc
    )
}

/// What could not be removed, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    pub kind: &'static str,
    pub id: String,
    pub name: String,
    pub reason: String,
}

impl Left {
    fn of(thing: &Thing, reasons: &BTreeMap<String, String>) -> Self {
        let reason = reasons.get(&thing.id).cloned().unwrap_or_else(|| "it came back after it was removed".to_owned());
        Self { kind: thing.kind.name(), id: thing.id.clone(), name: thing.name.clone(), reason }
    }
}

/// What removes an environment's things by its tags.
pub struct Broom<'a> {
    pub cloud: &'a dyn Cloud,
    pub tags: &'a Tags,
    /// Whether its images go too.
    pub images: bool,
    pub stop: &'a Stop,
    pub events: &'a Events,
    /// Says whether more may be removed, and is told what is.
    pub book: &'a Book,
}

impl Broom<'_> {
    pub async fn look(&self) -> Result<Sorted, Failure> {
        Ok(Sorted::of(self.cloud.things(self.tags).await?, self.images))
    }

    /// Removes what the cluster itself asked the platform for: it would hold the network, and no stage knows of it.
    ///
    /// Called when the machines are gone, because a controller that lives makes anew what is removed.
    pub async fn drain(&self) -> Result<(), Failure> {
        let mut things = self.look().await?.going;
        things.retain(|thing| thing.whose == Whose::Cluster);
        if things.is_empty() {
            return Ok(());
        }
        let work = async {
            let mut left = Vec::new();
            for thing in &things {
                left.extend(self.remove(thing, "of the cluster").await?);
            }
            Ok(left)
        };
        self.book.removal("drain", work).await.map(drop)
    }

    /// Removes what still carries the tags, again and again while something disappears; gives what stays.
    pub async fn sweep(&self) -> Result<Vec<Left>, Failure> {
        let seen = self.look().await?;
        if seen.going.is_empty() {
            return Ok(vec![]);
        }
        self.book.removal("sweep", self.sweep_from(seen)).await
    }

    async fn sweep_from(&self, mut seen: Sorted) -> Result<Vec<Left>, Failure> {
        let mut before: Option<BTreeSet<Thing>> = None;
        let mut reasons = BTreeMap::new();
        loop {
            let held = seen.held();
            let things: BTreeSet<Thing> = seen.going.into_iter().collect();
            let nothing_went = before.as_ref().is_some_and(|before| before.is_subset(&things));
            if things.is_empty() || nothing_went {
                return Ok(things.iter().map(|thing| Left::of(thing, &reasons)).collect());
            }
            reasons.clear();
            for thing in &things {
                if let Some(why) = held.as_ref().filter(|_| is_of_network(thing.kind)) {
                    reasons.insert(thing.id.clone(), why.clone());
                    continue;
                }
                if let Some(failure) = self.remove(thing, "left over").await? {
                    reasons.insert(thing.id.clone(), failure.to_string());
                }
            }
            before = Some(things);
            seen = self.look().await?;
        }
    }

    /// Removes one; gives why it stays.
    async fn remove(&self, thing: &Thing, what: &str) -> Result<Option<Failure>, Failure> {
        if self.stop.is_asked() {
            return Err(Failure::cancelled(format!("stopped with {} left", describe(thing))));
        }
        self.book.ensure()?;
        match self.cloud.remove(thing).await {
            Ok(()) => {
                self.events.notice(format!("  ✓ {what}: {} removed", describe(thing)));
                Ok(None)
            }
            Err(failure) => {
                self.events.notice(format!("  ✗ {} stays for now: {failure}", describe(thing)));
                Ok(Some(failure))
            }
        }
    }
}

/// What is said where something stays.
pub fn left_over(left: &[Left], foreign: &[Thing]) -> Failure {
    let ids: Vec<String> = left.iter().map(|one| format!("{} {}", one.kind, one.id)).collect();
    let mut failure = Failure::new(Exit::Unhealthy, format!("{} things are left: {}", left.len(), ids.join(", ")));
    for one in left {
        failure = failure.because(format!("{} {}: {}", one.kind, one.id, one.reason));
    }
    for thing in foreign {
        failure = failure.because(format!("{} is not ours and stays: its owner must remove it", describe(thing)));
    }
    failure
}

/// A thing for people: `instance i-1 (dev-server-1)`.
pub fn describe(thing: &Thing) -> String {
    if thing.name.is_empty() || thing.name == thing.id {
        format!("{} {}", thing.kind.name(), thing.id)
    } else {
        format!("{} {} ({})", thing.kind.name(), thing.id, thing.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(kind: ThingKind, id: &str, part_of: Option<&str>) -> Thing {
        let (id, part_of) = (id.to_owned(), part_of.map(str::to_owned));
        Thing { kind, id, name: String::new(), part_of, whose: Whose::Ours }
    }

    fn world() -> Vec<Thing> {
        let mut another = thing(ThingKind::Machine, "i-2", None);
        another.whose = Whose::Foreign("it carries no tag of the environment".to_owned());
        vec![
            thing(ThingKind::Snapshot, "snap-1", Some("ami-1")),
            thing(ThingKind::Machine, "i-1", None),
            another,
            thing(ThingKind::Image, "ami-1", None),
            thing(ThingKind::Snapshot, "snap-2", None),
            thing(ThingKind::Snapshot, "snap-3", Some("ami-gone")),
        ]
    }

    fn ids(things: &[Thing]) -> Vec<&str> {
        things.iter().map(|thing| thing.id.as_str()).collect()
    }

    fn any_thing() -> impl proptest::strategy::Strategy<Value = Thing> {
        use proptest::prelude::{Just, Strategy as _, prop};
        let kinds = [ThingKind::Machine, ThingKind::Image, ThingKind::Snapshot, ThingKind::Volume, ThingKind::Vpc];
        let whose = proptest::prop_oneof![
            Just(Whose::Ours),
            Just(Whose::Unmarked),
            Just(Whose::Cluster),
            Just(Whose::Foreign("it carries no tag of the environment".to_owned())),
        ];
        (prop::sample::select(kinds.to_vec()), 0..9u8, prop::option::of(0..9u8), whose).prop_map(
            |(kind, id, part_of, whose)| {
                let part_of = part_of.map(|id| format!("id-{id}"));
                Thing { kind, id: format!("id-{id}"), name: String::new(), part_of, whose }
            },
        )
    }

    proptest::proptest! {
        // Safety 15 and 16
        #[test]
        fn what_goes_is_proven_to_be_ours_and_what_others_may_use_stays(
            things in proptest::collection::vec(any_thing(), 0..20),
            images: bool,
        ) {
            let is_foreign = |thing: &&Thing| matches!(thing.whose, Whose::Foreign(_));

            let sorted = Sorted::of(things.clone(), images);

            proptest::prop_assert_eq!(sorted.going.len() + sorted.shared.len() + sorted.foreign.len(), things.len());
            proptest::prop_assert!(!sorted.going.iter().chain(&sorted.shared).any(|thing| is_foreign(&thing)));
            proptest::prop_assert!(sorted.foreign.iter().all(|thing| is_foreign(&thing)));
            proptest::prop_assert!(images || !sorted.going.iter().any(|thing| thing.kind == ThingKind::Image));
            let is_image = |thing: &Thing| matches!(thing.kind, ThingKind::Image | ThingKind::Snapshot);
            proptest::prop_assert!(sorted.shared.iter().all(is_image));
            proptest::prop_assert!(sorted.going.is_sorted(), "in the order in which it can go");
        }
    }

    #[test]
    fn a_network_is_held_by_what_would_lose_its_way_out_and_not_by_a_disk() {
        let mut disk = thing(ThingKind::Volume, "vol-1", None);
        disk.whose = Whose::Foreign("it carries no tag of the environment".to_owned());

        assert_eq!(Sorted::of(vec![disk], false).held(), None);
        assert_eq!(Sorted::of(world(), false).held().as_deref(), Some("instance i-2 in it is somebody else's"));
    }

    #[test]
    fn images_stay_with_their_own_snapshots_and_no_others() {
        let sorted = Sorted::of(world(), false);

        assert_eq!(ids(&sorted.going), ["i-1", "snap-2", "snap-3"]);
        assert_eq!(ids(&sorted.shared), ["snap-1", "ami-1"]);
    }

    #[test]
    fn everything_of_ours_goes_when_the_images_go_too_and_nothing_of_others() {
        let sorted = Sorted::of(world(), true);

        assert_eq!(ids(&sorted.going), ["i-1", "ami-1", "snap-1", "snap-2", "snap-3"]);
        assert_eq!(ids(&sorted.foreign), ["i-2"]);
    }
}
