//! `sre-provision evidence`: measures every rule on every node, writes what was found down, signed, and checks such a pack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Common;
use super::bundle::trusted;
use super::desk::Desk;
use super::operation::inspect;
use crate::artifact::{Access, Kind};
use crate::bundle::SigningKey;
use crate::compliance::{Catalogue, Depth, Published, Severity};
use crate::config;
use crate::environment::{HardeningProfile, NodeName, Role};
use crate::evidence::{Applied, MANIFEST, Machine, Manifest, SIGNATURE, Score, Subject, files_of};
use crate::failure::{Exit, Failure};
use crate::hardening::Waiver;
use crate::report::{Screen, table};
use crate::stages::Context;
use crate::stop::Stop;
use crate::units::Day;
use crate::workspace::{RealDisk, make_dir, write_atomic};

/// Walks over the file system take seconds on a slow disk.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// The environment
    #[arg(required = true)]
    environment: Option<String>,
    /// Where to write it: a directory that does not exist yet; without it `evidence/ENVIRONMENT-TIME`
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The key that signs it: ECDSA on P-256, PKCS#8 in PEM
    #[arg(long, required = true, value_name = "file:KEY")]
    sign: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check the signature of a pack, and that nothing in it was changed; asks nobody
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The pack
    #[arg(value_name = "DIR")]
    pack: PathBuf,
    /// The public key of whoever signs, PEM; without it those of the environment file
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Whose keys count
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Option<String>,
}

impl EvidenceArgs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        match (self.what, self.environment, self.sign) {
            (Some(What::Verify(verify)), _, _) => verify.run(common, screen),
            (None, Some(environment), Some(sign)) => take(common, &environment, self.to, &sign, screen, stop).await,
            (None, _, _) => Err(Failure::bug("clap let through `evidence` without an environment or a key")),
        }
    }
}

