//! What a command that touches an environment needs laid out: its file, identity, journal, secrets, platform and tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::lost::refuse_second;
use super::{Common, Reached, homes, loaded_tools, members, vcenter};
use crate::artifact::{Access, Kind};
use crate::cloud::{Account, Cloud, Existing, is_same_account};
use crate::compliance::Catalogue;
use crate::config;
use crate::environment::{Environment, EnvironmentClass};
use crate::event::Events;
use crate::execute::Book;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::Identity;
use crate::images::Shelf;
use crate::journal::{
    Actor, Anchor, Home, Journal, Lease, Memory, SYSLOG, history, tell_file, tell_s3, tell_syslog, usual,
};
use crate::node::Connections;
use crate::plan::Releases;
use crate::process::{Children, Witness, has_records};
use crate::report::Screen;
use crate::rke2;
use crate::secrets::{KeySource, Secrets};
use crate::stages::{Given, SECRETS};
use crate::stop::Stop;
use crate::tools::Tools;
use crate::workspace::{StateDir, Workspace, forget_temporary, has_temporary, sweep_temporary, tmpfs_dir};

/// A directory that holds a release, in the variable that RKE2's own installer knows.
const RELEASE_VARIABLE: &str = "INSTALL_RKE2_ARTIFACT_PATH";
const KEY_VARIABLE: &str = "SRE_PROVISION_KEY_FILE";
/// The tools that `up` needs.
pub const TOOLS: [&str; 3] = ["packer", "tofu", "ansible-playbook"];

impl Common {
    pub fn open(&self) -> Result<Workspace, Failure> {
        let workspace = Workspace::open(&self.workspace)?;
        match &self.assets {
            Some(dir) => {
                let dir = dir.canonicalize().map_err(|error| {
                    Failure::new(Exit::Usage, format!("no assets in `{}`", dir.display())).because(error)
                })?;
                Ok(workspace.with_assets(dir))
            }
            None => Ok(workspace),
        }
    }
}

/// An environment laid out.
pub struct Desk {
    pub(super) platforms: Reached,
    pub workspace: Workspace,
    pub env: Environment,
    /// The RKE2 release that the file asks for; `env` has the one that counts.
    asked: String,
    /// This machine's part of what is kept.
    pub state: StateDir,
    /// Where all of it is kept.
    pub home: Home,
    /// Where statements about its images are kept.
    pub shelf: Shelf,
    pub tools: Tools,
}

impl Desk {
    /// Reads the environment file; asks nobody but for credentials, where the state is in S3.
    pub async fn open(common: &Common, name: &str) -> Result<Self, Failure> {
        let workspace = common.open()?;
        let mut env = config::load(&workspace, name)?;
        if env.rke2.release.is_none() {
            env.rke2.release = std::env::var(RELEASE_VARIABLE).ok().filter(|dir| !dir.is_empty());
        }
        let state = workspace.state(name);
        let home = homes::home(&env, state.clone()).await?;
        let shelf = homes::shelf(&workspace, &env).await?;
        let tools = loaded_tools::tools(&state.loaded(), |set| vcenter::trusting(set, &workspace, &env));
        let tools = tools.with_memory(workspace.tools());
        let asked = env.rke2.version.clone();
        Ok(Self { platforms: common.platforms.clone(), workspace, env, asked, state, home, shelf, tools })
    }

    /// The platform, as far as it answers; fails where it does not or where it is another than the pinned one.
    pub async fn cloud(&self, identity: Option<&Identity>) -> Result<(Box<dyn Cloud>, Account), Failure> {
        let who = actor();
        let cloud: Box<dyn Cloud> = match (&self.env.aws, &self.env.vsphere) {
            (Some(section), _) => self.platforms.aws(section).await?,
            (None, Some(section)) => vcenter::reached(&self.platforms, &self.workspace, section).await?,
            (None, None) => match Existing::of(&self.env, &who.to_string()) {
                Some(existing) => Box::new(existing),
                None => return Err(Failure::bug(format!("an environment on `{}` has no place", self.env.platform))),
            },
        };
        let account = cloud.account().await?;
        let named = self.env.aws.as_ref().and_then(|section| section.account.as_ref());
        let pinned = identity.map(|identity| &identity.account).or(named);
        if let Some(pinned) = pinned.filter(|pinned| !is_same_account(pinned, &account.id)) {
            return Err(wrong_target(&self.env.name, "account", pinned, &account.id));
        }
        if let Some(identity) = identity.filter(|identity| identity.region != account.region) {
            return Err(wrong_target(&self.env.name, "region", &identity.region, &account.region));
        }
        Ok((cloud, account))
    }

