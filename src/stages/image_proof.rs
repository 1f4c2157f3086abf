//! What is measured on a machine of a finished image, signed; and whether an image has what the environment requires.
//!
//! The machine is the one that the finished image was booted on once. What is measured is what is signed, good or bad: only
//! then is it held against what is required.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::bundle::{SigningKey, TrustedKeys};
use crate::cloud::{Account, FoundImage};
use crate::compliance::{Catalogue, Depth, Status};
use crate::environment::{Environment, HardeningProfile};
use crate::failure::{Exit, Failure};
use crate::fingerprint::{Digest, Reading};
use crate::images::{
    Fips, Gate, LOOK, Policy, Profile, Provenance, Standing, TAG_STATEMENT, bill, packages, seal, traces,
};
use crate::node::Connection;
use crate::stages::image::Recipe;
use crate::stages::{Context, Presence};

/// Walks over the file system take seconds on a slow disk.
const PATIENCE: Duration = Duration::from_mins(5);
/// What makes an image.
const TOOLS: [&str; 2] = ["packer", "ansible-playbook"];

/// Whether a recorded image has what is required.
pub async fn presence(cx: &Context<'_>, image: &FoundImage) -> Result<Presence, Failure> {
    let Some(faults) = faults(cx, image).await? else { return Ok(Presence::Standing) };
    let why = faults.join("; ");
    Ok(match cx.env.images.sign {
        Some(_) => Presence::Outdated(why),
        None => Presence::Foreign(format!("image `{}` is not what `images.require` wants: {why}", image.id)),
    })
}

/// Whether a ready image is to be booted and looked at once more, because it has not what is required.
///
/// # Errors
/// Exit 1: it has not, and there is no key to sign with.
pub async fn must_be_looked_at(cx: &Context<'_>, image: &FoundImage) -> Result<bool, Failure> {
    let Some(faults) = faults(cx, image).await? else { return Ok(false) };
    if cx.env.images.sign.is_some() {
        return Ok(true);
    }
    Err(insufficient(cx.env, &image.id, faults)
        .hint(format!("sre-provision images build {} --sign file:KEY   looks at it and signs", cx.env.name)))
}

/// A new image would have no statement, because there is no key to sign one with.
///
/// # Errors
/// Exit 1: `images.require` wants one.
pub fn refuse_unsigned(env: &Environment, image: &str) -> Result<(), Failure> {
    if env.images.require.is_none() || env.images.sign.is_some() {
        return Ok(());
    }
    Err(insufficient(env, image, Standing::Absent.faults())
        .because("`images.sign` names no key that could sign one")
        .hint(format!("sre-provision images build {} --sign file:KEY   builds it, looks at it and signs", env.name)))
}

fn insufficient(env: &Environment, image: &str, faults: Vec<String>) -> Failure {
    let what = format!("image `{image}` is not what `images.require` of `{}` wants", env.name);
    faults.into_iter().fold(Failure::new(Exit::NotDone, what), Failure::because)
}

/// What an image lacks of what is wanted; `None` where it lacks nothing, or nothing is wanted.
async fn faults(cx: &Context<'_>, image: &FoundImage) -> Result<Option<Vec<String>>, Failure> {
    let wanted = &cx.env.images;
    let is_asked = wanted.look_anew && wanted.sign.is_some();
    if wanted.require.is_none() && !is_asked {
        return Ok(None);
    }
    Ok(match (stands(cx, image).await?, wanted.require) {
        (Standing::Proven(_), _) | (Standing::Told(_), None) => None,
        (other, _) => Some(other.faults()),
    })
}

/// Where an image stands by the keys that are trusted and by what is required.
pub async fn stands(cx: &Context<'_>, image: &FoundImage) -> Result<Standing, Failure> {
    let named = image.tags.get(TAG_STATEMENT).map(String::as_str);
    let kept = match named {
        Some(digest) => cx.shelf.statement(digest).await?,
        None => None,
    };
    Ok(policy(cx)?.judge(&account(cx), image, named, kept.as_deref(), Timestamp::now()))
}

fn policy(cx: &Context<'_>) -> Result<Policy, Failure> {
    let wanted = &cx.env.images;
    let keys = match &wanted.trust[..] {
        [] => None,
        keys => Some(TrustedKeys::read(keys, cx.workspace.root())?),
    };
    Ok(Policy { keys, score: wanted.require.map_or(0, |require| require.score) })
}

pub fn account(cx: &Context<'_>) -> Account {
    Account { id: cx.identity.account.clone(), region: cx.identity.region.clone(), principal: String::new() }
}

/// Measures the machine, signs what was measured, keeps it, and gives the digest of the statement; `None` where the
/// environment names no key to sign with.
///
/// # Errors
/// The machine does not answer, or what it shows is not enough for what the environment requires.
pub async fn prove(
    cx: &Context<'_>,
    recipe: &Recipe<'_>,
    reading: &Reading,
    id: &str,
    machine: &str,
    connection: &Connection,
) -> Result<Option<Digest>, Failure> {
    refuse_unsigned(cx.env, id)?;
    let Some(reference) = &cx.env.images.sign else { return Ok(None) };
    let key = SigningKey::read(reference, cx.workspace.root())?;
    cx.progress(format!("measuring {id}"));
    let image = cx.cloud.image(id).await?;
    let image = image.ok_or_else(|| Failure::new(Exit::Platform, format!("image `{id}` is gone")))?;
    let gate = measure(cx, recipe, id, machine, connection).await?;
    let bytes = seal(&key, (&account(cx), &image), &provenance(cx, recipe, reading), &gate)?;
    let digest = cx.shelf.keep_statement(&bytes).await?;
    if cx.env.images.require.is_some() {
        let now = Timestamp::now();
        let standing = policy(cx)?.judge(&account(cx), &image, Some(digest.as_str()), Some(&bytes), now);
        if !matches!(standing, Standing::Proven(_)) {
            return Err(insufficient(cx.env, id, standing.faults())
                .hint(format!("what was measured is in `{}statements/{digest}.json`", cx.shelf.place())));
        }
    }
    Ok(Some(digest))
}

