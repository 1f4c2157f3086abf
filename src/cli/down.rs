//! `sre-provision down`: takes the environment away and proves that nothing is left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use super::Common;
use super::ask::ask;
use super::desk::{Desk, forget_in_memory, known};
use super::look::Layout;
use super::lost::Lost;
use super::operation::{end_open, tell_open};
use super::reap::still_expired;
use super::removal::Removal;
use super::run::Run;
use crate::cloud::{Cloud, Tags};
use crate::environment::EnvironmentClass;
use crate::event::{Events, Outcome};
use crate::execute::{Removed, Sorted, World, down};
use crate::failure::{Exit, Failure};
use crate::identity::{Identity, tag_of};
use crate::journal::{Anchor, Journal, Lease};
use crate::plan::Graph;
use crate::report::{Screen, took};
use crate::secrets::Secrets;
use crate::stages::{self, Reader, Stage};
use crate::stop::Stop;

#[derive(Debug, clap::Args)]
pub struct Down {
    /// The environment
    environment: String,
    /// Do not ask for its name
    #[arg(long, short)]
    yes: bool,
    /// Remove the images that this environment built, too
    #[arg(long)]
    images: bool,
    /// The environment's id, where its state is lost
    #[arg(long, value_name = "ID")]
    environment_id: Option<Uuid>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only an ephemeral environment whose time is over: what `reap` asks, again under the lease
    #[arg(skip)]
    only_expired: bool,
}

