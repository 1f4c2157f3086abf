//! An environment that the platform knows and this workspace does not: which one it is, and whether anything is left.

use uuid::Uuid;

use super::ask::ask;
use super::desk::{Desk, new_identity, wrong_target};
use super::removal::counted;
use crate::cloud::{Account, Candidate, Cloud, Thing, is_same_account};
use crate::environment::EnvironmentClass;
use crate::execute::Sorted;
use crate::failure::{Class, Exit, Failure};
use crate::identity::{Identity, TAG_CLASS, TAG_NODE, tag_of};
use crate::journal::load_identity;
use crate::report::Screen;
use crate::stop::Stop;

/// Keeps a second environment from being made beside one whose state is lost: its cluster lives as long as its nodes.
///
/// # Errors
/// Exit 9: nodes of an environment of this name are there, which this workspace knows nothing of.
pub async fn refuse_second(name: &str, cloud: &dyn Cloud) -> Result<(), Failure> {
    let mut living = Vec::new();
    for candidate in cloud.candidates(Some(name)).await? {
        let machines = cloud.machines(&tag_of(&candidate.id)).await?;
        if machines.iter().any(|machine| machine.tags.contains_key(TAG_NODE)) {
            living.push(candidate);
        }
    }
    if living.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Approval, format!("the state of `{name}` is not here, and nodes of that name are there"))
        .class(Class::NeedsPerson)
        .because(listed(&living))
        .hint(format!(
            "bring `.sre-provision/{name}` back from a copy; or give that environment up: sre-provision down {name} \
             --environment-id ID; one beside it needs another name"
        )))
}

/// What the search for an environment without a state needs.
pub struct Lost<'a> {
    pub desk: &'a Desk,
    pub cloud: &'a dyn Cloud,
    pub account: &'a Account,
    /// Whether its images are to go too.
    pub images: bool,
}

