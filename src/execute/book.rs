//! Writes what happens to the journal: intents and outcomes of stages and steps, facts, children.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::artifact::{Artifact, Kind};
use crate::environment::Platform;
use crate::event::Outcome;
use crate::failure::Failure;
use crate::fingerprint::{Digest, Reading};
use crate::identity::{Identity, TAG_ENVIRONMENT};
use crate::journal::{Anchor, Deed, Intent, Record, Settled, Writer};
use crate::process::Witness;
use crate::stages::{self, Ledger, StepMemory};

/// In place of a step's name: the stage as a whole.
const WHOLE: &str = "";

/// The journal as stages, executor and supervisors use it.
pub struct Book {
    writer: Writer,
    /// The tag that everything of the environment carries.
    tag: String,
    platform: Platform,
    programs: BTreeMap<String, Digest>,
    /// When the stages and steps that are open were begun.
    begun: Mutex<BTreeMap<(Kind, String), Instant>>,
}

impl Book {
    /// `programs` are the tools that were found, by name: an intent tells those that its stage may start.
    pub fn new(writer: Writer, identity: &Identity, programs: BTreeMap<String, Digest>) -> Self {
        let tag = format!("{TAG_ENVIRONMENT}={}", identity.id);
        Self { writer, tag, platform: identity.platform, programs, begun: Mutex::default() }
    }

    /// Ends the run and gives the lease back; tells the last entry.
    pub async fn close(self, outcome: Outcome, why: Option<String>) -> Result<Anchor, Failure> {
        self.writer.end(outcome, why).await
    }

    /// What a stage's artifact was made with.
    pub fn made_with(&self, stage: Kind) -> Option<Reading> {
        self.writer.look(|memory| {
            let remembered = memory.stages.get(&stage).filter(|stage| stage.last == Outcome::Succeeded)?;
            remembered.made.as_ref().map(|made| made.reading.clone())
        })
    }

    pub async fn stage_intended(&self, stage: Kind, attempt: u32, reading: &Reading) -> Result<(), Failure> {
        self.intend(stage, None, Deed::Make, attempt, reading, self.tag.clone()).await?;
        self.note_begun(stage, WHOLE);
        Ok(())
    }

    /// What came of the last attempt that was intended.
    pub async fn stage_ended(
        &self,
        stage: Kind,
        outcome: Outcome,
        artifact: Option<&Artifact>,
        failure: Option<&Failure>,
    ) -> Result<(), Failure> {
        let (artifact, why) = (artifact.cloned(), failure.map(ToString::to_string));
        let (class, took) = (failure.map(Failure::kind), self.take_begun(stage, WHOLE));
        let attempt = self.writer.look(|memory| memory.stages.get(&stage).map_or(1, |stage| stage.attempt));
        self.settle(Settled { artifact, why, class, took, attempt, ..settled(stage, Deed::Make, outcome) }).await
    }

    pub async fn destroy_intended(&self, stage: Kind) -> Result<(), Failure> {
        self.intend(stage, None, Deed::Remove, 1, &Reading::default(), self.tag.clone()).await
    }

    pub async fn destroy_ended(&self, stage: Kind, outcome: Outcome, failure: Option<&Failure>) -> Result<(), Failure> {
        let (why, class) = (failure.map(ToString::to_string), failure.map(Failure::kind));
        self.settle(Settled { why, class, ..settled(stage, Deed::Remove, outcome) }).await
    }

    /// Removes what is found by its tag, which is no stage's own: told before as a step of the network, which it lies in,
    /// and after with what became of it. `work` gives what is left, with the reasons.
    pub async fn removal<T>(
        &self,
        part: &str,
        work: impl Future<Output = Result<Vec<T>, Failure>>,
    ) -> Result<Vec<T>, Failure> {
        let (stage, step) = (Kind::Network, Some(part.to_owned()));
        let reading = Reading::default();
        self.intend(stage, step.clone(), Deed::Remove, 1, &reading, self.tag.clone()).await?;
        let begun = Instant::now();
        let result = work.await;
        let outcome = match &result {
            Ok(left) if !left.is_empty() => Outcome::Partial,
            Ok(_) | Err(_) => Outcome::of(&result),
        };
        let why = match &result {
            Ok(left) if left.is_empty() => None,
            Ok(left) => Some(format!("{} things are left", left.len())),
            Err(failure) => Some(failure.to_string()),
        };
        let class = result.as_ref().err().map(Failure::kind);
        let settled = Settled { step, why, class, took: begun.elapsed(), ..settled(stage, Deed::Remove, outcome) };
        let told = self.settle(settled).await;
        let left = result?;
        told.map(|()| left)
    }

