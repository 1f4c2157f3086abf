//! `sre-provision restore`: brings a cluster back to a snapshot, also when most of its servers are gone.

use std::path::PathBuf;

use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::operation::{Confirm, given_up, nothing_open, operate, ready};
use crate::failure::{Exit, Failure};
use crate::report::Screen;
use crate::stages::Context;
use crate::stop::Stop;
use crate::upkeep::{Fleet, Restored, Source, restore};

#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The environment
    environment: String,
    /// The snapshot, by its name on a server
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    snapshot: Option<String>,
    /// A snapshot here, which is sent to a server
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Do not ask for the environment's name
    #[arg(long, short)]
    yes: bool,
}

impl Restore {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let name = &self.environment;
        let (source, word) = match (&self.snapshot, &self.from) {
            (Some(snapshot), _) => (Source::Named(snapshot.clone()), snapshot.clone()),
            (None, Some(file)) => (Source::File(file.clone()), format!("--from {}", file.display())),
            (None, None) => return Err(Failure::new(Exit::Usage, "no snapshot was named")),
        };
        let command = format!("restore {name} {word}");
        let ready = ready(Desk::open(common, name).await?).await?;
        nothing_open(&ready.journal, Some(&command))?;
        let instead = given_up(&ready.journal, &command).map_or_else(String::new, |open| {
            format!(
                "\n`{open}` was begun and has not come to its end: this takes its place, and nobody goes on with it."
            )
        });
        let what = format!(
            "stops every server of `{name}` and brings the cluster back to {word}: what was changed since is lost.\n\
             Servers that do not answer are left out. They must be off: one that comes back with its old data does not belong.{instead}"
        );
        Confirm { yes: self.yes, what: &what, command: &command }.ask(name, screen, stop).await?;
        let work = async |cx: &Context<'_>| restore(Fleet::of(cx)?, &source, &command).await;
        let restored = operate(ready, &command, screen, stop, work)
            .await
            .map_err(|failure| failure.hint(format!("sre-provision {command}   goes on where it was stopped")))?;
        screen
            .result(&text(name, &restored), &json!({ "event": "restored", "environment": name, "restored": restored }));
        Ok(())
    }
}

fn text(name: &str, restored: &Restored) -> String {
    let list = |nodes: &[_]| nodes.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
    let mut text = format!("{name} is back at {}\n  reset     {}", restored.snapshot, restored.first);
    if !restored.rejoined.is_empty() {
        text.push_str(&format!("\n  rejoined  {}", list(&restored.rejoined)));
    }
    if !restored.removed_nodes.is_empty() {
        text.push_str(&format!("\n  removed   {}", restored.removed_nodes.join(", ")));
    }
    text.push_str(&format!("\n  seen      {} nodes, {} namespaces", restored.nodes, restored.namespaces));
    if !restored.lost.is_empty() {
        text.push_str(&format!("\n  lost      {}: `sre-provision up {name}` makes them anew", list(&restored.lost)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::NodeName;

    #[test]
    fn what_was_lost_is_told_with_what_makes_it_anew() {
        let node = |name: &str| NodeName(name.to_owned());
        let restored = Restored {
            snapshot: "pre-1".to_owned(),
            first: node("server-1"),
            rejoined: vec![],
            lost: vec![node("server-2"), node("server-3")],
            removed_nodes: vec!["server-2".to_owned(), "server-3".to_owned()],
            nodes: 2,
            namespaces: 4,
        };

        assert_eq!(
            text("dev", &restored),
            "dev is back at pre-1\n  reset     server-1\n  removed   server-2, server-3\n  seen      2 nodes, 4 namespaces\n  \
             lost      server-2, server-3: `sre-provision up dev` makes them anew"
        );
    }
}