impl Lost<'_> {
    /// The environment of this name that has something left, once its id was given; `None` where nothing is left but
    /// what `down` keeps, which is told.
    ///
    /// # Errors
    /// Exit 1 where neither this workspace nor the platform ever heard of it; exit 9 without an id; exit 4 in another
    /// account or region than the one it was in.
    pub async fn find(&self, id: Option<Uuid>, screen: Screen, stop: &Stop) -> Result<Option<Identity>, Failure> {
        let name = &self.desk.env.name;
        let retired = self.retired().await?;
        let candidates = self.candidates(&retired).await?;
        if candidates.is_empty() && retired.is_empty() {
            let what = format!("`{name}` has left nothing in {} {}", self.account.id, self.account.region);
            let failure = Failure::new(Exit::NotDone, what);
            return Err(failure.because("there is no state here and nothing carries its name"));
        }
        let (left, kept) = self.sorted(candidates).await?;
        let known: Vec<&Candidate> = left.iter().filter(|one| retired.iter().any(|it| it.is(one))).collect();
        let is_gone = id.map_or(left.is_empty(), |wanted| {
            let is_ours = kept.of(id) || retired.iter().any(|it| it.0.id == wanted);
            is_ours && !left.iter().any(|one| one.id == wanted.to_string())
        });
        if is_gone {
            self.tell_gone(&kept.things, screen);
            return Ok(None);
        }
        let wanted = match (id, &known[..], &left[..]) {
            (Some(id), _, _) => Some(id.to_string()),
            // We took it down ourselves: there is nothing to be mistaken about.
            (None, [known], [_]) => Some(known.id.clone()),
            (None, _, _) => ask(screen, question(name, &left), stop).await?,
        };
        self.chosen(&left, wanted.as_deref()).map(Some)
    }

    /// The environments of this name on the platform, and the last one that was taken down here if it left anything.
    async fn candidates(&self, retired: &[Retired]) -> Result<Vec<Candidate>, Failure> {
        let mut candidates = self.cloud.candidates(Some(&self.desk.env.name)).await?;
        if let Some(Retired(last)) = retired.last().filter(|last| !candidates.iter().any(|one| last.is(one))) {
            let (id, name) = (last.id.to_string(), last.name.clone());
            let tags = tag_of(&id);
            let things = self.cloud.things(&tags).await?.len();
            if things > 0 {
                let (class, created_by) = (last.tags()[TAG_CLASS].clone(), last.created_by.clone());
                let expires = last.expires;
                candidates.push(Candidate { id, name, class, created_by, expires, things });
            }
        }
        Ok(candidates)
    }

    /// What was taken down here under this name, in this account and region.
    async fn retired(&self) -> Result<Vec<Retired>, Failure> {
        let name = &self.desk.env.name;
        let mut retired: Vec<Retired> = self.desk.home.retired().await?.into_iter().map(Retired).collect();
        for state in self.desk.workspace.gone(name)? {
            retired.extend(load_identity(&state)?.map(Retired));
        }
        if let Some(Retired(last)) = retired.last() {
            if !is_same_account(&last.account, &self.account.id) {
                return Err(wrong_target(name, "account", &last.account, &self.account.id));
            }
            if last.region != self.account.region {
                return Err(wrong_target(name, "region", &last.region, &self.account.region));
            }
        }
        Ok(retired)
    }

    /// Those that have something to remove, and what is kept of the others.
    async fn sorted(&self, candidates: Vec<Candidate>) -> Result<(Vec<Candidate>, Kept), Failure> {
        let (mut left, mut kept) = (Vec::new(), Kept::default());
        for candidate in candidates {
            let tags = tag_of(&candidate.id);
            let things = self.cloud.things(&tags).await?;
            if Sorted::of(things.clone(), self.images).going.is_empty() {
                kept.things.extend(things);
                kept.ids.push(candidate.id);
            } else {
                left.push(candidate);
            }
        }
        Ok((left, kept))
    }

    fn tell_gone(&self, kept: &[Thing], screen: Screen) {
        let (name, place) = (&self.desk.env.name, format!("{} {}", self.account.id, self.account.region));
        let (text, hint) = if kept.is_empty() {
            (format!("{name} is gone: nothing of it is left in {place}"), String::new())
        } else {
            let hint = format!("\n  sre-provision down {name} --images   removes them too");
            (
                format!(
                    "{name} is gone: nothing but {} is left in {place}, kept for other environments",
                    counted(kept)
                ),
                hint,
            )
        };
        let kept: Vec<&str> = kept.iter().map(|thing| thing.id.as_str()).collect();
        let removed = serde_json::json!({ "found": 0, "left": [] });
        screen.result(
            &format!("{text}{hint}"),
            &serde_json::json!({ "event": "down", "environment": name, "removed": removed, "kept": kept }),
        );
    }

    fn chosen(&self, left: &[Candidate], wanted: Option<&str>) -> Result<Identity, Failure> {
        let name = &self.desk.env.name;
        let chosen = left.iter().find(|candidate| wanted == Some(&candidate.id));
        let found = chosen.and_then(|candidate| Some((candidate, candidate.id.parse().ok()?)));
        let (candidate, id) = found.ok_or_else(|| {
            let given = wanted.map_or("no id was given".to_owned(), |id| format!("`{id}` is no id of it"));
            Failure::new(Exit::Approval, format!("down: the state of `{name}` is lost, and {given}"))
                .because(listed(left))
                .hint(format!("sre-provision down {name} --environment-id ID"))
        })?;
        let mut identity = new_identity(&self.desk.env, self.account, id);
        if candidate.class == EnvironmentClass::Protected.word() {
            identity.class = EnvironmentClass::Protected;
        }
        Ok(identity)
    }
}

/// The identity of an environment that was taken down here.
struct Retired(Identity);

impl Retired {
    fn is(&self, candidate: &Candidate) -> bool {
        self.0.id.to_string() == candidate.id
    }
}

/// What is left of environments that are gone.
#[derive(Default)]
struct Kept {
    ids: Vec<String>,
    things: Vec<Thing>,
}

impl Kept {
    fn of(&self, id: Option<Uuid>) -> bool {
        id.is_some_and(|id| self.ids.contains(&id.to_string()))
    }
}

fn question(name: &str, left: &[Candidate]) -> String {
    let (count, listed) = (left.len(), listed(left));
    format!("the state of `{name}` is lost; {count} carry its name:\n{listed}\ntype the id to go on:")
}

fn listed(candidates: &[Candidate]) -> String {
    candidates.iter().map(describe).collect::<Vec<_>>().join("\n")
}

fn describe(candidate: &Candidate) -> String {
    format!(
        "  {}  {} things, class {}, made by {}",
        candidate.id, candidate.things, candidate.class, candidate.created_by
    )
}