    /// # Errors
    /// Exit 8: the lease is lost, or so long unconfirmed that nothing may begin.
    pub fn ensure(&self) -> Result<(), Failure> {
        self.writer.lease().ensure()
    }

    /// The journal itself, for what is no stage's.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    async fn intend(
        &self,
        stage: Kind,
        step: Option<String>,
        deed: Deed,
        attempt: u32,
        reading: &Reading,
        effect: String,
    ) -> Result<(), Failure> {
        let subject = step.as_ref().map_or_else(|| stage.name().to_owned(), |step| format!("{stage}/{step}"));
        let fingerprint = reading.fingerprint(&subject);
        let (reading, tools) = (reading.clone(), started_by(self.platform, stage, &self.programs));
        let intent = Intent { stage, step, deed, attempt, fingerprint, reading, effect, tools };
        self.writer.append(Record::Intent(intent)).await.map(drop)
    }

    async fn gone(&self, id: &str, code: Option<i32>, took: Option<Duration>) -> Result<(), Failure> {
        self.writer.append(Record::ChildEnded { id: id.to_owned(), code, took }).await.map(drop)
    }

    async fn settle(&self, settled: Settled) -> Result<(), Failure> {
        self.writer.append(Record::Outcome(Box::new(settled))).await.map(drop)
    }

    fn note_begun(&self, stage: Kind, step: &str) {
        if let Ok(mut begun) = self.begun.lock() {
            begun.insert((stage, step.to_owned()), Instant::now());
        }
    }

    fn take_begun(&self, stage: Kind, step: &str) -> Duration {
        let begun = self.begun.lock().ok().and_then(|mut begun| begun.remove(&(stage, step.to_owned())));
        begun.map(|begun| begun.elapsed()).unwrap_or_default()
    }
}

fn started_by(platform: Platform, stage: Kind, programs: &BTreeMap<String, Digest>) -> BTreeMap<String, Digest> {
    let started = stages::programs(platform, stage).iter();
    started.filter_map(|name| Some(((*name).to_owned(), programs.get(*name)?.clone()))).collect()
}

fn settled(stage: Kind, deed: Deed, outcome: Outcome) -> Settled {
    Settled {
        stage,
        step: None,
        deed,
        attempt: 1,
        outcome,
        artifact: None,
        output: None,
        why: None,
        class: None,
        took: Duration::ZERO,
    }
}

#[async_trait]
impl Ledger for Book {
    fn step(&self, stage: Kind, step: &str) -> Option<StepMemory> {
        self.writer.look(|memory| {
            let memory = memory.steps.get(&(stage, step.to_owned()))?;
            let (outcome, output) = (memory.outcome, memory.output.clone());
            Some(StepMemory { outcome, fingerprint: memory.fingerprint.clone(), output })
        })
    }

    async fn intend(&self, stage: Kind, step: &str, reading: &Reading, effect: &str) -> Result<(), Failure> {
        Self::intend(self, stage, Some(step.to_owned()), Deed::Make, 1, reading, effect.to_owned()).await?;
        self.note_begun(stage, step);
        Ok(())
    }

    async fn settle(
        &self,
        stage: Kind,
        step: &str,
        outcome: Outcome,
        output: Option<Value>,
        why: Option<String>,
    ) -> Result<(), Failure> {
        let took = self.take_begun(stage, step);
        let step = Some(step.to_owned());
        Self::settle(self, Settled { step, output, why, took, ..settled(stage, Deed::Make, outcome) }).await
    }

    fn fact(&self, name: &str) -> Option<Value> {
        self.writer.look(|memory| memory.facts.get(name).cloned())
    }

    async fn record_fact(&self, name: &str, value: Value) -> Result<(), Failure> {
        self.writer.append(Record::Fact { name: name.to_owned(), value }).await.map(drop)
    }
}

#[async_trait]
impl Witness for Book {
    async fn started(&self, id: &str, slot: &str, lock: &Path) -> Result<(), Failure> {
        let lock = lock.display().to_string();
        self.writer.append(Record::ChildStarted { id: id.to_owned(), slot: slot.to_owned(), lock }).await.map(drop)
    }

