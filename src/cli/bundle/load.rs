//! `sre-provision bundle load`: takes a bundle in for an environment.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{apart, counted, counts, python, refuse_lacking, trusted};
use crate::bundle::{
    Accepted, FEEDS, Loaded, Manifest, Opened, Target, WHEEL_INDEX, add_loaded, client, feeds, index, lacking, load,
    loaded_manifest, referred, refuse_older, registries,
};
use crate::cli::Common;
use crate::cli::desk::Desk;
use crate::event::Outcome;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::journal::{Lease, Record};
use crate::report::Screen;
use crate::secret::Secret;
use crate::stop::Stop;
use crate::workspace::{RealDisk, make_dir, remove, remove_tree, write_atomic};

/// Beside what was loaded: the last accepted version of each line, also where there is no journal yet.
const ACCEPTED: &str = "accepted.json";

#[derive(Debug, clap::Args)]
pub struct Load {
    /// The environment
    environment: String,
    /// The bundle; further directories carry more of its chunks
    #[arg(required = true, value_name = "DIR")]
    bundle: Vec<PathBuf>,
    /// The public key of whoever makes the bundles, PEM; without it those of the environment file
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
}

impl Load {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let desk = Desk::open(common, &self.environment).await?;
        let keys = trusted(common, &self.trust, Some(&desk.env))?;
        let (dirs, loaded) = (self.bundle, desk.state.loaded());
        let opened = apart(move || {
            let mut opened = Opened::open(&dirs, &keys)?;
            add_loaded(&mut opened, &loaded);
            Ok(opened)
        });
        let opened = opened.await?;
        let identity = desk.recorded_identity().await?;
        desk.state.create()?;
        let lease = desk.lease().await?;
        let accepted = accepted(&desk, identity.as_ref()).await?;
        refuse_older(&accepted, &opened.manifest, &opened.bytes)?;
        refuse_lacking(&lacking(&opened, &desk.env)?, &desk.env.name)?;
        let (dir, stop) = (desk.state.loaded(), stop.clone());
        let (loaded, opened) = apart(move || {
            let loaded = load(&RealDisk, &opened, &dir, &stop)?;
            Ok((loaded, opened))
        })
        .await?;
        feed(&desk, &opened.manifest)?;
        let ansible = python::install(&desk, &opened.manifest).await;
        let pushed = push(&desk, &opened.manifest, screen).await?;
        let now = accepted.with(&opened.manifest, &opened.bytes);
        record(&desk, identity.as_ref(), &lease, &now).await?;
        lease.give_back().await?;
        tell(screen, &desk, &opened.manifest, &Taken { loaded, pushed, ansible });
        Ok(())
    }
}

