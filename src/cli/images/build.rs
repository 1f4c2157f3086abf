//! `sre-provision images build`: builds the images of which an input has moved, and signs what was measured on them.
//!
//! It is `up` that ends at the node image, and looks once more for what `up` remembers: the newest source image. What has
//! not moved is not built, so that it may run every night.

use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::prune::span;
use super::site::meant;
use crate::artifact::{Artifact, Image, Kind};
use crate::cli::Common;
use crate::cli::ask::ask;
use crate::cli::desk::{Desk, known};
use crate::cli::look::Looked;
use crate::cli::operation::nothing_open;
use crate::cli::up::{Ready, carry_out, lines, preflight};
use crate::decision::Verdict;
use crate::event::Events;
use crate::failure::{Exit, Failure};
use crate::report::{Screen, closing_table, plan_text, table, took};
use crate::stages::{self, Given, Stage};
use crate::stop::Stop;
use crate::units::Span;

/// The stages up to the node image.
const KINDS: [Kind; 3] = [Kind::Bundle, Kind::BaseImage, Kind::NodeImage];

#[derive(Debug, clap::Args)]
pub struct Build {
    /// The environments
    #[arg(value_name = "ENVIRONMENT", required_unless_present = "all", conflicts_with = "all")]
    environments: Vec<String>,
    /// Those of all environments that have images
    #[arg(long)]
    all: bool,
    /// Leave alone what has a node image that is younger
    #[arg(long, value_name = "TIME", value_parser = span)]
    if_older: Option<Span>,
    /// The key that signs what was measured; without it `images.sign` of the environment file
    #[arg(long, value_name = "file:KEY")]
    sign: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What became of the images of one environment.
#[derive(Debug, Serialize)]
struct Line {
    environment: String,
    outcome: Became,
    /// What moved, or why nothing was done.
    why: Vec<String>,
    base: Option<String>,
    node: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Became {
    Built,
    Unchanged,
    /// It was not looked at what moved.
    Younger,
    Failed,
}

impl Build {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let workspace = common.open()?;
        let sign = self.sign.as_deref().map(absolute).transpose()?;
        let names = meant(&workspace, &self.environments)?;
        let (mut lines, mut failures) = (Vec::new(), Vec::new());
        for name in &names {
            match self.one(common, name, sign.clone(), screen, stop).await {
                Ok(line) => lines.extend(line),
                Err(failure) if failure.is_cancelled() || names.len() == 1 => return Err(failure),
                // One that fails keeps back no other.
                Err(failure) => {
                    screen.remark(&format!("{name}: {failure}"));
                    lines.push(Line::new(name, Became::Failed, vec![failure.to_string()], &Given::default()));
                    failures.push(failure.of(name));
                }
            }
        }
        tell(&lines, screen);
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// # Errors
    /// The environment cannot be read, is held by another, or a build failed.
    async fn one(
        &self,
        common: &Common,
        name: &str,
        sign: Option<String>,
        screen: Screen,
        stop: &Stop,
    ) -> Result<Option<Line>, Failure> {
        let mut desk = Desk::open(common, name).await?;
        let stages = stages(&desk);
        if let Some(channel) = desk.env.images.channel.as_ref().filter(|_| !self.all) {
            return Err(Failure::new(Exit::Usage, format!("no images are built for `{name}`"))
                .because(format!("its node image is the one that the channel `{channel}` leads to")));
        }
        if stages.is_empty() || desk.env.images.channel.is_some() {
            return if self.all { Ok(None) } else { Err(no_images(name)) };
        }
        desk.env.images.look_anew = true;
        desk.env.images.sign = sign.or(desk.env.images.sign.take());
        if let Some(line) = self.young(&desk).await? {
            return Ok(Some(line));
        }
        self.build(Ready::new(desk).await?, &stages, screen, stop).await.map(Some)
    }

    /// The line of an environment whose node image is younger than is asked for.
    async fn young(&self, desk: &Desk) -> Result<Option<Line>, Failure> {
        let Some(least) = self.if_older else { return Ok(None) };
        let Some(identity) = desk.recorded_identity().await? else { return Ok(None) };
        let journal = desk.journal(&identity).await?;
        let known = known(journal.memory());
        let Some(image) = image(&known, Kind::NodeImage) else { return Ok(None) };
        let (cloud, _) = desk.cloud(Some(&identity)).await?;
        let built = cloud.image(&image.id).await?.and_then(|found| found.created.parse::<Timestamp>().ok());
        let age = built.and_then(|built| std::time::Duration::try_from(Timestamp::now().duration_since(built)).ok());
        let is_young = age.is_some_and(|age| age < least.0);
        let why = vec![format!("`{}` is younger than {least}", image.id)];
        Ok(is_young.then(|| Line::new(&desk.env.name, Became::Younger, why, &known)))
    }

