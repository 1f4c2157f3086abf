//! `sre-provision images list`: every image of ours, with its lineage, age, standing and who needs it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::site::{meant, sites};
use super::survey::{add_uses, channels, images, made};
use crate::cli::Common;
use crate::failure::Failure;
use crate::images::{Entry, Gate, Use};
use crate::report::{Screen, ago, table};

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only what these environments lead to; without them all of the workspace
    #[arg(value_name = "ENVIRONMENT")]
    environments: Vec<String>,
}

impl List {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let workspace = common.open()?;
        let names = meant(&workspace, &self.environments)?;
        let now = Timestamp::now();
        let (sites, mut unread) = sites(common, &workspace, &names).await;
        let mut entries = Vec::new();
        let channels = channels(&sites).await?;
        for site in &sites {
            match images(site, &channels, now).await {
                Ok(found) => entries.extend(found),
                Err(failure) => unread.push(failure.of(&site.account.region)),
            }
        }
        let (environments, more) = made(&workspace).await?;
        // What of them could not be read was told with their places.
        unread.extend(
            more.into_iter()
                .filter(|failure| unread.iter().all(|told| told.what() != failure.what()))
                .collect::<Vec<_>>(),
        );
        for one in &environments {
            if let Err(failure) = add_uses(&mut entries, one).await {
                unread.push(failure.of(&one.identity.name));
            }
        }
        tell(&entries, &unread, now, screen);
        unread.into_iter().next().map_or(Ok(()), Err)
    }
}

fn tell(entries: &[Entry], unread: &[Failure], now: Timestamp, screen: Screen) {
    for failure in unread {
        screen.remark(&format!("not looked at: {failure}"));
    }
    let text = if entries.is_empty() { "there are no images".to_owned() } else { table(&rows(entries, now)) };
    let images: Vec<Value> = entries.iter().map(|entry| data(entry, now)).collect();
    let not_looked_at: Vec<String> = unread.iter().map(ToString::to_string).collect();
    screen.result(&text, &json!({ "event": "images", "images": images, "not_looked_at": not_looked_at }));
}

fn rows(entries: &[Entry], now: Timestamp) -> Vec<Vec<String>> {
    let head = ["IMAGE", "KIND", "AGE", "FINGERPRINT", "FROM", "RKE2", "CHANNEL", "STATEMENT", "USED BY"];
    let cells = entries.iter().map(|entry| {
        let print: String = entry.fingerprint.chars().take(12).collect();
        let kind =
            if entry.state == "ready" { entry.which.clone() } else { format!("{} {}", entry.which, entry.state) };
        let cells = [
            entry.id.clone(),
            kind,
            age(entry, now),
            print,
            entry.lineage.join(" → "),
            entry.rke2.clone().unwrap_or_default(),
            entry.channels.join(", "),
            standing(entry),
            users(&entry.uses),
        ];
        cells.map(|cell| if cell.is_empty() { "–".to_owned() } else { cell }).to_vec()
    });
    std::iter::once(head.map(str::to_owned).to_vec()).chain(cells).collect()
}

fn age(entry: &Entry, now: Timestamp) -> String {
    let passed = entry.built.and_then(|built| std::time::Duration::try_from(now.duration_since(built)).ok());
    passed.map(ago).unwrap_or_default()
}

/// `proven 94 %`, `expired`, `absent`.
fn standing(entry: &Entry) -> String {
    let percent = entry.standing.gate().and_then(|gate| gate.profile.as_ref()).map(|profile| profile.percent());
    let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
    format!("{}{percent}", entry.standing)
}

/// `2 machines, dev: node-image, channel stable`.
fn users(uses: &[Use]) -> String {
    let machines = uses.iter().filter(|one| matches!(one, Use::Machine { .. })).count();
    let machines = match machines {
        0 => None,
        1 => Some("1 machine".to_owned()),
        more => Some(format!("{more} machines")),
    };
    let others = uses.iter().filter(|one| !matches!(one, Use::Machine { .. })).map(ToString::to_string);
    machines.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// An image for programs.
pub fn data(entry: &Entry, now: Timestamp) -> Value {
    let seconds = entry.built.map(|built| now.duration_since(built).as_secs());
    json!({
        "id": entry.id, "name": entry.name, "account": entry.at.account, "region": entry.at.region,
        "kind": entry.which, "state": entry.state, "built": entry.built, "age_seconds": seconds,
        "fingerprint": entry.fingerprint, "lineage": entry.lineage, "rke2": entry.rke2,
        "environment": entry.environment, "snapshots": entry.snapshots, "channels": entry.channels,
        "statement": { "standing": entry.standing.word(), "why": entry.standing.faults(),
            "gate": entry.standing.gate().map(measured) },
        "used_by": entry.uses,
    })
}

/// What was measured, with its score.
pub fn measured(gate: &Gate) -> Value {
    let mut value = json!(gate);
    if let Some(profile) = &gate.profile {
        value["profile"]["percent"] = json!(profile.percent());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_counted_and_everybody_else_is_named() {
        let machine = |id: &str| Use::Machine { machine: id.to_owned(), name: String::new() };
        let journal = Use::Journal { environment: "dev".to_owned(), stage: "node-image".to_owned() };
        let channel = Use::Channel { channel: "stable".to_owned() };

        assert_eq!(users(&[]), "");
        assert_eq!(
            users(&[machine("i-1"), journal, machine("i-2"), channel]),
            "2 machines, dev: node-image, channel stable"
        );
        assert_eq!(users(&[machine("i-1")]), "1 machine");
    }
}
