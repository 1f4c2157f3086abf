//! `sre-provision state migrate`: moves what is kept of an environment between the workspace and S3.

use serde_json::json;

use super::desk::actor;
use super::{Common, homes};
use crate::config;
use crate::event::Outcome;
use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::journal::{Home, Lease, Moved, Record, Shared, Site, copy, hold_against, leave, settle};
use crate::process::running;
use crate::report::Screen;
use crate::state::{StatePlace, partition_of};
use crate::workspace::{StateDir, Workspace};

/// The fact that tells where the state was moved to.
const MOVED: &str = "state-moved-to";

#[derive(Debug, clap::Args)]
pub struct StateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Move journal, identity, secrets and the state of OpenTofu to where the environment file says
    Migrate {
        /// The environment
        environment: String,
        /// Where they are, if not in this workspace
        #[arg(long, value_name = "s3://BUCKET/PREFIX", value_parser = place)]
        from: Option<(String, String)>,
    },
}

fn place(text: &str) -> Result<(String, String), String> {
    let split = text.strip_prefix("s3://").and_then(|rest| rest.trim_end_matches('/').split_once('/'));
    let found = split.filter(|(bucket, prefix)| !bucket.is_empty() && !prefix.is_empty());
    let (bucket, prefix) = found.ok_or_else(|| format!("`{text}` is no place in S3, such as `s3://acme-state/dev`"))?;
    Ok((bucket.to_owned(), prefix.to_owned()))
}

/// One of the two places.
struct End {
    site: Site,
    home: Home,
}

impl End {
    fn local(state: StateDir) -> Self {
        Self { site: Site::local(&state), home: Home::local(state) }
    }

    async fn shared(state: StateDir, place: &StatePlace) -> Result<Self, Failure> {
        let objects = homes::connect(place).await?;
        let home = Home::new(state, Some(Shared::new(objects.clone())));
        Ok(Self { site: Site::shared(objects), home })
    }
}

impl StateArgs {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let What::Migrate { environment: name, from } = self.what;
        let workspace = common.open()?;
        let (from, to) = ends(&workspace, &name, from).await?;
        let state = workspace.state(&name);
        if let [slot, ..] = &running(&state.children())?[..] {
            return Err(Failure::new(Exit::Held, format!("`{slot}` of an earlier run still works on `{name}`"))
                .hint(format!("sre-provision up {name}   follows it to its end")));
        }
        let (source, target) = (from.site.identity().await?, to.site.identity().await?);
        let (identity, moved) = match (source, target) {
            (Some(source), Some(target)) if source.id != target.id => {
                return Err(Failure::new(Exit::NotDone, format!("`{}` keeps another environment", to.site.place()))
                    .because(format!("it is {}, and the one to be moved is {}", target.id, source.id)));
            }
            (Some(source), target) => {
                let moved = carry(&from, &to, &source, target.is_some()).await?;
                (source, Some(moved))
            }
            // All of it arrived before; only what stayed behind may be left.
            (None, Some(target)) => (target, None),
            (None, None) => {
                return Err(Failure::new(Exit::NotDone, format!("`{name}` was never made here")).because(format!(
                    "neither `{}` nor `{}` keeps it",
                    from.site.place(),
                    to.site.place()
                )));
            }
        };
        tidy(&state, &to)?;
        tell(&identity, &to, moved.as_ref(), screen);
        Ok(())
    }
}

/// From where and to where, by the file and the option.
async fn ends(workspace: &Workspace, name: &str, from: Option<(String, String)>) -> Result<(End, End), Failure> {
    let env = config::load(workspace, name)?;
    let state = workspace.state(name);
    let to = env.state_place();
    let region = to.as_ref().map(|to| to.region.clone()).or_else(|| env.aws.as_ref().map(|aws| aws.region.clone()));
    let region = match (region.or_else(|| std::env::var("AWS_REGION").ok()), &from) {
        (Some(region), _) => region,
        (None, None) => String::new(),
        (None, Some(_)) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("nothing tells the region of the bucket that `{name}` is in"),
            )
            .hint("set AWS_REGION to it, then the same command again"));
        }
    };
    let partition = env.aws.as_ref().map_or_else(|| partition_of(&region).to_owned(), |aws| aws.partition.clone());
    let from = from.map(|(bucket, prefix)| StatePlace { bucket, prefix, region, partition });
    match (from, to) {
        (None, None) => Err(Failure::new(Exit::Usage, format!("the state of `{name}` is where its file says"))
            .hint("set `state.s3` in the file to move it there, or name where it is with `--from s3://BUCKET/PREFIX`")),
        (Some(from), Some(to)) if (&from.bucket, &from.prefix) == (&to.bucket, &to.prefix) => {
            Err(Failure::new(Exit::Usage, format!("the state of `{name}` is to be moved to where it is")))
        }
        (Some(from), Some(to)) => Ok((End::shared(state.clone(), &from).await?, End::shared(state, &to).await?)),
        (Some(from), None) => Ok((End::shared(state.clone(), &from).await?, End::local(state))),
        (None, Some(to)) => Ok((End::local(state.clone()), End::shared(state, &to).await?)),
    }
}

