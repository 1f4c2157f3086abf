//! The look at a finished image: one machine is booted from it, looked at, and taken away.

use std::time::Duration;

use serde_json::Value;

use crate::artifact::Reach;
use crate::cloud::{BuildNetwork, FoundMachine, MachineState, NewMachine, Tags};
use crate::failure::{Exit, Failure};
use crate::fingerprint::{Digest, Reading};
use crate::identity::TAG_STATE;
use crate::images::TAG_STATEMENT;
use crate::node::Look;
use crate::stages::console::{BOOT, pinned_keys};
use crate::stages::image::{READY, Recipe, build_tags};
use crate::stages::{Context, image_proof, jump};

/// Boots one machine from the image, looks at it, and says in the image's tags that it may be used.
///
/// # Errors
/// It is not what was built, or its statement does not say what `images.require` wants.
pub async fn check(
    cx: &Context<'_>,
    recipe: &Recipe<'_>,
    (fingerprint, reading): (&Digest, &Reading),
    id: &str,
    network: &BuildNetwork,
) -> Result<String, Failure> {
    cx.progress(format!("booting {id} once"));
    let machine = start(cx, recipe, id, network).await?;
    let reach = reach(cx, recipe, &machine, network).await?;
    let jump = jump::to(cx, network)?;
    let connection = cx.connections.open(&format!("{}-image", recipe.which), &reach, jump.as_ref()).await?;
    cx.progress(format!("looking at {id}"));
    let output = connection.run(LOOK, true).await?;
    judge(recipe, fingerprint, cx.env.image.fips, id, &output.stdout, &output.stderr)?;
    let mut tags = Tags::from([(TAG_STATE.to_owned(), READY.to_owned())]);
    if let Some(statement) = image_proof::prove(cx, recipe, reading, id, &machine.id, &connection).await? {
        tags.insert(TAG_STATEMENT.to_owned(), statement.to_string());
    }
    drop(connection);
    cx.cloud.tag(&[id.to_owned()], &tags).await?;
    Ok(id.to_owned())
}

/// What is asked of a machine of a new image; each answer on a line of its own. The image's own files answer, nothing
/// that we brought along.
const LOOK: &str = r"
cloud-init status --wait >/dev/null 2>&1; echo cloud-init=$(cloud-init status 2>/dev/null | sed -n 's/^status: //p')
echo fips=$(cat /proc/sys/crypto/fips_enabled 2>/dev/null)
echo rke2=$(/usr/local/bin/rke2 --version 2>/dev/null | sed -n '1s/^rke2 version \([^ ]*\).*/\1/p')
echo joined=$(ls -d /var/lib/rancher/rke2/server/tls /var/lib/rancher/rke2/agent/client-ca.crt 2>/dev/null | wc -l)
echo manifest=$(tr -d '\n' </etc/sre-image.json)
";