    /// The identity as recorded, of the class that the file asks for now; or a new one, unless an environment of that
    /// name lives of which nothing is recorded (exit 9). Neither is recorded yet.
    pub async fn identity(&self, cloud: &dyn Cloud, account: &Account) -> Result<Identity, Failure> {
        match self.recorded_identity().await? {
            Some(identity) => Ok(of_class(identity, &self.env, Timestamp::now())),
            None => {
                refuse_second(&self.env.name, cloud).await?;
                Ok(new_identity(&self.env, account, Uuid::new_v4()))
            }
        }
    }

    /// The identity, if the environment ever had one.
    ///
    /// # Errors
    /// It cannot be read, or it is another environment's: the state was copied, and what it tells of is not this one's.
    pub async fn recorded_identity(&self) -> Result<Option<Identity>, Failure> {
        let recorded = self.home.identity().await?;
        match recorded.as_ref().filter(|identity| identity.name != self.env.name) {
            Some(other) => Err(homes::copied(&self.env.name, &other.name, &self.state)),
            None => Ok(recorded),
        }
    }

    /// Takes the lease.
    ///
    /// # Errors
    /// Exit 8, naming the holder.
    pub async fn lease(&self) -> Result<Lease, Failure> {
        self.home.lease(actor()).await
    }

    /// The identity of an environment that was made.
    ///
    /// # Errors
    /// It was never made here.
    pub async fn made_identity(&self) -> Result<Identity, Failure> {
        let name = &self.env.name;
        self.recorded_identity().await?.ok_or_else(|| {
            Failure::new(Exit::NotDone, format!("`{name}` was never made here"))
                .hint(format!("sre-provision up {name}"))
        })
    }

    pub async fn journal(&self, identity: &Identity) -> Result<Journal, Failure> {
        self.home.journal(identity).await
    }

    /// How long each stage took before, here or in the last environment of this name that was taken away. Only told to
    /// people, so that what cannot be read is left out.
    pub async fn usual(&self, journal: &Journal) -> BTreeMap<Kind, Duration> {
        let mut known = BTreeMap::new();
        if let Ok(Some((home, identity))) = homes::retired(&self.workspace, &self.home).await
            && let Ok(journal) = home.journal(&identity).await
        {
            known = usual(&history(journal.entries()));
        }
        known.extend(usual(&history(journal.entries())));
        known
    }

    pub fn secrets(&self, identity: &Identity) -> Result<Secrets, Failure> {
        let key = key_source(identity)?;
        match self.home.shared() {
            Some(shared) => Secrets::open_shared(Arc::clone(&shared.objects), identity, key),
            None => Secrets::open(&self.state, identity, key),
        }
    }

    /// Holds a cluster that was formed to the release that it runs, whatever the file asks for: nothing of it, and nothing
    /// that joins it, is brought to another one by `up`.
    pub fn keep_release(&mut self, memory: &Memory) {
        if let Some(version) = members::release(memory) {
            self.env.rke2.version = version;
        }
    }

    /// What the members run, beside what the file asks for.
    pub fn releases(&self, memory: &Memory) -> Releases {
        Releases { joined: members::joined(memory), wanted: self.asked.clone() }
    }

    /// The secrets as they lie there, for `down`: they go, and no removal needs one. Why they cannot be opened is told.
    pub fn secrets_to_forget(&self, identity: &Identity, tell: impl FnOnce(&Failure)) -> Result<Secrets, Failure> {
        self.secrets(identity).or_else(|failure| {
            tell(&failure);
            let key = key_source(identity)?;
            Ok(match self.home.shared() {
                Some(shared) => Secrets::unopened_shared(Arc::clone(&shared.objects), identity, key),
                None => Secrets::unopened(&self.state, identity, key),
            })
        })
    }

    /// The secrets of an environment that was made before: what the journal knows must be there.
    pub fn secrets_known_to(&self, journal: &Journal, identity: &Identity) -> Result<Secrets, Failure> {
        let secrets = self.secrets(identity)?;
        if let Some(recorded) = journal.memory().facts.get(SECRETS) {
            let recorded = serde_json::from_value(recorded.clone())
                .map_err(|error| Failure::bug("the journal's list of secrets has another shape").because(error))?;
            secrets.require(&recorded)?;
        }
        Ok(secrets)
    }

    /// The tools that are there, for the journal; what is missing is told by whoever needs it.
    pub fn programs(&self) -> BTreeMap<String, Digest> {
        let found = TOOLS.iter().filter_map(|name| Some((*name, self.tools.get(name).ok()?)));
        found.map(|(name, tool)| (name.to_owned(), tool.digest.clone())).collect()
    }

