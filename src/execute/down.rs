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
    let stays = |thing: &Thing| !images && matches!(thing.kind, ThingKind::Image | ThingKind::Snapshot);
    let found = world.cloud.things(tags).await?.iter().filter(|thing| !stays(thing)).count();
    let mut failures = Vec::new();
    for stage in order.iter().rev() {
        if world.stop.is_asked() {
            return Err(Failure::cancelled("down: stopped between two stages"));
        }
        if let Err(failure) = destroy(*stage, world).await {
            if failure.is_cancelled() {
                return Err(failure);
            }
            world.events.notice(format!("  ✗ {:<14} {failure}", stage.makes()));
            failures.push(failure);
        }
    }
    let left = sweep(tags, stays, world).await?;
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

async fn destroy(stage: &dyn Stage, world: &World<'_>) -> Result<(), Failure> {
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
        world.events.notice(format!("  ✓ {kind:<14} removed"));
    }
    result
}

/// Removes what still carries the tags, in the order in which things can go, until nothing is left or nothing moves.
async fn sweep(tags: &Tags, stays: impl Fn(&Thing) -> bool, world: &World<'_>) -> Result<Vec<String>, Failure> {
    let mut before = BTreeSet::new();
    for _ in 0..SWEEPS {
        let things: BTreeSet<Thing> =
            world.cloud.things(tags).await?.into_iter().filter(|thing| !stays(thing)).collect();
        if things.is_empty() || things == before {
            return Ok(things.iter().map(describe).collect());
        }
        for thing in &things {
            let told = match world.cloud.remove(thing).await {
                Ok(()) => format!("  ✓ left over: {} removed", describe(thing)),
                Err(failure) => format!("  ✗ left over: {} stays for now: {failure}", describe(thing)),
            };
            world.events.notice(told);
        }
        before = things;
    }
    let left = world.cloud.things(tags).await?;
    Ok(left.iter().filter(|thing| !stays(thing)).map(describe).collect())
}

fn describe(thing: &Thing) -> String {
    if thing.name.is_empty() || thing.name == thing.id {
        format!("{} {}", thing.kind.name(), thing.id)
    } else {
        format!("{} {} ({})", thing.kind.name(), thing.id, thing.name)
    }
}
