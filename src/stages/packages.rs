//! The packages that our roles and RKE2 want on a machine, and how those of the bundle come to one that lacks them.
//!
//! Once a bundle with packages was loaded, machines that exist get theirs from it and from nowhere else: only what they lack
//! with what that requires goes there, as a repository of its own, with the keys that must have signed it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::artifact::BundleFile;
use crate::bundle::{HARDENING_PACKAGES, LoadedRpms, RKE2_PACKAGES, SELINUX_PACKAGE};
use crate::environment::{Environment, HardeningProfile, NodeName, Platform};
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::{Connection, Shipment, Uplink, quote};
use crate::stages::Context;
use crate::tools::dnf::PROVIDED;
use crate::workspace::{RealDisk, file_digest, make_dir, write_atomic};

/// Where the repository lies on a machine.
const DIR: &str = "/var/lib/sre-provision/rpms";

/// Notes each of the words that is no package here: we may install it, and then it goes when we leave.
const NOTE: &str = r#"set -eu
note=/var/lib/sre-provision/may-install
touch "$note"
for package in "$@"; do
  grep -qxF "$package" "$note" || rpm -q "$package" >/dev/null 2>&1 || echo "$package" >>"$note"
done
sync "$note""#;

/// What a machine must have.
pub fn wanted(env: &Environment, has_selinux: bool) -> Vec<&'static str> {
    let hardening = HARDENING_PACKAGES.iter().filter(|_| env.hardening.profile != HardeningProfile::None);
    RKE2_PACKAGES.iter().chain(has_selinux.then_some(&SELINUX_PACKAGE)).chain(hardening).copied().collect()
}

/// Of the packages that machines get from what was loaded, and of the keys that must have signed them; `None` where theirs
/// come from elsewhere.
///
/// # Errors
/// A key that the environment file names cannot be read.
pub fn digest(cx: &Context<'_>) -> Result<Option<Digest>, Failure> {
    let Some(rpms) = loaded(cx) else { return Ok(None) };
    let keys: Vec<Digest> = keys(cx)?.into_iter().map(|(_, digest)| digest).collect();
    Ok(Some(Digest::of_value(&(rpms, keys))))
}

fn loaded(cx: &Context<'_>) -> Option<Digest> {
    is_ours(cx.env).then(|| LoadedRpms::digest(&cx.state.loaded())).flatten()
}

/// Those packages.
///
/// # Errors
/// One of them cannot be read.
pub async fn open(cx: &Context<'_>) -> Result<Option<LoadedRpms>, Failure> {
    if !is_ours(cx.env) {
        return Ok(None);
    }
    let loaded = cx.state.loaded();
    let opened = tokio::task::spawn_blocking(move || LoadedRpms::open(&loaded)).await;
    opened.map_err(|error| Failure::bug("the packages of a bundle could not be read").because(error))?
}

fn is_ours(env: &Environment) -> bool {
    env.platform == Platform::Hosts && env.bundle.rpms.is_some()
}

/// What the roles are told: dnf's configuration, on the machine; empty where it is the machine's own.
pub fn configuration(cx: &Context<'_>) -> String {
    loaded(cx).map(|_| format!("{DIR}/dnf.conf")).unwrap_or_default()
}

/// Looks whether a machine can get what it lacks.
///
/// # Errors
/// Exit 6, before anything was changed: what neither the bundle nor the machine has, by name.
pub async fn refuse(
    node: &NodeName,
    connection: &Connection,
    missing: &[&str],
    rpms: &LoadedRpms,
    env: &Environment,
) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let script = format!("rpm -qa --qf {}", quote(PROVIDED));
    let provided = connection.ask("asking what its packages provide", &script).await?;
    refusal(node, missing, &rpms.lacking(missing, &provided), env).map_or(Ok(()), Err)
}