    async fn ended(&self, id: &str, code: Option<i32>, took: Option<Duration>) -> Result<(), Failure> {
        self.gone(id, code, took).await?;
        self.leave_lock(id, code).await
    }

    async fn vanished(&self, id: &str) -> Result<(), Failure> {
        self.gone(id, None, None).await
    }

    fn open(&self) -> Vec<String> {
        self.writer.look(|memory| memory.open_children.keys().cloned().collect())
    }

    async fn state_kept(&self, slot: &str, copy: &Path, digest: &Digest) -> Result<(), Failure> {
        let value = json!({ "copy": copy, "sha256": digest });
        self.record_fact(&format!("tofu-state/{slot}"), value).await
    }

    async fn state_locked(&self, stage: Kind, slot: &str) -> Result<bool, Failure> {
        self.note_lock(stage, slot).await
    }

    async fn lock_left(&self, stage: Kind) -> Result<Option<String>, Failure> {
        self.left_lock(stage).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{EnvironmentClass, Platform};
    use crate::journal::{Actor, Home, history};
    use crate::workspace::Workspace;

    /// What a journal tells of the network's steps, in its order.
    async fn told(home: &Home, identity: &Identity) -> Vec<String> {
        let journal = home.journal(identity).await.expect("intact");
        let told = journal.entries().iter().filter_map(|entry| match &entry.record {
            Record::Intent(intent) => Some(format!("{:?} {:?}", intent.deed, intent.step.as_ref()?)),
            Record::Outcome(settled) => {
                Some(format!("{:?} {:?} {:?}", settled.step.as_ref()?, settled.outcome, settled.why))
            }
            _ => None,
        });
        told.collect()
    }

    #[tokio::test]
    async fn a_removal_by_tag_stands_in_the_journal_before_it_begins_and_with_what_came_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::local(Workspace::open(dir.path()).expect("a workspace").state("dev"));
        let identity = Identity {
            version: 1,
            id: uuid::Uuid::from_u128(7),
            name: "dev".to_owned(),
            platform: Platform::Aws,
            class: EnvironmentClass::Standard,
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            created: jiff::Timestamp::UNIX_EPOCH,
            created_by: "ann".to_owned(),
            expires: None,
        };
        let journal = home.journal(&identity).await.expect("empty");
        let lease = home.lease(Actor::here()).await.expect("free");
        let writer = Writer::begin(journal, lease, "down dev", None).await.expect("begun");
        let book = Book::new(writer, &identity, BTreeMap::new());

        let meanwhile = book.removal("sweep", async { Ok(told(&home, &identity).await) }).await.expect("seen");
        book.removal::<()>("drain", async { Err(Failure::cancelled("stopped")) }).await.expect_err("stopped");
        book.removal::<()>("drain", async { Ok(vec![]) }).await.expect("nothing is left");

        assert_eq!(meanwhile, [r#"Remove "sweep""#]);
        assert_eq!(
            told(&home, &identity).await,
            [
                r#"Remove "sweep""#,
                r#""sweep" Partial Some("1 things are left")"#,
                r#"Remove "drain""#,
                r#""drain" Interrupted Some("stopped")"#,
                r#"Remove "drain""#,
                r#""drain" Succeeded None"#,
            ]
        );
        let runs = history(home.journal(&identity).await.expect("intact").entries());
        let stages: Vec<_> = runs[0].stages.iter().map(|stage| (stage.stage, stage.deed, stage.outcome)).collect();
        assert_eq!(stages, [(Kind::Network, Deed::Remove, Outcome::Succeeded)]);
    }

    #[test]
    fn an_intent_tells_only_the_programs_that_its_stage_may_start() {
        let programs = ["packer", "tofu"].map(|name| (name.to_owned(), Digest::of(name.as_bytes())));
        let programs = BTreeMap::from(programs);

        let told = started_by(Platform::Aws, Kind::Nodes, &programs);

        assert_eq!(told, BTreeMap::from([("tofu".to_owned(), Digest::of(b"tofu"))]));
        assert_eq!(started_by(Platform::Aws, Kind::Health, &programs), BTreeMap::new());
        assert_eq!(started_by(Platform::Hosts, Kind::Nodes, &programs), BTreeMap::new());
    }
}
