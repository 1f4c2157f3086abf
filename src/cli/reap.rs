//! `sre-provision reap`: takes away every ephemeral environment whose time is over; made for a timer.
//!
//! Which ones there are is asked of the platform, by tags: an environment is found also where its state is gone. Each is
//! taken away under its own lease and looked at again under it, so that two of these at once, or one beside an `up` or an
//! `expiry extend`, harm nobody.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::ask::ask;
use super::desk::{actor, forget_connections};
use super::down::Down;
use super::places::Place;
use super::{Common, homes, places};
use crate::cloud::{Candidate, Cloud};
use crate::config;
use crate::environment::EnvironmentClass;
use crate::event::{Events, Outcome};
use crate::execute::{Book, Broom, Sorted, left_over};
use crate::failure::{Exit, Failure};
use crate::identity::{Identity, tag_of};
use crate::journal::{Home, Writer, load_identity};
use crate::process::running;
use crate::report::{Screen, moment, table};
use crate::stop::Stop;
use crate::workspace::{StateDir, Workspace, check_name};

#[derive(Debug, clap::Args)]
pub struct Reap {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show what has expired, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of one environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fate {
    /// Its time is over, and nothing was done yet.
    Expired,
    Gone,
    /// It got more time meanwhile.
    Extended,
    /// Somebody works on it.
    Held,
    /// Something of it is left.
    Left,
}

#[derive(Debug, Serialize)]
struct Line {
    environment: String,
    id: String,
    fate: Fate,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
}

impl Reap {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let workspace = common.open()?;
        let (places, mut unread) = places::of(&workspace, &common.platforms).await?;
        let mut expired = Vec::new();
        for place in &places {
            match place.candidates(&workspace).await {
                Ok(candidates) => {
                    let now = Timestamp::now();
                    expired.extend(candidates.into_iter().filter(|one| is_over(one, now)).map(|one| (place, one)));
                }
                Err(failure) => unread.push(failure),
            }
        }
        for failure in &unread {
            screen.remark(&format!("not looked at: {failure}"));
        }
        if self.dry_run || expired.is_empty() {
            let lines: Vec<Line> = expired.iter().map(|(_, one)| line(one, Fate::Expired, since(one))).collect();
            return conclude(&lines, unread, screen);
        }
        self.approve(&expired, screen, stop).await?;
        let mut lines = Vec::new();
        for (place, candidate) in &expired {
            let reaping = Reaping { common, workspace: &workspace, place, candidate, screen, stop };
            lines.push(reaping.reap().await?);
        }
        conclude(&lines, unread, screen)
    }

    async fn approve(&self, expired: &[(&Place, Candidate)], screen: Screen, stop: &Stop) -> Result<(), Failure> {
        for (place, one) in expired {
            let (account, region) = (&place.account.id, &place.account.region);
            screen.remark(&format!(
                "removes {} ({}, {} things in {account} {region}): {}",
                one.name,
                one.id,
                one.things,
                since(one)
            ));
        }
        if self.yes {
            return Ok(());
        }
        match ask(screen, format!("type the number of environments to go on: {} >", expired.len()), stop).await? {
            Some(answer) if answer == expired.len().to_string() => Ok(()),
            Some(_) => Err(Failure::new(Exit::Approval, "reap: nothing was removed")),
            None => Err(Failure::new(Exit::Approval, "reap: nobody can answer whether to go on")
                .because("standard input is no terminal")
                .hint("sre-provision reap --yes")),
        }
    }
}

/// Every environment that this workspace has a state of.
pub(super) fn remembered(workspace: &Workspace) -> Result<Vec<(StateDir, Identity)>, Failure> {
    let ids = workspace.remembered_ids()?.into_iter().map(|id| id.to_string());
    let states = workspace.remembered()?.into_iter().chain(ids).map(|name| workspace.state(&name));
    let found = states.map(|state| Ok(load_identity(&state)?.map(|identity| (state, identity))));
    found.filter_map(Result::transpose).collect()
}

