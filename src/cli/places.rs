//! Where the environment files of a workspace lead to: accounts with a region, and vCenters with a datacenter.

use super::reap::remembered;
use super::{Reached, vcenter};
use crate::cloud::{Account, Candidate, Cloud};
use crate::config;
use crate::environment::{Aws, Platform, Vsphere};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::workspace::Workspace;

/// One account and region, or one vCenter and datacenter, that environment files lead to.
pub struct Place {
    pub cloud: Box<dyn Cloud>,
    pub account: Account,
    pub platform: Platform,
}

impl Place {
    async fn reached(leads: &Leads, workspace: &Workspace, platforms: &Reached) -> Result<Self, Failure> {
        let (cloud, platform) = match leads {
            Leads::Aws(section) => (platforms.aws(section).await?, Platform::Aws),
            Leads::Vsphere(section) => (vcenter::reached(platforms, workspace, section).await?, Platform::Vsphere),
        };
        let account = cloud.account().await?;
        Ok(Self { cloud, account, platform })
    }

    /// Every environment that the platform or this workspace knows of here. What `reap` left when it was stopped at its very
    /// end, only the workspace knows.
    pub async fn candidates(&self, workspace: &Workspace) -> Result<Vec<Candidate>, Failure> {
        let mut candidates = self.cloud.candidates(None).await?;
        for (_, identity) in remembered(workspace)? {
            let id = identity.id.to_string();
            let is_here = identity.account == self.account.id && identity.region == self.account.region;
            if is_here && candidates.iter().all(|one| one.id != id) {
                let Identity { name, class, created_by, expires, .. } = identity;
                let class = class.word().to_owned();
                candidates.push(Candidate { id, name, class, created_by, expires, things: 0 });
            }
        }
        Ok(candidates)
    }
}

/// What an environment file says of where it leads to.
#[derive(PartialEq)]
enum Leads {
    Aws(Aws),
    Vsphere(Box<Vsphere>),
}

impl Leads {
    fn name(&self) -> &str {
        match self {
            Self::Aws(section) => &section.region,
            Self::Vsphere(section) => &section.server,
        }
    }
}

/// The places of all environment files, each once; and what cannot be read or reached.
pub async fn of(workspace: &Workspace, platforms: &Reached) -> Result<(Vec<Place>, Vec<Failure>), Failure> {
    let (mut leads, mut unread): (Vec<Leads>, Vec<Failure>) = (Vec::new(), Vec::new());
    for name in workspace.environments()? {
        match config::load(workspace, &name) {
            Ok(env) => {
                let found = env.aws.map(Leads::Aws).or(env.vsphere.map(|section| Leads::Vsphere(Box::new(section))));
                leads.extend(found.filter(|one| !leads.contains(one)));
            }
            Err(failure) => unread.push(failure),
        }
    }
    let mut places: Vec<Place> = Vec::new();
    for one in leads {
        // A file that leads to another account than these credentials do keeps back nobody else.
        match Place::reached(&one, workspace, platforms).await {
            Ok(place) if places.iter().any(|known| known.account == place.account) => {}
            Ok(place) => places.push(place),
            Err(failure) => unread.push(failure.of(one.name())),
        }
    }
    Ok((places, unread))
}
