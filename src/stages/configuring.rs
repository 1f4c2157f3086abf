//! RKE2's configuration on its way to a node, and the comparison that no server starts without.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::artifact::Access;
use crate::environment::{Environment, NodeName, Rke2Profile, Role};
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::{self, Effective};
use crate::secret::Secret;
use crate::stages::Context;

/// The fact that tells which configuration a node joined with: digests by file.
pub fn fact(node: &NodeName) -> String {
    format!("configuration/{node}")
}

/// What the role is told of the configuration of a node of this role; no secret is in it.
pub fn settings(env: &Environment, role: Role) -> Result<Value, Failure> {
    let config = &env.rke2.config;
    let files: BTreeMap<&String, &String> =
        config.files.iter().filter(|(name, _)| role == Role::Server || name.ends_with(".pem")).collect();
    Ok(json!({
        "rke2_fragments": rke2::fragments(config, role)?,
        "rke2_files": files,
        "rke2_secret_fragment": role == Role::Server && has_bucket_keys(env),
    }))
}

/// Adds [`settings`] to the variables of a play.
pub fn tell(env: &Environment, role: Role, vars: &mut Value) -> Result<(), Failure> {
    if let (Some(vars), Value::Object(settings)) = (vars.as_object_mut(), settings(env, role)?) {
        vars.extend(settings);
    }
    Ok(())
}

/// What of the configuration is part of a node's fingerprint.
pub fn share(env: &Environment, role: Role) -> Value {
    let settings = settings(env, role).unwrap_or_default();
    json!({ "settings": settings, "registries": env.rke2.config.registries })
}

/// What a node of this role is started with, by the file that a plan names; an empty map for one that differs in nothing
/// from RKE2's own defaults.
pub fn digests(env: &Environment, role: Role) -> BTreeMap<String, Digest> {
    let settings = settings(env, role).unwrap_or_default();
    let texts = ["rke2_fragments", "rke2_files"].map(|part| settings[part].as_object().cloned().unwrap_or_default());
    let mut digests: BTreeMap<String, Digest> =
        texts.into_iter().flatten().map(|(name, text)| (name, Digest::of_value(&text))).collect();
    let registries = &env.rke2.config.registries;
    if !registries.is_empty() {
        digests.insert("registries.yaml".to_owned(), Digest::of_value(registries));
    }
    if role == Role::Server {
        let base = json!([env.rke2.disable, env.rke2.config.tls_san]);
        if base != json!([[], []]) {
            digests.insert("config.yaml".to_owned(), Digest::of_value(&base));
        }
    }
    digests
}

fn has_bucket_keys(env: &Environment) -> bool {
    env.rke2.config.snapshots.s3.as_ref().is_some_and(|s3| s3.access_key.is_some())
}

/// The files with secrets that a node of this role gets, by the variable that names each.
///
/// # Errors
/// Exit 3: a `file:` reference that cannot be read.
pub fn secret_files(cx: &Context<'_>, role: Role) -> Result<Vec<(&'static str, Secret)>, Failure> {
    let config = &cx.env.rke2.config;
    let mut files = Vec::new();
    let mut passwords = BTreeMap::new();
    for (host, access) in &config.registries.access {
        if let Some(reference) = &access.password {
            passwords.insert(host.clone(), referred(cx, &format!("registries.access.{host}.password"), reference)?);
        }
    }
    if let Some(text) = rke2::registries(&config.registries, &passwords) {
        files.push(("rke2_registries_file", text));
    }
    let s3 = config.snapshots.s3.as_ref().filter(|_| role == Role::Server);
    if let Some((access, secret)) = s3.and_then(|s3| Some((s3.access_key.as_ref()?, s3.secret_key.as_ref()?))) {
        let access = referred(cx, "snapshots.s3.access_key", access)?;
        let secret = referred(cx, "snapshots.s3.secret_key", secret)?;
        files.push(("rke2_secret_fragment_file", rke2::secret_fragment(&access, &secret)?));
    }
    Ok(files)
}

/// What a `file:` reference leads to, relative to the workspace.
fn referred(cx: &Context<'_>, key: &str, reference: &str) -> Result<Secret, Failure> {
    let path = reference.strip_prefix("file:").unwrap_or(reference);
    let read = std::fs::read(cx.workspace.root().join(path));
    read.map(Secret::new).map_err(|error| {
        Failure::new(Exit::Environment, format!("cannot read `rke2.config.{key}` (`{reference}`)")).because(error)
    })
}

/// The names and addresses in the certificate of the API.
pub fn tls_san(env: &Environment, fixed: &str) -> Vec<String> {
    std::iter::once(fixed.to_owned()).chain(env.rke2.config.tls_san.iter().cloned()).collect()
}

/// What a server is to have, as far as servers are compared.
fn wanted(cx: &Context<'_>, fixed: &str, agent_token: &Secret) -> Effective {
    let rke2 = &cx.env.rke2;
    let mut values = rke2::fragment_keys(&rke2.config, Role::Server);
    let mut set = |key: &str, words: Vec<String>| drop(values.insert(key.to_owned(), words));
    set("cni", vec![rke2.cni.name().to_owned()]);
    set("tls-san", tls_san(cx.env, fixed));
    set("disable", rke2.disable.clone());
    set("profile", if rke2.profile == Rke2Profile::Cis { vec!["cis".to_owned()] } else { vec![] });
    Effective::wanted(values, Digest::of(agent_token.expose()))
}

/// Compares what a server is about to start with to what the others run with.
///
/// # Errors
/// Exit 7, before anything was touched: each value that differs and must not, with both values.
pub async fn compare(
    node: &NodeName,
    others: &[NodeName],
    fixed: &str,
    agent_token: &Secret,
    access: &Access,
    cx: &Context<'_>,
) -> Result<(), Failure> {
    let wanted = wanted(cx, fixed, agent_token);
    let mut failure: Option<Failure> = None;
    for other in others {
        let connection = cx.connections.get(other, access).await?;
        let said = connection.ask("reading RKE2's configuration", &rke2::ask_configuration()).await?;
        let theirs = Effective::read(&said).map_err(|why| {
            Failure::new(Exit::Unhealthy, format!("the configuration of `{other}` cannot be read")).because(why)
        })?;
        for one in wanted.differences(&theirs) {
            let (key, here, there) = (&one.key, &one.here, &one.there);
            if one.is_critical {
                let so_far = failure.take().unwrap_or_else(|| refused(node));
                failure = Some(so_far.because(format!("`{key}`: `{node}` would get {here}, `{other}` has {there}")));
            } else {
                let told = format!("`{other}` runs with another `{key}` than the file asks for: {there}, not {here}");
                cx.events.notice(format!("{}: {told}", cx.stage));
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

fn refused(node: &NodeName) -> Failure {
    Failure::new(Exit::Unhealthy, format!("`{node}` would differ from the other servers in what must be equal"))
        .class(Class::NeedsPerson)
        .hint("look at /etc/rancher/rke2/config.yaml and config.yaml.d on the other server; set `rke2.config` to what the cluster was founded with")
}
