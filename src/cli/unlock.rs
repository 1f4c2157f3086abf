//! `sre-provision unlock`: who holds an environment, and taking it over from a holder that is gone.
//!
//! On one machine there is nothing to unlock: the kernel takes a lock back when its holder ends. Where several machines share
//! the state, whoever was killed on another machine may have left something open of which nobody here can see whether it
//! still runs; then a person says that it does not.

use serde_json::json;

use super::Common;
use super::desk::{Desk, actor};
use crate::event::Outcome;
use crate::failure::{Exit, Failure};
use crate::journal::{Holder, Journal, Lease, Record, Word, Writer};
use crate::process::running;
use crate::report::Screen;

#[derive(Debug, clap::Args)]
pub struct Unlock {
    /// The environment
    environment: String,
    /// Take it over though nobody can see from here whether what was begun has ended: you know that it has
    #[arg(long)]
    take_over: bool,
}

impl Unlock {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let desk = Desk::open(common, &self.environment).await?;
        let word = if self.take_over { Word::Given } else { Word::None };
        let before = desk.home.holder().await?;
        if let Some(holder) = &before {
            screen.remark(&told(&self.environment, holder));
            if desk.home.shared().is_some() {
                screen.remark("looks whether it lives, for as long as its lease lasts");
            }
        }
        let lease = desk.home.lease_by(actor(), word).await?;
        if let [slot, ..] = &running(&desk.state.children())?[..] {
            return Err(Failure::new(
                Exit::Held,
                format!("`{slot}` of an earlier run still works on `{}`", self.environment),
            )
            .hint(format!("sre-provision up {}   follows it to its end", self.environment)));
        }
        let how = lease.how().to_owned();
        let gone = match desk.recorded_identity().await? {
            Some(identity) if how != "free" || self.take_over => {
                settle(desk.journal(&identity).await?, lease, &self.command()).await?
            }
            Some(_) | None => {
                lease.give_back().await?;
                vec![]
            }
        };
        let name = &self.environment;
        let text = match how.as_str() {
            "free" => format!("{name} is free"),
            how => format!("{name} is free now: {how}"),
        };
        let data = json!({ "event": "unlock", "environment": name, "held_by": before, "how": how, "gone": gone });
        screen.result(&text, &data);
        Ok(())
    }

    fn command(&self) -> String {
        let option = if self.take_over { " --take-over" } else { "" };
        format!("unlock {}{option}", self.environment)
    }
}

/// Writes down what was unlocked: a run of its own, in which the children of whoever is gone have ended. Gives their slots.
async fn settle(journal: Journal, lease: Lease, command: &str) -> Result<Vec<String>, Failure> {
    let writer = Writer::begin(journal, lease, command, None).await?;
    let open = writer.look(|memory| memory.open_children.clone());
    for id in open.keys() {
        writer.append(Record::ChildEnded { id: id.clone(), code: None, took: None }).await?;
    }
    writer.end(Outcome::Succeeded, None).await?;
    Ok(open.into_values().map(|child| child.slot).collect())
}

fn told(name: &str, holder: &Holder) -> String {
    format!("{name} is held by {}: {}", holder.actor, holder.doing())
}