impl Down {
    /// What `reap` does with an environment of which it has the state.
    pub fn expired(environment: &str) -> Self {
        let environment = environment.to_owned();
        Self { environment, yes: true, images: false, environment_id: None, dry_run: false, only_expired: true }
    }

    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let desk = Desk::open(common, &self.environment).await?;
        // Without an identity nothing is written before it is known what is left.
        let takes = !self.dry_run && desk.recorded_identity().await?.is_some();
        let held = if takes { Some(desk.lease().await?) } else { None };
        // Under the lease: who held it before may have changed it.
        let recorded = desk.recorded_identity().await?;
        if let Some(other) = self.environment_id.filter(|id| recorded.as_ref().is_some_and(|it| it.id != *id)) {
            return Err(Failure::new(Exit::Usage, format!("`{}` is not {other} here", self.environment))
                .because("its state is not lost and names another id")
                .hint(format!("sre-provision down {}   takes away the one that is here", self.environment)));
        }
        let (cloud, account) = desk.cloud(recorded.as_ref()).await?;
        let identity = match recorded {
            Some(identity) => identity,
            None => {
                let lost = Lost { desk: &desk, cloud: cloud.as_ref(), account: &account, images: self.images };
                let Some(identity) = lost.find(self.environment_id, screen, stop).await? else { return Ok(()) };
                identity
            }
        };
        let tags = tag_of(identity.id);
        if self.dry_run {
            let sorted = Sorted::of(cloud.things(&tags).await?, self.images);
            let journal = desk.journal(&identity).await?;
            Removal::of(&desk, &identity, journal.memory(), sorted)?.tell_all(screen);
            return Ok(());
        }
        refuse_protected(&desk, &identity)?;
        if self.only_expired {
            if desk.env.class != EnvironmentClass::Ephemeral {
                return Err(Failure::new(Exit::NotDone, format!("`{}` is not ephemeral by its file", desk.env.name)));
            }
            still_expired(cloud.as_ref(), &identity).await?;
        }
        let lease = match held {
            Some(lease) => lease,
            None => desk.lease().await?,
        };
        desk.home.bring_roots(identity.id).await?;
        let sorted = Sorted::of(cloud.things(&tags).await?, self.images);
        let journal = desk.journal(&identity).await?;
        Removal::of(&desk, &identity, journal.memory(), sorted)?.tell(screen);
        tell_open(&journal, screen);
        self.confirm(&identity, screen, stop).await?;
        desk.home.keep_identity(&identity).await?;
        self.carry_out(&desk, (lease, journal), &identity, cloud.as_ref(), &tags, screen, stop).await
    }

    async fn confirm(&self, identity: &Identity, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        match ask(screen, format!("type the name to go on: {} >", identity.name), stop).await? {
            Some(answer) if answer == identity.name => Ok(()),
            Some(_) => Err(Failure::new(Exit::Approval, "down: nothing was removed")),
            None => Err(Failure::new(Exit::Approval, "down: nobody can answer whether to go on")
                .because("standard input is no terminal")
                .hint(format!("sre-provision down {} --yes", identity.name))),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what one run of `down` holds, passed on once")]
    async fn carry_out(
        &self,
        desk: &Desk,
        (lease, journal): (Lease, Journal),
        identity: &Identity,
        cloud: &dyn Cloud,
        tags: &Tags,
        screen: Screen,
        stop: &Stop,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let tell =
            |why: &Failure| screen.remark(&format!("goes on without the secrets, which no removal needs: {why}"));
        let secrets = desk.secrets_to_forget(identity, tell)?;
        let connections = desk.connections_to_leave(identity)?;
        let known = known(journal.memory());
        let command = format!("down {}", identity.name);
        let written = (command.as_str(), None);
        let run = Run::begin(desk, identity, (lease, journal), written, Events::channel(), screen, stop).await?;
        desk.tell_refused(&run.events);
        end_open(run.book.as_ref()).await?;
        let result = {
            let layout = Layout {
                desk,
                identity,
                is_new: false,
                cloud,
                secrets: &secrets,
                connections: &connections,
                events: &run.events,
                stop,
            };
            let children = desk.children(&run.events, stop, run.book.clone());
            let reader = Reader::new(&desk.workspace, &desk.tools);
            let view = layout.view(run.number, &known, &reader, run.book.as_ref(), &children);
            let world = World { view, book: run.book.clone() };
            let stages = stages::all(desk.env.platform);
            let result = down(&in_order(&stages, desk)?, tags, self.images, &world).await;
            desk.tidy(&children, &secrets, result.is_ok(), &run.book, &run.events).await;
            result
        };
        connections.close().await;
        let why = result.as_ref().err().map(ToString::to_string);
        let end = run.close(Outcome::of(&result), why).await?;
        let anchored = desk.anchor(identity, &end, screen).await;
        let removed = result?;
        put_away(desk, identity, &secrets, &end).await?;
        farewell(identity, &removed, started.elapsed(), screen);
        anchored
    }
}

fn farewell(identity: &Identity, removed: &Removed, time: Duration, screen: Screen) {
    let name = &identity.name;
    let text = format!(
        "{name} is gone · {} removed, 0 left · asked {} by tag: nothing found · {}",
        removed.found,
        identity.platform,
        took(time)
    );
    screen.result(&text, &json!({ "event": "down", "environment": name, "id": identity.id, "removed": removed }));
}

/// Of an environment that is gone, journal and logs stay; what would open it goes, here and on tmpfs.
///
/// # Errors
/// Exit 8: another has begun with it again since the run has ended; all stays as it is.
async fn put_away(desk: &Desk, identity: &Identity, secrets: &Secrets, end: &Anchor) -> Result<(), Failure> {
    let lease = match desk.home.shared() {
        Some(_) => Some(desk.lease().await?),
        None => None,
    };
    desk.home.ensure_ended(identity, end).await?;
    secrets.forget()?;
    forget_in_memory(identity, secrets)?;
    desk.home.retire(identity).await?;
    match lease {
        Some(lease) => lease.give_back().await,
        None => Ok(()),
    }
}

/// The stages after all that they need; `down` goes through them from the end.
fn in_order<'a>(stages: &'a [Box<dyn Stage>], desk: &Desk) -> Result<Vec<&'a dyn Stage>, Failure> {
    let order = Graph::new(stages, &desk.env).order();
    let order = order.map_err(|circle| Failure::bug(format!("stages need each other: {circle:?}")))?;
    let by_kind: BTreeMap<_, &dyn Stage> = stages.iter().map(|stage| (stage.makes(), stage.as_ref())).collect();
    Ok(order.iter().filter_map(|kind| by_kind.get(kind).copied()).collect())
}

fn refuse_protected(desk: &Desk, identity: &Identity) -> Result<(), Failure> {
    let protected = EnvironmentClass::Protected;
    if desk.env.class != protected && identity.class != protected {
        return Ok(());
    }
    Err(Failure::new(Exit::Approval, format!("`{}` is protected: it is not taken down", identity.name))
        .hint("set `class: standard` in its file, `up` it once so that everybody sees the change, then take it down"))
}
