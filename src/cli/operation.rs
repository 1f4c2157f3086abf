//! What the commands that work on a running cluster share: the lease, the journal of a run, and one operation at a time;
//! those that only ask share that they take no lease and write no run.
//!
//! An operation of several steps is open from its first step to its last, in the journal. While it is, nothing else
//! changes the cluster: the same command goes on where it was stopped.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::Common;
use super::ask::ask;
use super::desk::{Desk, known};
use super::look::{Layout, Remembered};
use super::run::Run;
use super::up::Ready;
use crate::artifact::Kind;
use crate::environment::NodeName;
use crate::event::{Events, Outcome};
use crate::failure::{Exit, Failure};
use crate::journal::Journal;
use crate::report::Screen;
use crate::stages::{Context, Ledger, Reader};
use crate::stop::{Level, Stop};
use crate::upkeep::{OPEN, Open, gives_way, no_cluster};

/// The word of the person that something may be done.
pub struct Confirm<'a> {
    pub yes: bool,
    /// What is about to be done, in lines.
    pub what: &'a str,
    pub command: &'a str,
}

/// The nodes of `--leave-out`, and what is told of them before anything is done.
pub fn left_out(words: &[String]) -> (Vec<NodeName>, String) {
    let nodes: Vec<NodeName> = words.iter().map(|word| NodeName(word.clone())).collect();
    let text = match words {
        [] => String::new(),
        words => format!(
            "\nLeft out, since nobody answers there: {}. What is there stays as it is; `up` lets it in again when it is back.",
            words.join(", ")
        ),
    };
    (nodes, text)
}

/// A sentence about all nodes, with those that were left out.
pub fn without_these(sentence: &str, left_out: &BTreeSet<NodeName>) -> String {
    let names: Vec<&str> = left_out.iter().map(|node| node.0.as_str()).collect();
    if names.is_empty() { sentence.to_owned() } else { format!("{sentence} but for {}", names.join(", ")) }
}

/// Lays out an environment that was made, with its lease.
pub async fn ready(desk: Desk) -> Result<Ready, Failure> {
    desk.made_identity().await?;
    Ready::new(desk).await
}

/// Refuses to begin while another operation is open; `own` are the first words of the command that may go on.
///
/// # Errors
/// Exit 8, with the command that goes on with the open one.
pub fn nothing_open(journal: &Journal, own: Option<&str>) -> Result<(), Failure> {
    let Some(open) = Open::recorded(&journal.memory().facts) else { return Ok(()) };
    if own.is_some_and(|own| may_go_on(&open.command, own)) {
        return Ok(());
    }
    Err(Failure::new(Exit::Held, format!("`{}` was begun and has not come to its end", open.command))
        .because("the cluster is between two states, which only that command knows")
        .hint(format!("sre-provision {}   goes on with it", open.command)))
}

/// The same command goes on, and a restore takes the place of what cannot come to its end.
fn may_go_on(open: &str, own: &str) -> bool {
    open == own || gives_way(open, own)
}

/// The operation that would be given up for this command.
pub fn given_up(journal: &Journal, own: &str) -> Option<String> {
    let open = Open::recorded(&journal.memory().facts)?.command;
    (open != own && gives_way(&open, own)).then_some(open)
}

impl Confirm<'_> {
    /// Tells what is about to be done and has the environment's name typed.
    ///
    /// # Errors
    /// Exit 9 without it.
    pub async fn ask(&self, name: &str, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        screen.remark(self.what);
        if self.yes {
            return Ok(());
        }
        match ask(screen, format!("type the name to go on: {name} >"), stop).await? {
            Some(answer) if answer == name => Ok(()),
            Some(_) => Err(Failure::new(Exit::Approval, "nothing was done")),
            None => Err(Failure::new(Exit::Approval, "nobody can answer whether to go on")
                .because("standard input is no terminal")
                .hint(format!("sre-provision {} --yes", self.command))),
        }
    }
}

/// Tells of an open operation that ends with the cluster.
pub fn tell_open(journal: &Journal, screen: Screen) {
    if let Some(open) = Open::recorded(&journal.memory().facts) {
        screen.remark(&format!("`{}` was begun and has not come to its end: it ends with the cluster", open.command));
    }
}

/// Closes the operation that is open, if one is: the cluster that it worked on goes.
pub async fn end_open(ledger: &impl Ledger) -> Result<(), Failure> {
    match ledger.fact(OPEN) {
        Some(_) => ledger.record_fact(OPEN, Value::Null).await,
        None => Ok(()),
    }
}