async fn take(
    common: &Common,
    environment: &str,
    to: Option<PathBuf>,
    sign: &str,
    screen: Screen,
    stop: &Stop,
) -> Result<(), Failure> {
    let key = SigningKey::read(sign, Path::new("."))?;
    let taken = Timestamp::now();
    let usual = || common.open().map(|workspace| workspace.root().join("evidence").join(place(environment, taken)));
    let to = to.map_or_else(usual, |to| super::whole(&to))?;
    if to.exists() {
        return Err(Failure::new(Exit::Usage, format!("`{}` exists", to.display()))
            .hint("name a directory that does not exist yet with `--to`"));
    }
    let subject = inspect(common, environment, screen, stop, async |cx: &Context<'_>| measure(cx, taken).await).await?;
    let subject = Subject { journal: last_run(common, environment).await?, ..subject };
    let files = subject.files()?;
    let manifest = Manifest::of(environment, subject.id, taken, &files).bytes()?;
    let signature = key.sign(&manifest)?;
    for (name, bytes) in &files {
        let path = to.join(name);
        path.parent().map_or(Ok(()), |dir| make_dir(&RealDisk, dir, 0o700))?;
        write_atomic(&path, bytes, 0o600)?;
    }
    write_atomic(&to.join(SIGNATURE), signature.as_bytes(), 0o600)?;
    // Last: a pack that was broken off has none.
    write_atomic(&to.join(MANIFEST), &manifest, 0o600)?;
    tell(screen, &subject, &to, files.len());
    expired(&subject)
}

/// The evidence is written; it tells of something that nobody answers for any more.
fn expired(subject: &Subject) -> Result<(), Failure> {
    let expired: Vec<&Waiver> =
        subject.waivers.iter().filter(|applied| applied.expired).map(|applied| &applied.waiver).collect();
    if expired.is_empty() {
        return Ok(());
    }
    let noun = if expired.len() == 1 { "waiver has" } else { "waivers have" };
    let failure = Failure::new(Exit::NotDone, format!("{} {noun} expired", expired.len()));
    let told = |waiver: &Waiver| format!("`{}` of {}: the last day was {}", waiver.rule, waiver.owner, waiver.expires);
    let failure = expired.into_iter().fold(failure, |failure, waiver| failure.because(told(waiver)));
    Err(failure.hint(format!(
        "keep the rule, or have its owner decide anew and set `expires` in environments/{}.yaml",
        subject.environment
    )))
}

fn place(environment: &str, taken: Timestamp) -> String {
    format!("{environment}-{}", taken.strftime("%Y%m%dT%H%M%SZ"))
}

/// Looks at every node, all at once.
async fn measure(cx: &Context<'_>, taken: Timestamp) -> Result<Subject, Failure> {
    let profile = cx.env.hardening.profile;
    if profile == HardeningProfile::None {
        return Err(Failure::new(
            Exit::Environment,
            format!("`{}` has no profile to be measured against", cx.env.name),
        )
        .hint("set `hardening: {profile: stig}` or `cis`"));
    }
    let access: Access = cx.known.get(Kind::Access)?;
    let catalogue = Catalogue::whole(&cx.workspace.asset(Path::new(Catalogue::DIR)), profile)?;
    let script = catalogue.script(Depth::Deep);
    let today = Day(taken.to_zoned(TimeZone::UTC).date());
    let waivers = &cx.env.hardening.waivers;
    let looks = access.nodes.iter().map(async |(node, reach)| {
        let mut used = BTreeSet::new();
        let report = match look(cx, node, &access, &script).await {
            Ok(said) => {
                let mut report = catalogue.judge(&said);
                used = report.waive(node, reach.role.unwrap_or(Role::Agent), waivers, today);
                Ok(report)
            }
            Err(failure) if failure.is_cancelled() => return Err(failure),
            Err(failure) => Err(failure.to_string()),
        };
        let machine = Machine { machine: reach.machine.clone(), address: reach.address.clone(), report };
        Ok((node.clone(), machine, used))
    });
    let (mut nodes, mut used) = (BTreeMap::new(), BTreeSet::new());
    for (node, machine, waivers) in try_join_all(looks).await? {
        nodes.insert(node, machine);
        used.extend(waivers);
    }
    let applied = |(index, waiver): (usize, &Waiver)| Applied {
        waiver: waiver.clone(),
        expired: waiver.has_expired(today),
        used: used.contains(&index),
    };
    let images: BTreeMap<&str, Value> = [Kind::BaseImage, Kind::NodeImage]
        .into_iter()
        .filter_map(|kind| Some((kind.name(), json!(cx.known.artifact(kind)?))))
        .collect();
    Ok(Subject {
        environment: cx.env.name.clone(),
        id: cx.identity.id,
        profile,
        taken,
        rke2: cx.env.rke2.version.clone(),
        nodes,
        rules: Published::of(profile)?,
        waivers: waivers.iter().enumerate().map(applied).collect(),
        images: json!(images),
        journal: vec![],
    })
}

/// What a node shows, whole.
async fn look(cx: &Context<'_>, node: &NodeName, access: &Access, script: &str) -> Result<String, Failure> {
    let said = cx.connections.get(node, access).await?.run_within(script, true, PATIENCE).await?;
    match said.code == 0 && said.stdout.trim_end().ends_with("end yes") {
        true => Ok(said.stdout),
        false => Err(Failure::new(Exit::Tool, format!("`{node}` did not answer to its end how it is hardened"))
            .because(said.stderr.trim())
            .hint("look at the node with `sre-provision ssh`, then take the evidence again")),
    }
}

/// What the journal says of the last run.
async fn last_run(common: &Common, environment: &str) -> Result<Vec<Value>, Failure> {
    let desk = Desk::open(common, environment).await?;
    let identity = desk.made_identity().await?;
    let journal = desk.journal(&identity).await?;
    let last = journal.entries().iter().map(|entry| entry.run).max();
    Ok(journal.entries().iter().filter(|entry| Some(entry.run) == last).map(|entry| json!(entry)).collect())
}

fn tell(screen: Screen, subject: &Subject, to: &Path, files: usize) {
    let mut rows = vec![
        ["NODE", "PASS", "FAIL", "CAT I", "EXCEPTED", "WAIVED", "N/A", "NOT REVIEWED"].map(str::to_owned).to_vec(),
    ];
    let mut nodes = BTreeMap::new();
    for node in subject.nodes.keys() {
        let scores = subject.score(node);
        let of = |severity| scores.get(&severity).copied().unwrap_or_default();
        let (all, high): (Score, Score) = (of(None), of(Some(Severity::High)));
        let cells = [
            all.pass,
            all.fail,
            high.fail,
            all.excepted,
            all.waived,
            all.not_applicable,
            all.not_reviewed + all.unknown,
        ];
        rows.push([vec![node.to_string()], cells.map(|count| count.to_string()).to_vec()].concat());
        nodes.insert(node, json!({ "all": all, "high": high }));
    }
    let unused = |applied: &&Applied| !applied.used && !applied.expired;
    let unused: Vec<&str> = subject.waivers.iter().filter(unused).map(|one| one.waiver.rule.as_str()).collect();
    let idle = match unused[..] {
        [] => String::new(),
        _ => format!("\nwaived, though nothing of it fails: {}", unused.join(", ")),
    };
    let text = format!(
        "{}\n{idle}\nevidence of {} rules on {} nodes is in `{}`: {} files, signed\n  sre-provision evidence verify {} --trust KEY",
        table(&rows).trim_end(),
        subject.rules.len(),
        subject.nodes.len(),
        to.display(),
        files,
        to.display()
    );
    screen.result(
        &text,
        &json!({ "event": "evidence-taken", "environment": subject.environment, "profile": subject.profile.name(),
            "path": to, "files": files, "rules": subject.rules.len(), "nodes": nodes,
            "waivers": subject.waivers }),
    );
}

impl Verify {
    fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let env = self.environment.as_deref().map(|name| config::load(&common.open()?, name)).transpose()?;
        let keys = trusted(common, &self.trust, env.as_ref())?;
        let read = |name: &str| {
            std::fs::read(self.pack.join(name)).map_err(|error| {
                Failure::new(Exit::Missing, format!("`{}` is no evidence", self.pack.display()))
                    .because(format!("`{name}`: {error}"))
            })
        };
        let (manifest, signature) = (read(MANIFEST)?, read(SIGNATURE)?);
        keys.check(&manifest, &signature)?;
        let manifest = Manifest::read(&manifest)?;
        if let Some(env) = env.as_ref().filter(|env| env.name != manifest.environment) {
            return Err(Failure::new(
                Exit::NotDone,
                format!("the evidence is of `{}`, not of `{}`", manifest.environment, env.name),
            )
            .hint("name the environment that it is of, or the key with `--trust`"));
        }
        let wrong = manifest.wrong(&files_of(&self.pack)?);
        if !wrong.is_empty() {
            let failure =
                Failure::new(Exit::NotDone, format!("the evidence in `{}` is not whole", self.pack.display()));
            let failure = wrong.iter().fold(failure, |failure, wrong| failure.because(wrong.to_string()));
            return Err(failure.hint("do not rely on it; take it anew, or get it again from whoever took it"));
        }
        let text = format!(
            "evidence of {} from {} is as it was signed: {} files",
            manifest.environment,
            manifest.taken,
            manifest.files.len()
        );
        screen.result(
            &text,
            &json!({ "event": "evidence-verified", "environment": manifest.environment, "id": manifest.id,
                "taken": manifest.taken, "files": manifest.files.len() }),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(expired: &[(&str, bool)]) -> Subject {
        let applied = |(rule, expired): &(&str, bool)| Applied {
            waiver: Waiver {
                rule: (*rule).to_owned(),
                nodes: vec![],
                pools: vec![],
                reason: "a console stays open".to_owned(),
                owner: "operations".to_owned(),
                expires: "2027-03-31".parse().expect("a day"),
            },
            expired: *expired,
            used: true,
        };
        Subject {
            environment: "dev".to_owned(),
            id: uuid::Uuid::nil(),
            profile: HardeningProfile::Stig,
            taken: Timestamp::UNIX_EPOCH,
            rke2: "v1.35.4+rke2r1".to_owned(),
            nodes: BTreeMap::new(),
            rules: vec![],
            waivers: expired.iter().map(applied).collect(),
            images: Value::Null,
            journal: vec![],
        }
    }

    #[test]
    fn evidence_with_an_expired_waiver_is_no_success_and_says_whose_it_is() {
        let failure = expired(&subject(&[("RHEL-09-412035", true), ("RHEL-09-671010", false)])).expect_err("expired");

        assert_eq!((failure.exit(), failure.what()), (Exit::NotDone, "1 waiver has expired"));
        assert_eq!(failure.causes(), ["`RHEL-09-412035` of operations: the last day was 2027-03-31"]);
        assert_eq!(
            failure.hints(),
            ["keep the rule, or have its owner decide anew and set `expires` in environments/dev.yaml"]
        );
        assert!(expired(&subject(&[("RHEL-09-671010", false)])).is_ok());
    }
}
