//! Two environments that need the same image at the same time: one builds it, the other takes what was built.
//!
//! An image's name is made of its fingerprint, and a name exists once in an account. Whoever sees that another
//! environment builds the image waits for it. Two that started in the same moment see nothing of each other; the one
//! that comes second to the name fails, looks again, and takes the image that is there.
//!
//! # Why
//! No lock: environments share nothing but the account, and one that is gone for good would hold it for ever. The wait
//! ends when the other's machine does, and at the latest when a build would be over (2026-11).

use std::time::Duration;

use crate::cloud::{FoundImage, FoundMachine, Tags};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::{TAG_ENVIRONMENT, TAG_FINGERPRINT, TAG_IMAGE, TAG_NAME};
use crate::node::Look;
use crate::stages::Context;

/// How long another's build, and the image that it registers, are waited for.
const PATIENCE: Duration = Duration::from_secs(45 * 60);
const EVERY: Duration = Duration::from_secs(5);

/// Whether a machine that is being made into the image counts, or only the image.
#[derive(Clone, Copy)]
enum Builders {
    Too,
    No,
}

/// What there is of an image in the account.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Somebody's image of this fingerprint, registered and whole.
    Image(String),
    /// Not yet: who is at it, in a few words.
    Coming(String),
    Nothing,
}

/// The image that is to be.
pub struct Wanted<'a> {
    pub which: &'a str,
    pub name: &'a str,
    pub fingerprint: &'a Digest,
    /// Our own build of it already runs, and is followed to its end.
    pub begun: bool,
}

/// Has the image built by `build`, unless another environment has built it or is at it.
///
/// # Errors
/// Those of `build`, when no other environment's image came of it; those of the platform.
pub async fn build_or_take(
    cx: &Context<'_>,
    wanted: &Wanted<'_>,
    build: impl AsyncFnOnce() -> Result<String, Failure>,
) -> Result<String, Failure> {
    if !wanted.begun
        && let Some(theirs) = awaited(cx, wanted, Builders::Too).await?
    {
        cx.progress(format!("taking {theirs}, which another environment built"));
        return Ok(theirs);
    }
    let failure = match build().await {
        Ok(id) => return Ok(id),
        Err(failure) if failure.is_cancelled() => return Err(failure),
        Err(failure) => failure,
    };
    match awaited(cx, wanted, Builders::No).await {
        Ok(Some(theirs)) => {
            cx.progress(format!("another environment was first: taking {theirs}"));
            Ok(theirs)
        }
        Err(stopped) if stopped.is_cancelled() => Err(stopped),
        Ok(None) | Err(_) => Err(failure),
    }
}

/// The image that another environment has or is about to have; `None` when there is none to come.
async fn awaited(cx: &Context<'_>, wanted: &Wanted<'_>, builders: Builders) -> Result<Option<String>, Failure> {
    let fingerprint = (TAG_FINGERPRINT.to_owned(), wanted.fingerprint.to_string());
    let machine = Tags::from([fingerprint.clone()]);
    let image = Tags::from([fingerprint, (TAG_IMAGE.to_owned(), wanted.which.to_owned())]);
    let own = cx.identity.id.to_string();
    let tell = |text: &str| cx.progress(text);
    let what = format!("another environment builds image `{}` and did not come to an end", wanted.name);
    let look = || async {
        let mut images = cx.cloud.own_images(&image).await?;
        images.retain(|image| image.name == wanted.name);
        let machines = match builders {
            Builders::Too => cx.cloud.machines(&machine).await?,
            Builders::No => vec![],
        };
        Ok(match seen(&own, &images, &machines) {
            Seen::Image(id) => Look::Done(Some(id)),
            Seen::Coming(who) => Look::NotYet(who),
            Seen::Nothing => Look::Done(None),
        })
    };
    let found = cx.wait(PATIENCE, &tell).until(&what, Exit::Held, EVERY, look).await;
    found.map_err(|failure| match failure.exit() {
        Exit::Held => failure.hint("end the other environment's build (its machine is named above), then try again"),
        _ => failure,
    })
}

fn seen(own: &str, images: &[FoundImage], machines: &[FoundMachine]) -> Seen {
    let theirs = |tags: &Tags| tags.get(TAG_ENVIRONMENT).is_some_and(|id| id != own);
    let name = |tags: &Tags| tags.get(TAG_NAME).or(tags.get(TAG_ENVIRONMENT)).cloned().unwrap_or_default();
    let mut images = images.iter().filter(|image| theirs(&image.tags)).peekable();
    if let Some(whole) = images.clone().find(|image| image.usable) {
        return Seen::Image(whole.id.clone());
    }
    if let Some(pending) = images.peek() {
        return Seen::Coming(format!("`{}` registers {}: waiting for it", name(&pending.tags), pending.id));
    }
    match machines.iter().find(|machine| theirs(&machine.tags)) {
        Some(machine) => Seen::Coming(format!("`{}` builds it on {}: waiting for it", name(&machine.tags), machine.id)),
        None => Seen::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::MachineState;

    fn tags(environment: &str) -> Tags {
        Tags::from([
            (TAG_ENVIRONMENT.to_owned(), environment.to_owned()),
            (TAG_NAME.to_owned(), format!("name of {environment}")),
        ])
    }

    fn image(environment: &str, usable: bool) -> FoundImage {
        FoundImage {
            id: "ami-1".to_owned(),
            name: "sre-base-1".to_owned(),
            owner: "1".to_owned(),
            created: String::new(),
            usable,
            tags: tags(environment),
            snapshots: vec![],
        }
    }

    fn machine(environment: &str) -> FoundMachine {
        FoundMachine {
            id: "i-1".to_owned(),
            state: MachineState::Running,
            private_address: None,
            public_address: None,
            image: "ami-0".to_owned(),
            size: String::new(),
            zone: String::new(),
            tags: tags(environment),
        }
    }

    #[test]
    fn an_image_of_another_environment_is_taken_whoever_still_builds() {
        assert_eq!(seen("a", &[image("b", true)], &[machine("c")]), Seen::Image("ami-1".to_owned()));
    }

    #[test]
    fn one_that_is_being_registered_or_built_is_waited_for_by_name() {
        let pending = seen("a", &[image("b", false)], &[]);
        let built = seen("a", &[], &[machine("b")]);

        assert_eq!(pending, Seen::Coming("`name of b` registers ami-1: waiting for it".to_owned()));
        assert_eq!(built, Seen::Coming("`name of b` builds it on i-1: waiting for it".to_owned()));
    }

    #[test]
    fn what_is_left_of_an_own_build_is_not_another_environments() {
        assert_eq!(seen("a", &[image("a", false)], &[machine("a")]), Seen::Nothing);
    }
}
