//! The node image of an environment that builds none: the one that a channel leads to.
//!
//! It was built by another environment, so nobody's word counts but that of a trusted key: the image must be the very one
//! that was promoted, and its statement must hold.

use crate::artifact::Image;
use crate::cloud::FoundImage;
use crate::environment::{Environment, HardeningProfile};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::{TAG_FINGERPRINT, TAG_PARENT, TAG_RKE2};
use crate::images::{Gate, Standing, Target, content};
use crate::stages::{Context, Presence, image_proof};

/// Whether a recorded node image is still the one that the channel leads to.
pub async fn presence(cx: &Context<'_>, channel: &str, recorded: &str) -> Result<Presence, Failure> {
    let target = target(cx, channel).await?;
    if target.id != recorded {
        return Ok(Presence::Outdated(format!("channel {channel}: `{}` instead of `{recorded}`", target.id)));
    }
    match cx.cloud.image(recorded).await? {
        None => Ok(Presence::Gone),
        Some(found) => Ok(match faults(cx, channel, &target, &found).await? {
            faults if faults.is_empty() => Presence::Standing,
            faults => Presence::Foreign(format!("image `{recorded}` of channel {channel}: {}", faults.join("; "))),
        }),
    }
}

/// Whether the base that is recorded is that of the image that the channel leads to.
pub async fn base_presence(cx: &Context<'_>, channel: &str, recorded: &str) -> Result<Presence, Failure> {
    let now = base(cx, channel).await?;
    let other = format!("channel {channel}: `{}` instead of `{recorded}`", now.id);
    Ok(if now.id == recorded { Presence::Standing } else { Presence::Outdated(other) })
}

/// The image that the channel leads to.
///
/// # Errors
/// Exit 1: the channel leads nowhere here, the image is not what was promoted, or it has another release of RKE2.
pub async fn image(cx: &Context<'_>, channel: &str) -> Result<Image, Failure> {
    let target = target(cx, channel).await?;
    let found = found(cx, channel, &target).await?;
    let faults = faults(cx, channel, &target, &found).await?;
    if !faults.is_empty() {
        let failure = Failure::new(Exit::NotDone, format!("image `{}` of channel {channel} is not used", target.id));
        return Err(faults.into_iter().fold(failure, Failure::because));
    }
    cx.progress(format!("{} of channel {channel}", found.id));
    let tag = |name: &str| found.tags.get(name).cloned().unwrap_or_default();
    let print = tag(TAG_FINGERPRINT);
    Ok(Image {
        id: found.id.clone(),
        name: found.name.clone(),
        fingerprint: Digest::parse(&print).unwrap_or_else(|| Digest::of(print.as_bytes())),
        parent: tag(TAG_PARENT),
        rke2: found.tags.get(TAG_RKE2).cloned(),
        user: cx.env.image.source.user.clone(),
    })
}

/// What the image that the channel leads to was built from: it is not asked for, and may be gone.
pub async fn base(cx: &Context<'_>, channel: &str) -> Result<Image, Failure> {
    let target = target(cx, channel).await?;
    let found = found(cx, channel, &target).await?;
    let id = found.tags.get(TAG_PARENT).cloned().unwrap_or_default();
    Ok(Image {
        name: String::new(),
        fingerprint: Digest::of(id.as_bytes()),
        parent: String::new(),
        rke2: None,
        user: cx.env.image.source.user.clone(),
        id,
    })
}

async fn target(cx: &Context<'_>, channel: &str) -> Result<Target, Failure> {
    let place = format!("{}/{}", cx.identity.account, cx.identity.region);
    let led = cx.shelf.channel(channel).await?;
    led.now().and_then(|now| now.images.get(&place)).cloned().ok_or_else(|| {
        Failure::new(Exit::NotDone, format!("the channel `{channel}` leads to no image in {place}"))
            .because(format!("it is kept in `{}`", cx.shelf.place()))
            .hint(format!("sre-provision images promote IMAGE --to {channel} --region {}", cx.identity.region))
    })
}

async fn found(cx: &Context<'_>, channel: &str, target: &Target) -> Result<FoundImage, Failure> {
    cx.cloud.image(&target.id).await?.ok_or_else(|| {
        Failure::new(Exit::Platform, format!("image `{}`, to which channel {channel} leads, is gone", target.id))
            .hint(format!("sre-provision images rollback {channel}"))
    })
}

async fn faults(cx: &Context<'_>, channel: &str, target: &Target, found: &FoundImage) -> Result<Vec<String>, Failure> {
    if content(&image_proof::account(cx), found) != target.content {
        return Ok(vec![format!("it is not what was promoted to {channel}")]);
    }
    Ok(match image_proof::stands(cx, found).await? {
        Standing::Proven(gate) => unfit(&gate, cx.env),
        other => other.faults(),
    })
}

/// What was measured for the environment that built the image, and is not what this one wants.
fn unfit(gate: &Gate, env: &Environment) -> Vec<String> {
    let mut faults = Vec::new();
    if env.image.fips && !gate.fips.kernel {
        faults.push("its kernel is not in FIPS mode, and `image.fips` wants it".to_owned());
    }
    let has = gate.profile.as_ref().map_or(HardeningProfile::None.name(), |profile| profile.name.as_str());
    let wants = env.hardening.profile.name();
    if has != wants {
        faults.push(format!("it has the profile `{has}`, and `hardening.profile` is {wants}"));
    }
    let (has, wants) = (gate.rke2.as_deref().unwrap_or_default(), &env.rke2.version);
    if has != wants {
        faults.push(format!("it has RKE2 `{has}`, and `rke2.version` is {wants}"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::images::{Fips, Profile};

    const DEV: &str = include_str!("../../environments/dev.yaml");

    fn gate(kernel: bool, profile: Option<&str>, rke2: &str) -> Gate {
        Gate {
            measured: jiff::Timestamp::UNIX_EPOCH,
            expires: jiff::Timestamp::MAX,
            machine: "i-1".to_owned(),
            // The environment that built it did not ask for FIPS.
            fips: Fips { wanted: false, kernel },
            profile: profile.map(|name| Profile { name: name.to_owned(), pass: 1, ..Profile::default() }),
            hygiene: vec![],
            rke2: Some(rke2.to_owned()),
            packages: 1,
            bill: Digest::of(b"bill"),
        }
    }

    fn environment() -> Environment {
        let mut env = config::read("environments/dev.yaml", "dev", DEV).expect("valid");
        env.image.fips = true;
        env.hardening.profile = HardeningProfile::Stig;
        env
    }

    #[test]
    fn an_image_that_was_measured_as_this_environment_wants_it_is_used() {
        let env = environment();

        assert_eq!(unfit(&gate(true, Some("stig"), &env.rke2.version), &env), Vec::<String>::new());
    }

    #[test]
    fn what_its_builder_did_not_want_does_not_count_for_an_environment_that_wants_it() {
        let env = environment();

        assert_eq!(
            unfit(&gate(false, Some("cis"), "v1.1.1+rke2r1"), &env),
            [
                "its kernel is not in FIPS mode, and `image.fips` wants it".to_owned(),
                "it has the profile `cis`, and `hardening.profile` is stig".to_owned(),
                format!("it has RKE2 `v1.1.1+rke2r1`, and `rke2.version` is {}", env.rke2.version),
            ]
        );
        assert_eq!(
            unfit(&gate(true, None, &env.rke2.version), &env),
            ["it has the profile `none`, and `hardening.profile` is stig"]
        );
    }
}