/// Whether everything that is known of an environment says that it may go.
fn is_over(candidate: &Candidate, now: Timestamp) -> bool {
    candidate.class == EnvironmentClass::Ephemeral.word() && candidate.expires.is_some_and(|at| at <= now)
}

fn since(candidate: &Candidate) -> String {
    candidate.expires.map(|at| format!("expired {}", moment(at, &TimeZone::UTC))).unwrap_or_default()
}

/// Asks again, under the lease, whether an environment's time is over.
///
/// # Errors
/// Exit 1: it is not, or not any more.
pub async fn still_expired(cloud: &dyn Cloud, identity: &Identity) -> Result<(), Failure> {
    let now = Timestamp::now();
    let candidates = cloud.candidates(Some(&identity.name)).await?;
    let is_over = candidates.iter().filter(|one| one.id == identity.id.to_string()).all(|one| is_over(one, now));
    if is_over && has_ended(identity, now) {
        return Ok(());
    }
    Err(Failure::new(Exit::NotDone, format!("`{}` has not expired", identity.name))
        .because("its end was moved while `reap` was on its way"))
}

/// Whether an environment may go by what is recorded of it.
fn has_ended(identity: &Identity, now: Timestamp) -> bool {
    identity.class == EnvironmentClass::Ephemeral && identity.expires.is_some_and(|at| at <= now)
}

/// One environment on its way out.
struct Reaping<'a> {
    common: &'a Common,
    workspace: &'a Workspace,
    place: &'a Place,
    candidate: &'a Candidate,
    screen: Screen,
    stop: &'a Stop,
}