fn refusal(node: &NodeName, missing: &[&str], lacking: &[String], env: &Environment) -> Option<Failure> {
    let name = &env.name;
    let what = format!("`{node}` lacks packages, and the bundle that was loaded has not all that they need");
    let failure = Failure::new(Exit::Platform, what).class(Class::NeedsPerson);
    let failure = lacking.iter().fold(failure, |failure, line| failure.because(format!("it lacks {line}")));
    let failure =
        match lacking.iter().any(|line| line.contains(SELINUX_PACKAGE)) && missing.contains(&SELINUX_PACKAGE) {
            true => failure
                .because("SELinux is on there, and would keep RKE2's containers from their files without its policy"),
            false => failure,
        };
    let failure = failure.hint(format!(
        "name them in `bundle.rpms.packages` in environments/{name}.yaml, then make and load a new bundle"
    ));
    (!lacking.is_empty()).then_some(failure)
}

/// A machine that lacks packages.
pub struct Lacking<'a> {
    pub node: &'a NodeName,
    pub connection: &'a Connection,
    pub missing: Vec<&'static str>,
}

/// Brings each machine a repository of what it lacks; gives each one's result.
///
/// # Errors
/// A key that the environment file names cannot be read.
pub async fn bring(
    machines: &[Lacking<'_>],
    rpms: &LoadedRpms,
    cx: &Context<'_>,
) -> Result<Vec<Result<(), Failure>>, Failure> {
    let keys = keys(cx)?;
    let mut results: Vec<Result<(), Failure>> = Vec::new();
    for machine in machines {
        results.push(note(machine, rpms).await);
    }
    let uplink = Uplink::default();
    for (name, file, places) in files(machines, rpms) {
        cx.checkpoint()?;
        let left: Vec<usize> = places.into_iter().filter(|place| results[*place].is_ok()).collect();
        let shipment = Shipment::of(&rpms.local(&name), &file.sha256).await?;
        let remote = Path::new(DIR).join(&name);
        let ways: Vec<(&Connection, &Path)> =
            left.iter().map(|place| (machines[*place].connection, remote.as_path())).collect();
        for place in &left {
            cx.node(machines[*place].node, NodeState::Working, format!("receiving {name}"));
        }
        let (sent, _) = uplink.spread(&ways, &shipment, 0o644, &|_, _| cx.checkpoint()).await;
        for (place, sent) in left.iter().zip(sent) {
            if let Err(failure) = sent {
                results[*place] = Err(failure);
            }
        }
    }
    // dnf's configuration comes last: where it is, all is.
    for (machine, result) in machines.iter().zip(&mut results) {
        if result.is_ok() {
            *result = configure(machine, &keys, cx).await;
        }
    }
    Ok(results)
}

/// Every file that some of them lack, and which of them.
fn files(machines: &[Lacking<'_>], rpms: &LoadedRpms) -> Vec<(String, BundleFile, Vec<usize>)> {
    let mut files: BTreeMap<String, (BundleFile, Vec<usize>)> = BTreeMap::new();
    for (place, machine) in machines.iter().enumerate() {
        for (name, file) in rpms.files(&machine.missing) {
            files.entry(name).or_insert_with(|| (file, vec![])).1.push(place);
        }
    }
    files.into_iter().map(|(name, (file, places))| (name, file, places)).collect()
}

/// Before anything is installed.
async fn note(machine: &Lacking<'_>, rpms: &LoadedRpms) -> Result<(), Failure> {
    let words: Vec<String> = rpms.names(&machine.missing).into_iter().map(quote).collect();
    let script = format!("set -- {}\n{NOTE}", words.join(" "));
    machine.connection.ask("noting what is to be installed", &script).await.map(drop)
}

/// The keys that the environment file names, each with its digest.
fn keys(cx: &Context<'_>) -> Result<Vec<(PathBuf, Digest)>, Failure> {
    let repositories = cx.env.bundle.rpms.iter().flat_map(|rpms| rpms.repositories.values());
    let paths: BTreeSet<PathBuf> = repositories
        .flat_map(|repository| &repository.keys)
        .map(|key| cx.workspace.root().join(key.strip_prefix("file:").unwrap_or(key)))
        .collect();
    let keys = paths.into_iter().map(|path| file_digest(&path).map(|digest| (path, digest)));
    keys.collect::<Result<_, _>>().map_err(|failure: Failure| failure.of("bundle.rpms.repositories"))
}

async fn configure(machine: &Lacking<'_>, keys: &[(PathBuf, Digest)], cx: &Context<'_>) -> Result<(), Failure> {
    let connection = machine.connection;
    let mut names = Vec::new();
    for (path, digest) in keys {
        let remote = format!("{DIR}/keys/{}.asc", digest.short());
        connection.put(path, Path::new(&remote), 0o644, digest).await?;
        names.push(remote);
    }
    let text = repository(&names);
    let run = cx.state.run(cx.run);
    make_dir(&RealDisk, &run, 0o700)?;
    let local = run.join("dnf.conf");
    write_atomic(&local, text.as_bytes(), 0o644)?;
    let remote = Path::new(DIR).join("dnf.conf");
    connection.put(&local, &remote, 0o644, &Digest::of(text.as_bytes())).await.map(drop)
}

/// dnf's configuration: this repository, and no other.
fn repository(keys: &[String]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("file://{key}")).collect();
    format!(
        "[main]\nreposdir=/nonexistent\ncachedir={DIR}/cache\ninstall_weak_deps=0\nbest=1\ngpgcheck=1\n\
         metadata_expire=0\n[bundle]\nname=bundle\nbaseurl=file://{DIR}\ngpgcheck=1\ngpgkey={}\n",
        keys.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const AIRGAP: &str = include_str!("../../environments/airgap.yaml");
    const RKE2_DEFAULTS: &str = include_str!("../../ansible/roles/rke2_common/defaults/main.yml");
    const HARDENING_DEFAULTS: &str = include_str!("../../ansible/roles/os_hardening/defaults/main.yml");
    const PATHS: &str = include_str!("machines/paths.sh");

    fn airgap() -> Environment {
        config::read("environments/airgap.yaml", "airgap", AIRGAP).expect("valid")
    }

    #[test]
    fn what_is_wanted_is_what_the_roles_install_and_what_is_noted_before() {
        assert!(RKE2_DEFAULTS.contains(&format!("rke2_packages: [{}]", RKE2_PACKAGES.join(", "))));
        assert!(HARDENING_DEFAULTS.contains(&format!("os_hardening_packages: [{}]", HARDENING_PACKAGES.join(", "))));
        let all = [&RKE2_PACKAGES[..], &[SELINUX_PACKAGE], &HARDENING_PACKAGES[..]].concat().join(" ");
        assert!(PATHS.contains(&format!("PACKAGES='{all}'")), "{all}");
    }

    #[test]
    fn the_policy_is_wanted_where_selinux_is_on_and_hardening_only_where_it_is_asked_for() {
        let mut env = airgap();

        assert_eq!(wanted(&env, true), [&RKE2_PACKAGES[..], &[SELINUX_PACKAGE], &HARDENING_PACKAGES[..]].concat());
        env.hardening.profile = HardeningProfile::None;
        assert_eq!(wanted(&env, false), RKE2_PACKAGES);
    }

    #[test]
    fn what_the_bundle_lacks_is_told_by_name_with_what_selinux_would_do() {
        let node = NodeName("server-2".to_owned());
        let told = |missing: &[&str], lacking: &[&str]| {
            let lacking: Vec<String> = lacking.iter().map(|line| (*line).to_owned()).collect();
            refusal(&node, missing, &lacking, &airgap()).map(|failure| failure.causes().to_vec())
        };

        assert_eq!(told(&["rke2-selinux"], &[]), None);
        assert_eq!(told(&["audit"], &["rpm `audit`"]), Some(vec!["it lacks rpm `audit`".to_owned()]));
        let both = told(&["rke2-selinux"], &["rpm `rke2-selinux`"]).expect("refused");
        assert_eq!(both[0], "it lacks rpm `rke2-selinux`");
        assert!(both[1].starts_with("SELinux is on there"), "{both:?}");
    }

    #[test]
    fn dnf_is_told_one_repository_and_the_keys_that_must_have_signed_it() {
        let text = repository(&["/k/1.asc".to_owned(), "/k/2.asc".to_owned()]);

        assert!(text.starts_with("[main]\nreposdir=/nonexistent\n") && !text.contains("gpgcheck=0"), "{text}");
        assert!(text.ends_with("\ngpgcheck=1\ngpgkey=file:///k/1.asc file:///k/2.asc\n"), "{text}");
    }
}