/// Asks a cluster that runs, without the lease and without a run in the journal: `work` changes nothing.
pub async fn inspect<T>(
    common: &Common,
    environment: &str,
    screen: Screen,
    stop: &Stop,
    work: impl AsyncFnOnce(&Context<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut desk = Desk::open(common, environment).await?;
    let identity = desk.made_identity().await?;
    let journal = desk.journal(&identity).await?;
    let known = known(journal.memory());
    if known.artifact(Kind::Servers).is_none() {
        return Err(no_cluster(environment));
    }
    let (cloud, _) = desk.cloud(Some(&identity)).await?;
    desk.keep_release(journal.memory());
    let secrets = desk.secrets_known_to(&journal, &identity)?;
    let connections = desk.connections(&secrets, &identity)?;
    let (events, received) = Events::channel();
    let follower = tokio::spawn(screen.follow(received));
    let result = {
        let layout = Layout {
            desk: &desk,
            identity: &identity,
            is_new: false,
            cloud: cloud.as_ref(),
            secrets: &secrets,
            connections: &connections,
            events: &events,
            stop,
        };
        let remembered = Arc::new(Remembered(journal.memory().clone()));
        let children = desk.children(&events, stop, remembered.clone());
        let reader = Reader::new(&desk.workspace, &desk.tools);
        let view = layout.view(journal.memory().next_run(), &known, &reader, remembered.as_ref(), &children);
        tokio::select! {
            result = work(&view) => result,
            () = stop.reached(Level::Finish) => Err(Failure::cancelled("stopped while looking")),
        }
    };
    connections.close().await;
    drop(events);
    // A report that failed has nothing more to say than the result itself.
    drop(follower.await);
    result
}

/// Carries out `work` as a run of its own, written in the journal as `command`.
pub async fn operate<T>(
    ready: Ready,
    command: &str,
    screen: Screen,
    stop: &Stop,
    work: impl AsyncFnOnce(&Context<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let connections = ready.desk.connections(&ready.secrets, &ready.identity)?;
    let known = known(ready.journal.memory());
    let Ready { desk, cloud, identity, secrets, lease, journal, .. } = ready;
    let run = Run::begin(&desk, &identity, (lease, journal), (command, None), Events::channel(), screen, stop).await?;
    let result = {
        let layout = Layout {
            desk: &desk,
            identity: &identity,
            is_new: false,
            cloud: cloud.as_ref(),
            secrets: &secrets,
            connections: &connections,
            events: &run.events,
            stop,
        };
        let children = desk.children(&run.events, stop, run.book.clone());
        let reader = Reader::new(&desk.workspace, &desk.tools);
        let view = layout.view(run.number, &known, &reader, run.book.as_ref(), &children);
        let result = work(&view).await;
        desk.tidy(&children, &secrets, result.is_ok(), &run.book, &run.events).await;
        result
    };
    let outcome = Outcome::of(&result);
    run.tell_end(outcome);
    connections.close().await;
    let why = result.as_ref().err().map(ToString::to_string);
    let end = run.close(outcome, why).await?;
    let anchored = desk.anchor(&identity, &end, screen).await;
    let value = result?;
    anchored.map(|()| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::upkeep::OPEN;

    #[test]
    fn only_the_same_command_goes_on_and_a_restore_may_give_way_to_another() {
        assert!(may_go_on("certs rotate dev", "certs rotate dev"));
        assert!(!may_go_on("certs rotate dev", "token rotate dev"));
        assert!(may_go_on("restore dev one", "restore dev two"));
        assert!(may_go_on("upgrade dev --to v1.35.4+rke2r1", "restore dev two"));
        assert!(may_go_on("certs rotate dev", "restore dev two"));
        assert!(!may_go_on("token rotate dev", "restore dev two"), "which token counts, only it knows");
        assert!(!may_go_on("restore dev two", "upgrade dev --to v1.35.4+rke2r1"));
    }

    #[test]
    fn what_is_open_is_read_from_its_fact() {
        let facts = [(OPEN.to_owned(), json!({"command": "restore dev s", "run": 7, "details": {"a": 1}}))].into();

        let open = Open::recorded(&facts).expect("open");

        assert_eq!((open.command.as_str(), open.run), ("restore dev s", 7));
    }
}