/// Writes down that it is moved, copies everything, and makes the other place its home.
async fn carry(from: &End, to: &End, identity: &Identity, has_arrived: bool) -> Result<Moved, Failure> {
    // The lock of this directory is part of both leases: one of them is held as a whole, the other by its object alone.
    let lease = from.home.lease(actor()).await?;
    let other = match to.home.shared() {
        Some(shared) => Some(Lease::take_beside(&lease, shared).await?),
        None => None,
    };
    let moved = if has_arrived {
        // Stopped after all of it had arrived; the other place may have gone on since.
        hold_against(&from.site, &to.site, identity.id).await?
    } else {
        note(from, identity, &lease, &to.site.place()).await?;
        copy(&from.site, &to.site, identity.id).await?
    };
    // Opening verifies the whole chain where it lies now.
    to.home.journal(identity).await?;
    for lease in [Some(&lease), other.as_ref()].into_iter().flatten() {
        lease.ensure()?;
    }
    if !has_arrived {
        settle(&to.site, identity).await?;
    }
    leave(&from.site).await?;
    if let Some(other) = other {
        other.give_back().await?;
    }
    lease.give_back().await?;
    Ok(moved)
}

/// A run of its own in the journal, before it is copied: both places tell of the move.
async fn note(from: &End, identity: &Identity, lease: &Lease, place: &str) -> Result<(), Failure> {
    let mut journal = from.home.journal(identity).await?;
    if !journal.memory().open_children.is_empty() {
        let slots: Vec<&str> = journal.memory().open_children.values().map(|child| child.slot.as_str()).collect();
        return Err(Failure::new(Exit::Held, format!("`{}` is not at rest: {}", identity.name, slots.join(", ")))
            .because("it is not known how these have ended")
            .hint(format!("sre-provision up {}   goes on where it was; then move it", identity.name)));
    }
    let run = journal.memory().next_run();
    let (command, program) = (format!("state migrate {}", identity.name), env!("CARGO_PKG_VERSION").to_owned());
    journal.append(lease, run, Record::RunStarted { command, program, plan: None }).await?;
    journal.append(lease, run, Record::Fact { name: MOVED.to_owned(), value: json!(place) }).await?;
    journal.append(lease, run, Record::RunEnded { outcome: Outcome::Succeeded, why: None }).await.map(drop)
}

/// Puts aside what stayed behind in the workspace, or takes back that it had moved away.
fn tidy(state: &StateDir, to: &End) -> Result<(), Failure> {
    match to.home.shared() {
        Some(_) => state.move_out(&to.site.place()),
        None => state.move_in(),
    }
}

fn tell(identity: &Identity, to: &End, moved: Option<&Moved>, screen: Screen) {
    let (name, place) = (&identity.name, to.site.place());
    let text = match moved {
        Some(moved) => {
            format!("{name} is kept in {place} now: {} parts, sha256 {} at both places", moved.parts, moved.digest)
        }
        None => format!("{name} is kept in {place}: it had arrived before"),
    };
    let (parts, digest) = (moved.map(|moved| moved.parts), moved.map(|moved| &moved.digest));
    screen.result(
        &text,
        &json!({ "event": "state-migrate", "environment": name, "place": place, "parts": parts, "sha256": digest }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_s3_has_a_bucket_and_a_prefix() {
        assert_eq!(place("s3://acme-state/team/dev/"), Ok(("acme-state".to_owned(), "team/dev".to_owned())));
        for wrong in ["acme-state/dev", "s3://acme-state", "s3:///dev", "s3://"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