async fn measure(
    cx: &Context<'_>,
    recipe: &Recipe<'_>,
    id: &str,
    machine: &str,
    connection: &Connection,
) -> Result<Gate, Failure> {
    let seen = whole(connection, LOOK, id).await?;
    let packages = packages(&seen);
    let bill = cx.shelf.keep_bill(&bill(id, &packages)?).await?;
    let fips = connection.run("cat /proc/sys/crypto/fips_enabled 2>/dev/null", true).await?.stdout.trim() == "1";
    let profile = profile(cx, id, connection).await?;
    let measured = Timestamp::now();
    let valid = SignedDuration::try_from(cx.env.images.valid_for.0).unwrap_or(SignedDuration::MAX);
    Ok(Gate {
        measured,
        expires: measured.saturating_add(valid).unwrap_or(Timestamp::MAX),
        machine: machine.to_owned(),
        fips: Fips { wanted: cx.env.image.fips, kernel: fips },
        profile,
        hygiene: traces(&seen, recipe.user, &cx.secrets.ssh_key()?.public),
        rke2: recipe.rke2.map(str::to_owned),
        packages: packages.len(),
        bill,
    })
}

/// Every rule of the profile, by the same script and judgement as on nodes.
async fn profile(cx: &Context<'_>, id: &str, connection: &Connection) -> Result<Option<Profile>, Failure> {
    let profile = cx.env.hardening.profile;
    if profile == HardeningProfile::None {
        return Ok(None);
    }
    let catalogue = Catalogue::whole(&cx.workspace.asset(Path::new(Catalogue::DIR)), profile)?;
    let report = catalogue.judge(&whole(connection, &catalogue.script(Depth::Deep), id).await?);
    let open = report.open();
    Ok(Some(Profile {
        name: profile.name().to_owned(),
        pass: report.count(Status::Pass),
        excepted: report.count(Status::Fail).saturating_sub(open.len()),
        fail: open.len(),
        not_applicable: report.count(Status::NotApplicable),
        not_reviewed: report.count(Status::NotReviewed) + report.count(Status::NotLookedAt),
        unknown: report.count(Status::Unknown),
        open,
    }))
}

/// What the machine says to a script that ends by saying that it is at its end.
async fn whole(connection: &Connection, script: &str, id: &str) -> Result<String, Failure> {
    let said = connection.run_within(script, true, PATIENCE).await?;
    match said.stdout.trim_end().ends_with("end yes") {
        true => Ok(said.stdout),
        false => Err(Failure::new(Exit::Tool, format!("a machine of image `{id}` did not answer to its end"))
            .because(said.stderr.trim())),
    }
}

fn provenance(cx: &Context<'_>, recipe: &Recipe<'_>, reading: &Reading) -> Provenance {
    let files = recipe.values["digests"].as_object().into_iter().flatten();
    let files = files.filter_map(|(name, digest)| Some((name.clone(), Digest::parse(digest.as_str()?)?)));
    let tools = TOOLS.iter().filter_map(|name| Some(((*name).to_owned(), cx.tools.get(name).ok()?.digest.clone())));
    Provenance {
        which: recipe.which.to_owned(),
        environment: cx.env.name.clone(),
        run: cx.run,
        parameters: json!({ "source": cx.env.image.source, "fips": cx.env.image.fips,
            "profile": cx.env.hardening.profile.name(), "rke2": recipe.rke2 }),
        lineage: recipe.lineage.clone(),
        inputs: reading.0.clone(),
        files: files.collect::<BTreeMap<_, _>>(),
        tools: tools.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::image_policy::{Images, Require};

    const DEV: &str = include_str!("../../environments/dev.yaml");

    fn refused(sign: Option<&str>, require: Option<Require>) -> Option<Failure> {
        let images = Images { sign: sign.map(str::to_owned), require, ..Images::default() };
        let env = Environment { images, ..config::read("environments/dev.yaml", "dev", DEV).expect("valid") };
        refuse_unsigned(&env, "sre-node-9c41").err()
    }

    #[test]
    fn where_a_statement_is_required_and_no_key_could_sign_one_nothing_is_built() {
        let failure = refused(None, Some(Require { score: 90 })).expect("refused");

        assert_eq!(failure.exit(), Exit::NotDone);
        assert_eq!(failure.what(), "image `sre-node-9c41` is not what `images.require` of `dev` wants");
        assert_eq!(failure.causes(), ["it has no statement", "`images.sign` names no key that could sign one"]);
        assert!(refused(Some("file:key"), Some(Require::default())).is_none());
        assert!(refused(None, None).is_none());
    }
}
