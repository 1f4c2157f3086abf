//! Takes an environment away: what the stages know, then whatever still carries its tag, then proof that nothing is left.

use crate::artifact::Kind;
use crate::cloud::Tags;
use crate::environment::Platform;
use crate::event::Outcome;
use crate::execute::World;
use crate::execute::pace::silence;
use crate::execute::stall;
use crate::execute::sweep::{Broom, Left, Sorted, left_over};
use crate::failure::Failure;
use crate::stages::Stage;

/// What lies in the network that the cluster's own things lie in, too.
const AROUND_THE_CLUSTER: [Kind; 2] = [Kind::LoadBalancer, Kind::Network];

/// What `down` did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Removed {
    /// How many things carried the tag when it began.
    pub found: usize,
    /// What still does, and why.
    pub left: Vec<Left>,
}

/// Destroys the given stages in reverse order, then removes by tag what they did not know of.
///
/// A stage that fails to destroy does not keep the others from being destroyed: the sweep by tag comes after all of
/// them, and what it cannot remove is named.
pub async fn down(order: &[&dyn Stage], tags: &Tags, images: bool, world: &World<'_>) -> Result<Removed, Failure> {
    // A build that a killed run left would make things behind our back.
    world.children.wind_down(&world.secrets.known()).await?;
    let broom = Broom { cloud: world.cloud, tags, images, stop: world.stop, events: world.events, book: &world.book };
    let seen = broom.look().await?;
    let held = seen.held();
    let Sorted { going, foreign, .. } = seen;
    let (mut failures, mut drained) = (Vec::new(), false);
    for stage in order.iter().rev() {
        if world.stop.is_asked() {
            return Err(Failure::cancelled("stopped between two stages"));
        }
        if !drained && AROUND_THE_CLUSTER.contains(&stage.makes()) {
            broom.drain().await?;
            drained = true;
        }
        if let Some(why) = held.as_ref().filter(|_| stage.makes() == Kind::Network) {
            // OpenTofu would wait for its subnets to become empty until it gives up.
            world.events.notice(format!("  ✗ {:<14} kept: {why}", stage.makes()));
            continue;
        }
        if let Err(failure) = destroy(*stage, images, world).await {
            if failure.is_cancelled() {
                return Err(failure);
            }
            world.events.notice(format!("  ✗ {:<14} {failure}", stage.makes()));
            failures.push((stage.makes(), failure));
        }
    }
    let left = broom.sweep().await?;
    if left.is_empty() {
        // What a stage keeps on the platform is gone, however it went; what it keeps here only it can remove.
        let here = failures.into_iter().find(|(kind, _)| is_here(*kind, world.env.platform));
        return match here {
            Some((kind, failure)) => Err(failure.of(kind)),
            None => Ok(Removed { found: going.len(), left }),
        };
    }
    let hint = format!("`sre-provision down {}` tries again", world.env.name);
    let failures = failures.into_iter().map(|(_, failure)| failure);
    Err(failures.fold(left_over(&left, &foreign), Failure::because).hint(hint))
}

/// Whether what a stage made lies in the workspace, or on machines that stay, and not on the platform, where the sweep
/// would find it.
fn is_here(kind: Kind, platform: Platform) -> bool {
    match kind {
        Kind::Nodes => platform == Platform::Hosts,
        Kind::Bundle | Kind::Access | Kind::Hardening | Kind::Servers | Kind::Agents | Kind::Health => true,
        Kind::BaseImage | Kind::NodeImage | Kind::Network | Kind::LoadBalancer => false,
    }
}

async fn destroy(stage: &dyn Stage, images: bool, world: &World<'_>) -> Result<(), Failure> {
    let kind: Kind = stage.makes();
    world.book.destroy_intended(kind).await?;
    let cx = world.context(kind);
    let result = tokio::select! {
        result = stage.destroy(world.known.artifact(kind), &cx) => result,
        never = stall::watch(kind, silence(kind, world.env.deadlines.of(kind)), world.events) => match never {},
    };
    world.book.destroy_ended(kind, Outcome::of(&result), result.as_ref().err()).await?;
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