    /// Says once which variables of the caller do not count.
    pub fn tell_refused(&self, events: &Events) {
        if let Some(notice) = not_counted(self.tools.environment().refused()) {
            events.notice(notice);
        }
    }

    /// Connections to the environment's nodes, with its own key and a jump machine's where the file names one.
    pub fn connections(&self, secrets: &Secrets, identity: &Identity) -> Result<Connections, Failure> {
        let keys = self.keys(|| {
            // Looking must not make a key; `up` makes it before it gets here.
            if secrets.version("ssh-key") > 0 { Ok(Some(secrets.ssh_key()?.private)) } else { Ok(None) }
        })?;
        let rules = self.workspace.asset(Path::new(Catalogue::DIR));
        let catalogue = Catalogue::read(&rules, self.env.hardening.profile)?;
        let questions = vec![rke2::question(), catalogue.question()];
        Ok(Connections::new(&connections_dir(identity)?, keys, questions))
    }

    /// Tells the end of the journal where the environment file says.
    pub async fn anchor(&self, identity: &Identity, end: &Anchor, screen: Screen) -> Result<(), Failure> {
        let places = &self.env.audit.anchor;
        if let Some(file) = &places.file {
            tell_file(&self.workspace.root().join(file), identity, end)?;
        }
        if places.syslog {
            tell_syslog(Path::new(SYSLOG), identity, end)?;
        }
        if let Some(s3) = &places.s3 {
            let bucket = homes::connect_s3(&s3.place(&self.env.name, self.env.aws.as_ref())).await?;
            tell_s3(&bucket, identity, end).await?.iter().for_each(|warning| screen.remark(warning));
        }
        Ok(())
    }

    /// Takes away what stopped runs left here: records of children once the run is done, and plaintext on tmpfs as soon as
    /// no child can still read it. What cannot go is told.
    pub async fn tidy(&self, children: &Children, secrets: &Secrets, is_done: bool, book: &Book, events: &Events) {
        let tidied = async {
            self.home.give_roots(secrets.environment(), book.writer()).await?;
            if is_done {
                children.sweep().await?;
            }
            if children.running()?.is_empty() { sweep_temporary(&secrets.scope()) } else { Ok(()) }
        };
        if let Err(failure) = tidied.await {
            events.notice(format!("left behind: {failure}"));
        }
    }

    /// Whether no stopped run left anything here that [`Desk::tidy`] would take away.
    pub fn is_tidy(&self, secrets: &Secrets) -> Result<bool, Failure> {
        Ok(!has_records(&self.state.children())? && !has_temporary(&secrets.scope())?)
    }

    pub fn children(&self, events: &Events, stop: &Stop, witness: Arc<dyn Witness>) -> Children {
        Children::new(self.state.children(), events.clone(), stop.clone(), witness)
    }
}

/// Where this machine keeps the logs of the last environment of this name: as it is, or as `down` has put it aside.
pub fn last_state(workspace: &Workspace, name: &str) -> Result<Option<StateDir>, Failure> {
    let state = workspace.state(name);
    let is_here = state.identity().exists() || state.path().join("runs").exists();
    if is_here { Ok(Some(state)) } else { Ok(workspace.gone(name)?.pop()) }
}

fn not_counted(refused: &[String]) -> Option<String> {
    if refused.is_empty() {
        return None;
    }
    Some(format!("not passed on, because it would change what a tool does: {}", refused.join(", ")))
}

/// The artifacts as recorded.
pub fn known(memory: &Memory) -> Given {
    let mut known = Given::default();
    memory.stages.values().filter_map(|stage| stage.made.as_ref()).for_each(|made| known.insert(made.artifact.clone()));
    known
}

/// The way to the nodes as recorded; fails with what to type where there is none yet.
pub fn recorded_access(known: &Given, name: &str) -> Result<Access, Failure> {
    known.get(Kind::Access).map_err(|_| {
        Failure::new(Exit::NotDone, format!("`{name}` has no nodes that can be reached yet"))
            .hint(format!("sre-provision up {name}"))
    })
}

/// Who is at the keyboard, for the journal.
pub fn actor() -> Actor {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let login = variable("SUDO_USER");
    let job = variable("CI_JOB_URL").or_else(|| variable("GITHUB_RUN_ID")).or_else(|| variable("BUILD_URL"));
    Actor::here().with_name(variable("USER").as_deref()).with_login(login).with_job(job)
}

