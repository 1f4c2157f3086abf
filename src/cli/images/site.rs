//! The accounts and regions, or datacenters, that environments lead to, and what of images is kept there.

use std::path::PathBuf;

use crate::bundle::TrustedKeys;
use crate::cli::bundle::trusted;
use crate::cli::desk::Desk;
use crate::cli::{Common, homes};
use crate::cloud::{Account, Cloud};
use crate::config;
use crate::environment::Platform;
use crate::failure::{Exit, Failure};
use crate::images::{Policy, Shelf, Whereabouts};
use crate::workspace::Workspace;

/// One place with images.
pub struct Site {
    pub cloud: Box<dyn Cloud>,
    pub account: Account,
    /// Where statements about its images may be kept, each once.
    pub shelves: Vec<Shelf>,
    /// Whose statements count: the strictest of its environments'.
    pub policy: Policy,
}

impl Site {
    pub fn at(&self) -> Whereabouts {
        Whereabouts { account: self.account.id.clone(), region: self.account.region.clone() }
    }
}

/// The places of these environments, each once, and what could not be read or reached.
pub async fn sites(common: &Common, workspace: &Workspace, names: &[String]) -> (Vec<Site>, Vec<Failure>) {
    let (mut sites, mut unread): (Vec<Site>, Vec<Failure>) = (vec![], vec![]);
    for name in names {
        match site(common, workspace, name).await {
            Ok(Some(site)) => add(&mut sites, site),
            Ok(None) => {}
            Err(failure) => unread.push(failure.of(name)),
        }
    }
    (sites, unread)
}

/// The places of these environments, all of them read, with the keys whose statements count: those that are named, and else
/// those of the files.
///
/// # Errors
/// The first that could not be read or reached, and a key that cannot be.
pub async fn judging(
    common: &Common,
    workspace: &Workspace,
    named: &[String],
    trust: &[PathBuf],
) -> Result<Vec<Site>, Failure> {
    let (mut sites, unread) = sites(common, workspace, &meant(workspace, named)?).await;
    if let Some(failure) = unread.into_iter().next() {
        return Err(failure);
    }
    if !trust.is_empty() {
        let keys = trusted(common, trust, None)?;
        sites.iter_mut().for_each(|site| site.policy.keys = Some(keys.clone()));
    }
    Ok(sites)
}

/// The place of one environment; `None` on a platform without images.
async fn site(common: &Common, workspace: &Workspace, name: &str) -> Result<Option<Site>, Failure> {
    if config::load(workspace, name)?.platform == Platform::Hosts {
        return Ok(None);
    }
    let desk = Desk::open(common, name).await?;
    let (cloud, account) = desk.cloud(desk.recorded_identity().await?.as_ref()).await?;
    let wanted = &desk.env.images;
    let keys = match &wanted.trust[..] {
        [] => None,
        keys => Some(TrustedKeys::read(keys, workspace.root())?),
    };
    let policy = Policy { keys, score: wanted.require.map_or(0, |require| require.score) };
    let shelves = vec![homes::shelf(workspace, &desk.env).await?];
    Ok(Some(Site { cloud, account, shelves, policy }))
}

fn add(sites: &mut Vec<Site>, site: Site) {
    let Some(known) = sites.iter_mut().find(|known| known.at() == site.at()) else {
        sites.push(site);
        return;
    };
    for shelf in site.shelves {
        if known.shelves.iter().all(|other| other.place() != shelf.place()) {
            known.shelves.push(shelf);
        }
    }
    known.policy.keys = known.policy.keys.take().or(site.policy.keys);
    known.policy.score = known.policy.score.max(site.policy.score);
}

/// The environments that are meant: those that are named, and else all that have a file.
///
/// # Errors
/// Exit 3: one that is named has none.
pub fn meant(workspace: &Workspace, named: &[String]) -> Result<Vec<String>, Failure> {
    let all = workspace.environments()?;
    if named.is_empty() {
        return Ok(all);
    }
    match named.iter().find(|name| !all.contains(name)) {
        Some(missing) => Err(Failure::new(Exit::Environment, format!("there is no environment `{missing}`"))
            .hint(format!("environments/ holds: {}", all.join(", ")))),
        None => Ok(named.to_vec()),
    }
}