impl Reaping<'_> {
    /// # Errors
    /// Only that we were told to stop; whatever else happens is this environment's fate.
    async fn reap(&self) -> Result<Line, Failure> {
        let name = &self.candidate.name;
        let here = match self.here().await {
            Ok(here) => here,
            Err(failure) => return Ok(line(self.candidate, Fate::Left, failure.to_string())),
        };
        let result = match &here {
            // Boxed, because a command within a command would make this future as large as both.
            Some((home, _)) if home.state().name() == name && self.workspace.environment_file(name).exists() => {
                Box::pin(Down::expired(name).run(self.common, self.screen, self.stop)).await
            }
            here => self.by_tags(here.clone()).await,
        };
        match result {
            Err(failure) if failure.is_cancelled() => Err(failure),
            Err(failure) if failure.exit() == Exit::Held => Ok(line(self.candidate, Fate::Held, failure.to_string())),
            result => Ok(self.fate(result.err()).await),
        }
    }

    /// The environment's state, where this workspace has it under whatever name, or its file says where it is.
    async fn here(&self) -> Result<Option<(Home, Identity)>, Failure> {
        let is_it = |identity: &Identity| identity.id.to_string() == self.candidate.id;
        if let Some((state, identity)) = remembered(self.workspace)?.into_iter().find(|(_, identity)| is_it(identity)) {
            return Ok(Some((Home::local(state), identity)));
        }
        if check_name(&self.candidate.name).is_err() {
            return Ok(None);
        }
        let home = homes::named_for_certain(self.workspace, &self.candidate.name).await?;
        Ok(home.identity().await?.filter(is_it).map(|identity| (home, identity)))
    }

    /// What the platform says now, whatever we believe that we did.
    async fn fate(&self, failure: Option<Failure>) -> Line {
        let id = &self.candidate.id;
        let tags = tag_of(id);
        let said = failure.as_ref().map(ToString::to_string).unwrap_or_default();
        let looked = async {
            let left = Sorted::of(self.place.cloud.things(&tags).await?, false).going.len();
            let now = self.place.cloud.candidates(Some(&self.candidate.name)).await?;
            Ok::<_, Failure>((left, now.into_iter().find(|one| one.id == *id)))
        };
        let more_time = |now: &Candidate| !is_over(now, Timestamp::now());
        match looked.await {
            Ok((0, _)) if said.is_empty() => line(self.candidate, Fate::Gone, said),
            Ok((_, Some(now))) if more_time(&now) || self.is_kept_here().await => {
                line(self.candidate, Fate::Extended, said)
            }
            Ok((left, _)) if said.is_empty() => line(self.candidate, Fate::Left, format!("{left} things are left")),
            Ok(_) => line(self.candidate, Fate::Left, said),
            Err(failure) => line(self.candidate, Fate::Left, failure.to_string()),
        }
    }

    /// Whether the state or the file of the environment here says that it is not to go, whatever its tags say.
    async fn is_kept_here(&self) -> bool {
        let Ok(Some((home, identity))) = self.here().await else { return false };
        let file = config::load(self.workspace, home.state().name());
        !has_ended(&identity, Timestamp::now()) || file.is_ok_and(|env| env.class != EnvironmentClass::Ephemeral)
    }

    /// By tags alone: under the lease and with the journal of its state here, or of one that bears its id.
    async fn by_tags(&self, here: Option<(Home, Identity)>) -> Result<(), Failure> {
        let (home, identity) = match here {
            Some(here) => here,
            None => {
                let identity = self.identity()?;
                (Home::local(self.workspace.state(&identity.name)), identity)
            }
        };
        let lease = home.lease(actor()).await?;
        if let [slot, ..] = &running(&home.state().children())?[..] {
            return Err(Failure::new(Exit::Held, format!("`{slot}` of an earlier run still works on it")));
        }
        let cloud = self.place.cloud.as_ref();
        still_expired(cloud, &Identity { name: self.candidate.name.clone(), ..identity.clone() }).await?;
        home.keep_identity(&identity).await?;
        let journal = home.journal(&identity).await?;
        let writer = Writer::begin(journal, lease, &format!("reap {}", self.candidate.name), None).await?;
        let (events, received) = Events::channel();
        let follower = tokio::spawn(self.screen.follow(received));
        let tags = tag_of(&self.candidate.id);
        let book = Book::new(writer, &identity, BTreeMap::new());
        let broom = Broom { cloud, tags: &tags, images: false, stop: self.stop, events: &events, book: &book };
        let result = broom.sweep().await;
        drop(events);
        // A report that failed has nothing more to say than the run itself.
        drop(follower.await);
        let result = result.and_then(|left| if left.is_empty() { Ok(()) } else { Err(left_over(&left, &[])) });
        let end = book.close(Outcome::of(&result), result.as_ref().err().map(ToString::to_string)).await?;
        result?;
        // What is kept of it elsewhere is put aside under the lease, which ended with the run.
        let lease = if home.shared().is_some() { Some(home.lease(actor()).await?) } else { None };
        home.ensure_ended(&identity, &end).await?;
        forget_connections(&identity)?;
        home.retire(&identity).await?;
        match lease {
            Some(lease) => lease.give_back().await,
            None => Ok(()),
        }
    }

    /// As much of an identity as its tags tell; it is called by its id, because another may have its name by now.
    fn identity(&self) -> Result<Identity, Failure> {
        let Candidate { id, created_by, expires, .. } = self.candidate;
        let parsed: Uuid = id.parse().map_err(|error| {
            Failure::new(Exit::NotDone, format!("`{id}` is no id of an environment")).because(error)
        })?;
        Ok(Identity {
            version: 1,
            id: parsed,
            name: id.clone(),
            platform: self.place.platform,
            class: EnvironmentClass::Ephemeral,
            account: self.place.account.id.clone(),
            region: self.place.account.region.clone(),
            created: Timestamp::now(),
            created_by: created_by.clone(),
            expires: *expires,
        })
    }
}

fn line(candidate: &Candidate, fate: Fate, why: String) -> Line {
    Line { environment: candidate.name.clone(), id: candidate.id.clone(), fate, why }
}

