//! Where the environments of a workspace are kept, as their files say.

use std::sync::Arc;

use crate::config;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::images::Shelf;
use crate::journal::{Home, Shared, load_identity};
use crate::objects::{Bucket, Objects, S3Objects};
use crate::state::StatePlace;
use crate::workspace::{StateDir, Workspace};

/// Where another S3 than AWS's own is, in the variable that every SDK knows.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_S3";

/// The home of an environment.
///
/// # Errors
/// Exit 3: its file says another place than the one where its state is; exit 4: there are no credentials.
pub async fn home(env: &Environment, state: StateDir) -> Result<Home, Failure> {
    match env.state_place() {
        None => {
            refuse_moved(&state)?;
            Ok(Home::local(state))
        }
        Some(place) => {
            refuse_local(&state, &place)?;
            Ok(Home::new(state, Some(Shared::new(connect(&place).await?))))
        }
    }
}

/// The home of an environment by its name, to read there; one without a file is looked for in the workspace, and so is one
/// whose file cannot be read: what is here can be, whatever became of it.
pub async fn named(workspace: &Workspace, name: &str) -> Result<Home, Failure> {
    match described(workspace, name) {
        Ok(Some(env)) => home(&env, workspace.state(name)).await,
        Ok(None) | Err(_) => Ok(Home::local(workspace.state(name))),
    }
}

/// As [`named`], to change something: a file says where the lease is, so one that cannot be read ends it.
pub async fn named_for_certain(workspace: &Workspace, name: &str) -> Result<Home, Failure> {
    match described(workspace, name)? {
        Some(env) => home(&env, workspace.state(name)).await,
        None => Ok(Home::local(workspace.state(name))),
    }
}

/// What the file of an environment says; `None` where there is none.
fn described(workspace: &Workspace, name: &str) -> Result<Option<Environment>, Failure> {
    workspace.environment_file(name).exists().then(|| config::load(workspace, name)).transpose()
}

/// The last environment of this name that was taken down.
pub async fn retired(workspace: &Workspace, home: &Home) -> Result<Option<(Home, Identity)>, Failure> {
    if home.shared().is_some() {
        return Ok(home.retired().await?.pop().map(|identity| (home.clone(), identity)));
    }
    let Some(state) = workspace.gone(home.state().name())?.pop() else { return Ok(None) };
    Ok(load_identity(&state)?.map(|identity| (Home::local(state), identity)))
}

/// The objects at a place in S3; asks nobody yet.
pub async fn connect(place: &StatePlace) -> Result<Arc<dyn Objects>, Failure> {
    Ok(Arc::new(connect_s3(place).await?))
}

/// As [`connect`], for what only S3 can tell.
pub async fn connect_s3(place: &StatePlace) -> Result<S3Objects, Failure> {
    let endpoint = std::env::var(ENDPOINT_VARIABLE).ok().filter(|url| !url.is_empty());
    let StatePlace { bucket, prefix, region, partition } = place.clone();
    S3Objects::connect(Bucket { name: bucket, prefix, region, partition, endpoint }).await
}

/// A state that is still here must not be followed by a second one elsewhere.
fn refuse_local(state: &StateDir, place: &StatePlace) -> Result<(), Failure> {
    if !state.identity().exists() {
        return Ok(());
    }
    let name = state.name();
    Err(Failure::new(Exit::Environment, format!("the state of `{name}` is not where its file says"))
        .because(format!(
            "the file says `s3://{}/{}`, and it is in `{}`",
            place.bucket,
            place.prefix,
            state.path().display()
        ))
        .hint(format!("sre-provision state migrate {name}   moves it; or take `state.s3` out of the file")))
}

/// A state that was moved away must not be followed by a second one here.
fn refuse_moved(state: &StateDir) -> Result<(), Failure> {
    let Some(place) = moved_to(state) else { return Ok(()) };
    let name = state.name();
    Err(Failure::new(Exit::Environment, format!("the state of `{name}` is not where its file says"))
        .because(format!("the file says nothing of S3, and it was moved to `{place}`"))
        .hint("set `state.s3` in the file as it was")
        .hint(format!("sre-provision state migrate {name} --from {place}   moves it here")))
}

/// Where the state was moved from here.
pub fn moved_to(state: &StateDir) -> Option<String> {
    if state.identity().exists() {
        return None;
    }
    std::fs::read_to_string(state.moved()).ok().map(|place| place.trim().trim_end_matches('/').to_owned())
}

/// Where statements about the images of an environment and the channels that lead to them are kept.
pub async fn shelf(workspace: &Workspace, env: &Environment) -> Result<Shelf, Failure> {
    match (&env.images.store, &env.aws) {
        (Some(store), Some(aws)) => Ok(Shelf::new(connect(&store.place("images", Some(aws))).await?)),
        (Some(_), None) | (None, _) => Ok(Shelf::local(&workspace.images())),
    }
}

/// Why a state is not that of the environment it lies under.
pub fn copied(name: &str, other: &str, state: &StateDir) -> Failure {
    let dir = state.identity().parent().map(|dir| dir.display().to_string()).unwrap_or_default();
    Failure::new(Exit::NotDone, format!("`{name}` has the state of `{other}`"))
        .because(format!("`{dir}` is a copy, and everything that it tells of belongs to `{other}`"))
        .hint(format!("bring back the state of `{name}`, or move `{dir}` away"))
}
