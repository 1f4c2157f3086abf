//! Takes an environment away: what the stages know, then whatever still carries its tag, then proof that nothing is left.

use std::collections::BTreeSet;

use crate::artifact::Kind;
use crate::cloud::{Tags, Thing, ThingKind};
use crate::event::Outcome;
use crate::execute::World;
use crate::failure::{Exit, Failure};
use crate::stages::Stage;

/// How often the platform is asked again for what is left before we say that it stays.
const SWEEPS: usize = 4;

/// What `down` did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Removed {
    /// How many things carried the tag when it began.
    pub found: usize,
    /// What still does, by kind and id.
    pub left: Vec<String>,
}

/// Destroys the given stages in reverse order, then removes by tag what they did not know of.
///
/// A stage that fails to destroy does not keep the others from being destroyed: the sweep by tag comes after all of
/// them, and what it cannot remove is named.
pub async fn down(order: &[&dyn Stage], tags: &Tags, images: bool, world: &World<'_>) -> Result<Removed, Failure> {
    let found = going(world.cloud.things(tags).await?, images).len();
    let mut failures = Vec::new();
    for stage in order.iter().rev() {
        if world.stop.is_asked() {
            return Err(Failure::cancelled("down: stopped between two stages"));
        }
        if let Err(failure) = destroy(*stage, images, world).await {
            if failure.is_cancelled() {
                return Err(failure);
            }
            world.events.notice(format!("  ✗ {:<14} {failure}", stage.makes()));
            failures.push(failure);
        }
    }
    let left = sweep(tags, images, world).await?;
    if left.is_empty() {
        return Ok(Removed { found, left });
    }
    let mut failure =
        Failure::new(Exit::Unhealthy, format!("down: {} things are left: {}", left.len(), left.join(", ")))
            .hint(format!("`sre-provision down {}` tries again", world.env.name));
    for earlier in failures {
        failure = failure.because(earlier);
    }
    Err(failure)
}

async fn destroy(stage: &dyn Stage, images: bool, world: &World<'_>) -> Result<(), Failure> {
    let kind: Kind = stage.makes();
    world.book.destroy_intended(kind).await?;
    let result = stage.destroy(world.known.artifact(kind), &world.context(kind)).await;
    let outcome = match &result {
        Ok(()) => Outcome::Succeeded,
        Err(failure) if failure.is_cancelled() => Outcome::Interrupted,
        Err(_) => Outcome::Failed,
    };
    world.book.destroy_ended(kind, outcome, result.as_ref().err()).await?;
    if result.is_ok() {
        world.events.notice(format!("  ✓ {kind:<14} {}", fate(kind, images)));
    }
    result
}

/// What became of what a stage made. Images stay, or go by their tags after all stages; verified releases are there for
/// all environments.
fn fate(kind: Kind, images: bool) -> &'static str {
    match kind {
        Kind::BaseImage | Kind::NodeImage if images => "goes last",
        Kind::BaseImage | Kind::NodeImage | Kind::Bundle => "kept",
        Kind::Network
        | Kind::LoadBalancer
        | Kind::Nodes
        | Kind::Access
        | Kind::Hardening
        | Kind::Servers
        | Kind::Agents
        | Kind::Health => "removed",
    }
}

/// What `down` takes away: everything, but for the images that it keeps and the snapshots that they are made of.
pub fn going(things: Vec<Thing>, images: bool) -> Vec<Thing> {
    let is_kept = |thing: &Thing| !images && thing.kind == ThingKind::Image;
    let kept: BTreeSet<String> = things.iter().filter(|thing| is_kept(thing)).map(|thing| thing.id.clone()).collect();
    let is_part_of_kept = |thing: &Thing| {
        thing.kind == ThingKind::Snapshot && thing.part_of.as_ref().is_some_and(|image| kept.contains(image))
    };
    things.into_iter().filter(|thing| !is_kept(thing) && !is_part_of_kept(thing)).collect()
}

/// Removes what still carries the tags, in the order in which things can go, until nothing is left or nothing moves.
async fn sweep(tags: &Tags, images: bool, world: &World<'_>) -> Result<Vec<String>, Failure> {
    let mut before = BTreeSet::new();
    for _ in 0..SWEEPS {
        let things: BTreeSet<Thing> = going(world.cloud.things(tags).await?, images).into_iter().collect();
        if things.is_empty() || things == before {
            return Ok(things.iter().map(describe).collect());
        }
        for thing in &things {
            if world.stop.is_asked() {
                return Err(Failure::cancelled(format!("down: stopped with {} left", describe(thing))));
            }
            match world.cloud.remove(thing).await {
                Ok(()) => world.events.notice(format!("  ✓ left over: {} removed", describe(thing))),
                Err(failure) => world.events.notice(format!("  ✗ {} stays for now: {failure}", describe(thing))),
            }
        }
        before = things;
    }
    let left = going(world.cloud.things(tags).await?, images);
    Ok(left.iter().map(describe).collect())
}

fn describe(thing: &Thing) -> String {
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
        Thing { kind, id: id.to_owned(), name: String::new(), part_of: part_of.map(str::to_owned) }
    }

    fn world() -> Vec<Thing> {
        vec![
            thing(ThingKind::Machine, "i-1", None),
            thing(ThingKind::Image, "ami-1", None),
            thing(ThingKind::Snapshot, "snap-1", Some("ami-1")),
            thing(ThingKind::Snapshot, "snap-2", None),
            thing(ThingKind::Snapshot, "snap-3", Some("ami-gone")),
        ]
    }

    fn ids(things: &[Thing]) -> Vec<&str> {
        things.iter().map(|thing| thing.id.as_str()).collect()
    }

    #[test]
    fn images_stay_with_their_own_snapshots_and_no_others() {
        assert_eq!(ids(&going(world(), false)), ["i-1", "snap-2", "snap-3"]);
    }

    #[test]
    fn what_stays_is_not_told_as_removed() {
        let told = |images| [Kind::Network, Kind::NodeImage, Kind::Bundle].map(|kind| fate(kind, images));

        assert_eq!(told(false), ["removed", "kept", "kept"]);
        assert_eq!(told(true), ["removed", "goes last", "kept"]);
    }

    #[test]
    fn everything_goes_when_the_images_go_too() {
        assert_eq!(ids(&going(world(), true)), ["i-1", "ami-1", "snap-1", "snap-2", "snap-3"]);
    }
}