/// Writes what lets tools take the files from there. What an earlier bundle fed and this one does not, goes: it leads to
/// files that are gone.
fn feed(desk: &Desk, manifest: &Manifest) -> Result<(), Failure> {
    let dir = desk.state.loaded();
    remove_tree(&dir.join(WHEEL_INDEX))?;
    let feeds = feeds(manifest, &desk.env.bundle, desk.workspace.root(), &dir);
    for old in FEEDS.iter().map(Path::new).filter(|old| !feeds.contains_key(*old)) {
        remove(&RealDisk, &dir.join(old))?;
    }
    for (place, text) in feeds {
        let target = dir.join(place);
        make_dir(&RealDisk, target.parent().unwrap_or(&dir), 0o755)?;
        write_atomic(&target, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Makes an OCI layout of the images, and pushes them where a registry is named.
async fn push(desk: &Desk, manifest: &Manifest, screen: Screen) -> Result<usize, Failure> {
    let dir = desk.state.loaded();
    // What an earlier bundle told nodes counts no more, whatever comes of this one.
    remove(&RealDisk, &dir.join("registries.yaml"))?;
    let images = dir.join("images");
    if manifest.images.is_empty() {
        for old in ["index.json", "oci-layout"] {
            remove(&RealDisk, &images.join(old))?;
        }
        return Ok(0);
    }
    write_atomic(&images.join("index.json"), index(&manifest.images).to_string().as_bytes(), 0o644)?;
    write_atomic(&images.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    let Some(registry) = &desk.env.bundle.registry else { return Ok(0) };
    let root = desk.workspace.root();
    let (ca, password) = (referred(root, registry.ca.as_ref())?, referred(root, registry.password.as_ref())?);
    let password = password.map(|bytes| Secret::new(bytes.trim_ascii_end()));
    let plain = registry.plain_http.then(|| registry.host.clone()).into_iter().collect();
    let (client, tell) = (client(plain, ca), |text: String| screen.remark(&text));
    let blobs = images.join("blobs/sha256");
    let target = Target { client: &client, registry, password, blobs: &blobs, tell: &tell };
    let pushed = target.push(manifest).await?;
    // JSON is YAML.
    let told = serde_json::to_string_pretty(&registries(registry, &manifest.images))
        .map_err(|error| Failure::bug("where nodes find images is no JSON").because(error))?;
    write_atomic(&dir.join("registries.yaml"), format!("{told}\n").as_bytes(), 0o644)?;
    Ok(pushed)
}

/// The last accepted versions, from the journal, from beside what was loaded, and from that itself.
async fn accepted(desk: &Desk, identity: Option<&Identity>) -> Result<Accepted, Failure> {
    let damaged = |error: serde_json::Error| {
        Failure::bug("which bundles were accepted is recorded in another shape").because(error)
    };
    let mut accepted = Accepted::default();
    if let Some(bytes) = read(&desk.state.loaded().join(ACCEPTED))? {
        accepted = accepted.joined(serde_json::from_slice(&bytes).map_err(damaged)?);
    }
    if let Some(identity) = identity
        && let Some(fact) = desk.journal(identity).await?.memory().facts.get(Accepted::FACT)
    {
        accepted = accepted.joined(serde_json::from_value(fact.clone()).map_err(damaged)?);
    }
    if let Some(manifest) = loaded_manifest(&desk.state.loaded()) {
        let bytes = manifest.encode()?;
        accepted = accepted.joined(Accepted::default().with(&manifest, &bytes));
    }
    Ok(accepted)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Failure::new(crate::failure::Exit::NotDone, format!("cannot read `{}`", path.display())).because(error))
        }
    }
}

/// Writes down what was accepted: in the journal, where there is one, and beside what was loaded.
async fn record(desk: &Desk, identity: Option<&Identity>, lease: &Lease, now: &Accepted) -> Result<(), Failure> {
    let value = serde_json::to_value(now).map_err(|error| Failure::bug("a record is no JSON").because(error))?;
    if let Some(identity) = identity {
        let mut journal = desk.journal(identity).await?;
        let run = journal.memory().next_run();
        let command = format!("bundle load {}", desk.env.name);
        let program = env!("CARGO_PKG_VERSION").to_owned();
        journal.append(lease, run, Record::RunStarted { command, program, plan: None }).await?;
        let name = Accepted::FACT.to_owned();
        journal.append(lease, run, Record::Fact { name, value: value.clone() }).await?;
        journal.append(lease, run, Record::RunEnded { outcome: Outcome::Succeeded, why: None }).await?;
    }
    write_atomic(&desk.state.loaded().join(ACCEPTED), value.to_string().as_bytes(), 0o644)
}

/// What came of a load.
struct Taken {
    loaded: Loaded,
    /// Images.
    pushed: usize,
    /// Where the bundle's Ansible is. Whoever has it from elsewhere needs nothing more: a failure is told, and what was
    /// loaded is loaded.
    ansible: Result<Option<PathBuf>, Failure>,
}

fn tell(screen: Screen, desk: &Desk, manifest: &Manifest, taken: &Taken) {
    let name = &desk.env.name;
    let dir = desk.state.loaded();
    let loaded = &taken.loaded;
    let problem = taken.ansible.as_ref().err().map(|failure| {
        let causes: Vec<&str> = failure.causes().iter().map(String::as_str).collect();
        format!("{}: {}", failure.what(), causes.join("; "))
    });
    let warning = problem.as_ref().map_or(String::new(), |problem| format!("\n  warning: {problem}"));
    let text = format!(
        "bundle `{}` version {} is loaded for `{name}`: {} files in {} ({} were there, {} are gone){}\n  \
         sre-provision up {name}   takes the RKE2 release from there{warning}",
        manifest.line,
        manifest.version,
        loaded.files,
        desk.workspace.shown(&dir).display(),
        loaded.kept,
        loaded.removed,
        counted(manifest),
    );
    screen.result(
        &text,
        &json!({ "event": "bundle-loaded", "environment": name, "line": manifest.line, "version": manifest.version,
            "files": loaded.files, "kept": loaded.kept, "removed": loaded.removed,
            "counts": counts(manifest), "pushed": taken.pushed, "path": dir, "ansible": taken.ansible.as_ref().ok().and_then(Option::as_ref),
            "ansible_problem": problem }),
    );
}
