//! Looks at everything a plan decides on: inputs, memory, and the world.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::artifact::Kind;
use crate::event::Outcome;
use crate::failure::Failure;
use crate::fingerprint::Reading;
use crate::journal::Memory;
use crate::plan::{Graph, Lasting, lasting, with_needs};
use crate::stages::{Context, Presence, Stage, half_joined};

/// What is known of one stage before it is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// How it ended last time; `None` if it never ran.
    pub last: Option<Outcome>,
    /// Inputs that differ from those it was made with.
    pub changed: Vec<String>,
    /// Only probed where nothing else decides.
    pub presence: Option<Presence>,
    /// A few words on the artifact as recorded.
    pub summary: String,
    /// Why it must not follow the file, which asks for another value of what was settled for life.
    pub settled: Option<String>,
    /// What a run that did not come to its end has left half done, in a few words.
    pub left: Option<String>,
}

/// All looks that a plan decides on.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub(super) observed: BTreeMap<Kind, Observed>,
    readings: BTreeMap<Kind, Reading>,
    lasting: Vec<Lasting>,
}

impl Survey {
    pub fn of(&self, kind: Kind) -> Option<&Observed> {
        self.observed.get(&kind)
    }

    /// What the file asks for otherwise than it was settled.
    pub fn lasting(&self) -> &[Lasting] {
        &self.lasting
    }

    /// A stage's own inputs as read, without the artifacts it needs.
    pub fn reading(&self, kind: Kind) -> Reading {
        self.readings.get(&kind).cloned().unwrap_or_default()
    }
}

/// Reads the inputs of every stage and probes, side by side, what was made and is unchanged.
///
/// `context` gives each stage its own view of the world.
pub async fn survey<'a>(
    stages: &'a [Box<dyn Stage>],
    graph: &Graph,
    memory: &Memory,
    context: impl Fn(Kind) -> Context<'a>,
) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    let mut probes = Vec::new();
    for stage in stages {
        let kind = stage.makes();
        let cx = context(kind);
        let settled = lasting(cx.env, memory).into_iter().filter(|value| value.stage == kind).collect::<Vec<_>>();
        let own = cx.reader.read(&stage.inputs(cx.env)).map_err(|failure| failure.of(kind))?;
        let now = with_needs(own.clone(), graph.needs(kind), cx.known);
        survey.readings.insert(kind, own);
        let Some(remembered) = memory.stages.get(&kind) else { continue };
        let made = remembered.made.as_ref();
        let changed = made.map(|made| now.changed_since(&made.reading)).unwrap_or_default();
        let unchanged = remembered.last == Outcome::Succeeded && changed.is_empty();
        let summary = made.map(|made| made.artifact.summary()).unwrap_or_default();
        let refused = settled.iter().map(Lasting::reason).reduce(|all, one| format!("{all}; {one}"));
        survey.lasting.extend(settled);
        let may_be_half = kind == Kind::Servers && remembered.last != Outcome::Succeeded;
        let halves = if may_be_half { half_joined(&cx).await } else { BTreeMap::new() };
        let left = halves.into_values().reduce(|all, one| format!("{all}; {one}"));
        let observed =
            Observed { last: Some(remembered.last), changed, presence: None, summary, settled: refused, left };
        survey.observed.insert(kind, observed);
        if let (true, Some(made)) = (unchanged, made) {
            probes.push(async move {
                let presence = match stage.probe(&made.artifact, &cx).await {
                    Ok(presence) => presence,
                    Err(failure) => Presence::Unknown(failure.to_string()),
                };
                (kind, presence)
            });
        }
    }
    for (kind, presence) in join_all(probes).await {
        if let Some(observed) = survey.observed.get_mut(&kind) {
            observed.presence = Some(presence);
        }
    }
    Ok(survey)
}