fn key_source(identity: &Identity) -> Result<KeySource, Failure> {
    match std::env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => Ok(KeySource::File(PathBuf::from(path))),
        None => Ok(KeySource::usual(&config_home()?, identity)),
    }
}

fn config_home() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config"))).ok_or_else(|| {
        Failure::new(Exit::Missing, "nowhere to keep the key of the secrets")
            .because("neither HOME nor XDG_CONFIG_HOME is set")
            .hint(format!("name a file with {KEY_VARIABLE}"))
    })
}

/// A short directory on tmpfs, the same for every run of an environment: open connections are found again.
pub fn connections_dir(identity: &Identity) -> Result<PathBuf, Failure> {
    Ok(tmpfs_dir()?.join(connections_name(identity)))
}

fn connections_name(identity: &Identity) -> String {
    format!("c-{}", identity.short())
}

/// Removes what an environment that is gone had in memory: the way to its nodes, and files for its tools.
pub fn forget_in_memory(identity: &Identity, secrets: &Secrets) -> Result<(), Failure> {
    forget_connections(identity)?;
    forget_temporary(&secrets.scope())
}

pub fn forget_connections(identity: &Identity) -> Result<(), Failure> {
    forget_temporary(&connections_name(identity))
}

pub fn new_identity(env: &Environment, account: &Account, id: Uuid) -> Identity {
    let created = Timestamp::now();
    Identity {
        version: 1,
        id,
        name: env.name.clone(),
        platform: env.platform,
        class: env.class,
        account: account.id.clone(),
        region: account.region.clone(),
        created,
        created_by: account.principal.clone(),
        expires: end(env, created),
    }
}

/// What may happen to an environment is what its file says now: another class begins with an end of its own, and the same
/// one keeps the end that it has.
fn of_class(identity: Identity, env: &Environment, now: Timestamp) -> Identity {
    if identity.class == env.class {
        return identity;
    }
    Identity { class: env.class, expires: end(env, now), ..identity }
}

/// When an environment that begins at this time may be reaped; only an ephemeral one ever may.
fn end(env: &Environment, begun: Timestamp) -> Option<Timestamp> {
    let span = env.expires_after.filter(|_| env.class == EnvironmentClass::Ephemeral)?;
    begun.checked_add(span.0).ok()
}

pub fn wrong_target(name: &str, what: &str, pinned: &str, found: &str) -> Failure {
    Failure::new(Exit::Missing, format!("`{name}` belongs to another {what}"))
        .because(format!("it was made in `{pinned}`, the credentials and the file lead to `{found}`"))
        .hint(format!("use credentials and settings of `{pinned}`; nothing was asked or changed there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_do_not_count_are_named_and_nothing_is_said_without_any() {
        let told = not_counted(&["ANSIBLE_CONFIG".to_owned(), "TF_LOG".to_owned()]);

        assert_eq!(
            told.as_deref(),
            Some("not passed on, because it would change what a tool does: ANSIBLE_CONFIG, TF_LOG")
        );
        assert_eq!(not_counted(&[]), None);
    }

    #[test]
    fn another_class_begins_with_an_end_of_its_own_and_the_same_one_keeps_its_end() {
        let text = include_str!("../../environments/dev.yaml");
        let ephemeral = config::read("environments/dev.yaml", "dev", text).expect("valid");
        let standard = Environment { class: EnvironmentClass::Standard, expires_after: None, ..ephemeral.clone() };
        let account = Account {
            id: "1".to_owned(),
            region: "eu-central-1".to_owned(),
            principal: "arn:aws:iam::1:user/a".to_owned(),
        };
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        let past = Some("2026-11-01T00:00:00Z".parse().expect("a time"));
        let recorded = Identity { expires: past, ..new_identity(&ephemeral, &account, Uuid::nil()) };

        let kept = of_class(recorded.clone(), &ephemeral, now);
        let without = of_class(recorded, &standard, now);
        let again = of_class(without.clone(), &ephemeral, now);

        assert_eq!(kept.expires, past);
        assert_eq!((without.class, without.expires), (EnvironmentClass::Standard, None));
        assert_eq!(again.expires.map(|end| end.to_string()).as_deref(), Some("2026-11-24T12:00:00Z"));
    }

    #[test]
    fn another_account_is_refused_with_both() {
        let failure = wrong_target("dev", "account", "111111111111", "222222222222");

        assert_eq!(failure.what(), "`dev` belongs to another account");
        assert_eq!(
            failure.causes(),
            ["it was made in `111111111111`, the credentials and the file lead to `222222222222`"]
        );
    }
}