fn conclude(lines: &[Line], unread: Vec<Failure>, screen: Screen) -> Result<(), Failure> {
    let said = [Fate::Expired, Fate::Gone, Fate::Extended, Fate::Held, Fate::Left].map(|fate| (of(lines, fate), fate));
    let counts = said.iter().filter(|(of, _)| !of.is_empty());
    let counts: Vec<String> = counts.map(|(of, fate)| format!("{} {}", of.len(), word(*fate))).collect();
    let rows = lines.iter().map(|line| {
        [&line.environment, &line.id, word(line.fate), &line.why].map(|cell: &str| cell.to_owned()).to_vec()
    });
    let text = if lines.is_empty() {
        "nothing has expired".to_owned()
    } else {
        format!("{}\n{}", table(&rows.collect::<Vec<_>>()).trim_end(), counts.join(", "))
    };
    let not_looked_at: Vec<String> = unread.iter().map(ToString::to_string).collect();
    screen.result(&text, &json!({ "event": "reap", "environments": lines, "not_looked_at": not_looked_at }));
    verdict(lines, unread)
}

/// The names of those with this fate.
fn of(lines: &[Line], fate: Fate) -> Vec<&str> {
    lines.iter().filter(|line| line.fate == fate).map(|line| line.environment.as_str()).collect()
}

/// # Errors
/// Exit 7 where something is left, 8 where somebody works on one, else that of the first file that was not looked at.
fn verdict(lines: &[Line], unread: Vec<Failure>) -> Result<(), Failure> {
    let (left, held) = (of(lines, Fate::Left), of(lines, Fate::Held));
    if !left.is_empty() {
        return Err(Failure::new(Exit::Unhealthy, format!("reap: something is left of {}", left.join(", ")))
            .hint("sre-provision reap --yes   goes on where it was"));
    }
    if !held.is_empty() {
        return Err(Failure::new(Exit::Held, format!("reap: somebody works on {}", held.join(", ")))
            .hint("sre-provision reap --yes   once they are done"));
    }
    unread.into_iter().next().map_or(Ok(()), Err)
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Expired => "expired",
        Fate::Gone => "gone",
        Fate::Extended => "extended",
        Fate::Held => "held",
        Fate::Left => "left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(class: &str, expires: Option<&str>) -> Candidate {
        Candidate {
            id: "5b1e77aa-0000-4000-8000-000000000000".to_owned(),
            name: "dev".to_owned(),
            class: class.to_owned(),
            created_by: String::new(),
            expires: expires.map(|at| at.parse().expect("a time")),
            things: 3,
        }
    }

    #[test]
    fn only_an_ephemeral_environment_that_has_an_end_and_is_past_it_is_over() {
        let now: Timestamp = "2026-11-24T19:10:00Z".parse().expect("a time");
        let past = Some("2026-11-24T19:09:59Z");

        assert!(is_over(&candidate("ephemeral", past), now));
        assert!(!is_over(&candidate("ephemeral", Some("2026-11-24T19:10:01Z")), now));
        assert!(!is_over(&candidate("ephemeral", None), now));
        assert!(!is_over(&candidate("standard", past), now));
        assert!(!is_over(&candidate("", past), now));
    }

    #[test]
    fn what_is_left_weighs_more_than_what_is_held() {
        let fates = |fates: &[Fate]| {
            let lines: Vec<Line> =
                fates.iter().map(|fate| line(&candidate("ephemeral", None), *fate, String::new())).collect();
            verdict(&lines, vec![]).map_err(|failure| failure.exit())
        };

        assert_eq!(fates(&[]), Ok(()));
        assert_eq!(fates(&[Fate::Gone, Fate::Extended]), Ok(()));
        assert_eq!(fates(&[Fate::Gone, Fate::Held]), Err(Exit::Held));
        assert_eq!(fates(&[Fate::Held, Fate::Left]), Err(Exit::Unhealthy));
    }
}