fn judge(
    recipe: &Recipe<'_>,
    fingerprint: &Digest,
    fips: bool,
    id: &str,
    stdout: &str,
    stderr: &str,
) -> Result<(), Failure> {
    let answer = |name: &str| {
        stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().trim().to_owned()
    };
    let manifest: Value = serde_json::from_str(&answer("manifest")).unwrap_or(Value::Null);
    let mut wrong = Vec::new();
    if manifest["fingerprint"] != fingerprint.as_str() {
        wrong.push(format!(
            "/etc/sre-image.json names the fingerprint {}, expected {fingerprint}",
            manifest["fingerprint"]
        ));
    }
    if fips && answer("fips") != "1" {
        wrong.push("the kernel is not in FIPS mode".to_owned());
    }
    if let Some(version) = recipe.rke2.filter(|version| answer("rke2") != **version) {
        wrong.push(format!("`rke2 --version` says `{}`, expected `{version}`", answer("rke2")));
    }
    if answer("joined") != "0" {
        wrong.push("it carries the state of a cluster".to_owned());
    }
    if answer("cloud-init") != "done" {
        wrong.push(format!("cloud-init ended as `{}`", answer("cloud-init")));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(Exit::NotDone, format!("image `{id}` booted and is not what was built"))
        .hint(format!("deregister image `{id}`, and `up` builds it anew"));
    let failure = wrong.into_iter().fold(failure, Failure::because);
    Err(if stderr.trim().is_empty() { failure } else { failure.because(stderr.trim()) })
}

async fn start(
    cx: &Context<'_>,
    recipe: &Recipe<'_>,
    id: &str,
    network: &BuildNetwork,
) -> Result<FoundMachine, Failure> {
    let machine = NewMachine {
        // Of this attempt alone: what an earlier one started is swept, and its token would give that machine back.
        token: format!("check-{}", uuid::Uuid::new_v4()),
        image: id.to_owned(),
        size: cx.env.image.build.size.clone(),
        disk_gib: cx.env.image.build.disk.gib(),
        subnet: network.subnet.clone(),
        security_group: network.security_group.clone(),
        public_address: network.public,
        public_key: cx.secrets.ssh_key()?.public,
        user: recipe.user.to_owned(),
        tags: build_tags(cx, recipe),
    };
    let started = cx.cloud.start_machine(&machine).await?;
    let tell = |text: &str| cx.progress(format!("{}: {text}", started.id));
    let what = format!("machine `{}` of image `{id}` does not run", started.id);
    let wait = cx.wait(BOOT, &tell);
    wait.until(&what, Exit::Platform, Duration::from_secs(1), || async {
        Ok(match cx.cloud.machine(&started.id).await? {
            // Where the machine itself tells its address, that is a while after it runs.
            Some(found) if found.state == MachineState::Running && at(&found, network).is_some() => Look::Done(found),
            Some(found) if found.state == MachineState::Gone => {
                return Err(Failure::new(Exit::Platform, format!("{what}: the platform ended it")));
            }
            Some(_) | None => Look::NotYet("starting".to_owned()),
        })
    })
    .await
}

/// Where the machine is reached.
fn at(machine: &FoundMachine, network: &BuildNetwork) -> Option<String> {
    if network.public { machine.public_address.clone() } else { machine.private_address.clone() }
}

/// The way to the machine, with the host keys that it wrote to its console.
async fn reach(
    cx: &Context<'_>,
    recipe: &Recipe<'_>,
    machine: &FoundMachine,
    network: &BuildNetwork,
) -> Result<Reach, Failure> {
    let address = at(machine, network).ok_or_else(|| {
        Failure::new(Exit::Platform, format!("machine `{}` has no address to be reached at", machine.id))
    })?;
    let host_keys = pinned_keys(cx, &machine.id).await?;
    Ok(Reach {
        machine: machine.id.clone(),
        role: None,
        address,
        port: 22,
        user: recipe.user.to_owned(),
        host_keys,
        jump: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::image::tests::recipe;

    fn judged(fips: bool, stdout: &str) -> Result<(), Failure> {
        judge(&recipe(), &Digest::of(b"image"), fips, "ami-1", stdout, "")
    }

    fn good() -> String {
        let print = Digest::of(b"image");
        format!("cloud-init=done\nfips=1\nrke2=v1.35.4+rke2r1\njoined=0\nmanifest={{\"fingerprint\":\"{print}\"}}\n")
    }

    #[test]
    fn an_image_that_boots_as_what_was_built_is_accepted() {
        assert_eq!(judged(true, &good()).map_err(|failure| failure.to_string()), Ok(()));
    }

    #[test]
    fn everything_that_is_wrong_with_an_image_is_told_at_once() {
        let said = good().replace("fips=1", "fips=0").replace("joined=0", "joined=2").replace("v1.35.4", "v1.34.4");

        let failure = judged(true, &said).expect_err("refused");

        assert_eq!(failure.what(), "image `ami-1` booted and is not what was built");
        assert_eq!(
            failure.causes(),
            [
                "the kernel is not in FIPS mode",
                "`rke2 --version` says `v1.34.4+rke2r1`, expected `v1.35.4+rke2r1`",
                "it carries the state of a cluster"
            ]
        );
    }

    #[test]
    fn a_machine_that_says_nothing_is_no_proof() {
        let failure = judged(false, "").expect_err("refused");

        assert_eq!(failure.causes().len(), 4, "{:?}", failure.causes());
    }
}