    async fn build(
        &self,
        ready: Ready,
        stages: &[Box<dyn Stage>],
        screen: Screen,
        stop: &Stop,
    ) -> Result<Line, Failure> {
        nothing_open(&ready.journal, None)?;
        let name = ready.desk.env.name.clone();
        let connections = ready.desk.connections(&ready.secrets, &ready.identity)?;
        let (events, received) = Events::channel();
        let mut looked = ready.layout(&connections, &events, stop).look(stages, &ready.journal).await?;
        looked.plan.nodes.clear();
        if let Some(failure) = looked.standstill(&name) {
            return Err(failure);
        }
        if looked.plan.is_noop() {
            connections.close().await;
            return Ok(Line::new(&name, Became::Unchanged, vec!["nothing moved".to_owned()], &looked.known));
        }
        let why = moved(&looked);
        self.ask(&name, &looked, screen, stop).await?;
        preflight(&ready, stages, &looked.plan, &connections).await?;
        ready.desk.home.keep_identity(&ready.identity).await?;
        let started = Instant::now();
        let going = ("images build", screen);
        let ended = carry_out(ready, &looked, stages, &connections, (events, received), going, stop).await;
        connections.close().await;
        let ended = ended?;
        screen.remark(&format!("\n{}\n{name}: {}", closing_table(&lines(&ended.report)), took(started.elapsed())));
        if let Some(failure) = ended.report.failure() {
            let hint = format!("sre-provision images build {name}   goes on where this run stopped");
            return Err(failure.log_if_none(ended.desk.state.run(ended.run)).hint(hint));
        }
        ended.anchored?;
        let same = [Kind::BaseImage, Kind::NodeImage]
            .into_iter()
            .all(|kind| image(&looked.known, kind).map(|it| it.id) == image(&ended.report.given, kind).map(|it| it.id));
        let became = if same { Became::Unchanged } else { Became::Built };
        Ok(Line::new(&name, became, why, &ended.report.given))
    }

    async fn ask(&self, name: &str, looked: &Looked, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        screen.remark(&format!("images of {name}\n\n{}\n", plan_text(&looked.plan, &looked.usual)));
        if self.yes {
            return Ok(());
        }
        match ask(screen, "go on? [y/N]".to_owned(), stop).await?.as_deref() {
            Some("y" | "Y" | "yes") => Ok(()),
            Some(_) => Err(Failure::new(Exit::Approval, "images build: nothing was done")),
            None => Err(Failure::new(Exit::Approval, "images build: nobody can answer whether to go on")
                .because("standard input is no terminal")
                .hint(format!("sre-provision images build {name} --yes"))),
        }
    }
}

/// The stages of an environment up to its node image; none where the platform has no images.
fn stages(desk: &Desk) -> Vec<Box<dyn Stage>> {
    let stages: Vec<Box<dyn Stage>> =
        stages::all(desk.env.platform).into_iter().filter(|stage| KINDS.contains(&stage.makes())).collect();
    if stages.iter().any(|stage| stage.makes() == Kind::NodeImage) { stages } else { vec![] }
}

fn no_images(name: &str) -> Failure {
    Failure::new(Exit::Usage, format!("`{name}` has no images"))
        .because("the operating system of machines that exist is installed by others")
}

/// A reference as it is meant where it was typed, whatever the workspace is.
fn absolute(reference: &str) -> Result<String, Failure> {
    let Some(path) = reference.strip_prefix("file:") else { return Ok(reference.to_owned()) };
    let path: PathBuf = std::path::absolute(Path::new(path))
        .map_err(|error| Failure::new(Exit::Usage, format!("`{path}` is no place")).because(error))?;
    Ok(format!("file:{}", path.display()))
}

/// Why something is made, stage by stage.
fn moved(looked: &Looked) -> Vec<String> {
    let runs = looked.plan.decisions.iter().filter(|decision| decision.verdict == Verdict::Run);
    runs.map(|decision| format!("{}: {}", decision.stage, decision.reason)).collect()
}

fn image(given: &Given, kind: Kind) -> Option<Image> {
    match given.artifact(kind) {
        Some(Artifact::BaseImage(image) | Artifact::NodeImage(image)) => Some(image.clone()),
        Some(_) | None => None,
    }
}

impl Line {
    fn new(environment: &str, outcome: Became, why: Vec<String>, given: &Given) -> Self {
        let id = |kind| image(given, kind).map(|image| image.id);
        let (base, node) = (id(Kind::BaseImage), id(Kind::NodeImage));
        Self { environment: environment.to_owned(), outcome, why, base, node }
    }
}

fn tell(lines: &[Line], screen: Screen) {
    let word = |became| match became {
        Became::Built => "built",
        Became::Unchanged => "unchanged",
        Became::Younger => "younger",
        Became::Failed => "failed",
    };
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let node = line.node.clone().unwrap_or_else(|| "–".to_owned());
            vec![line.environment.clone(), word(line.outcome).to_owned(), node, line.why.join("; ")]
        })
        .collect();
    let text = if rows.is_empty() { "no environment has images".to_owned() } else { table(&rows) };
    screen.result(&text, &json!({ "event": "images-built", "environments": lines }));
}
