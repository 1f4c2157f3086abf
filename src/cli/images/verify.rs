//! `sre-provision images verify`: whether somebody who is trusted vouches for an image, and what was measured on it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::list::measured;
use super::site::{Site, judging};
use super::survey::standing;
use crate::cli::Common;
use crate::cloud::{FoundImage, Tags};
use crate::failure::{Exit, Failure};
use crate::identity::TAG_IMAGE;
use crate::images::Standing;
use crate::report::{Screen, table};

#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The image by its id; without it every image of ours
    image: Option<String>,
    /// Only where this environment leads
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Vec<String>,
    /// The public key of whoever signs, PEM; without it those of the environment files
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
}

/// An image and where it stands.
struct Line {
    image: FoundImage,
    region: String,
    standing: Standing,
}

impl Verify {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let workspace = common.open()?;
        let sites = judging(common, &workspace, &self.environment, &self.trust).await?;
        let mut lines = Vec::new();
        for site in &sites {
            lines.extend(self.lines(site).await?);
        }
        if let Some(image) = self.image.as_ref().filter(|_| lines.is_empty()) {
            return Err(Failure::new(Exit::Platform, format!("there is no image `{image}` of ours"))
                .hint("sre-provision images list   tells which there are"));
        }
        conclude(&lines, screen)
    }

    async fn lines(&self, site: &Site) -> Result<Vec<Line>, Failure> {
        let found = match &self.image {
            Some(id) => site.cloud.image(id).await?.into_iter().collect(),
            None => site.cloud.own_images(&Tags::new()).await?,
        };
        let now = Timestamp::now();
        let mut lines = Vec::new();
        for image in found.into_iter().filter(|image| image.tags.contains_key(TAG_IMAGE)) {
            let standing = standing(site, &image, now).await?;
            lines.push(Line { image, region: site.account.region.clone(), standing });
        }
        Ok(lines)
    }
}

/// # Errors
/// Exit 1: nobody vouches for one of them, or not enough was measured.
fn conclude(lines: &[Line], screen: Screen) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let faults = line.standing.faults();
            let what = if faults.is_empty() { proof(&line.standing) } else { faults.join("; ") };
            vec![line.image.id.clone(), line.standing.to_string(), what]
        })
        .collect();
    let text = if rows.is_empty() { "there are no images".to_owned() } else { table(&rows) };
    let images: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({ "id": line.image.id, "region": line.region, "standing": line.standing.word(),
                "why": line.standing.faults(), "gate": line.standing.gate().map(measured) })
        })
        .collect();
    screen.result(&text, &json!({ "event": "images-verified", "images": images }));
    let bad: Vec<&Line> = lines.iter().filter(|line| !matches!(line.standing, Standing::Proven(_))).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = bad.iter().map(|line| line.image.id.as_str()).collect();
    let failure = Failure::new(
        Exit::NotDone,
        format!("{} of {} images are not proven: {}", bad.len(), lines.len(), named.join(", ")),
    );
    let faults =
        bad.iter().flat_map(|line| line.standing.faults().into_iter().map(|why| format!("{}: {why}", line.image.id)));
    Err(faults.fold(failure, Failure::because))
}

/// `FIPS, 94 % of stig, 312 packages, until 2026-12-20`.
fn proof(standing: &Standing) -> String {
    let Some(gate) = standing.gate() else { return String::new() };
    let fips = if gate.fips.kernel { "FIPS" } else { "no FIPS" }.to_owned();
    let profile = gate.profile.as_ref().map(|profile| format!("{} % of {}", profile.percent(), profile.name));
    let rest = [format!("{} packages", gate.packages), format!("until {}", gate.expires.strftime("%Y-%m-%d"))];
    std::iter::once(fips).chain(profile).chain(rest).collect::<Vec<_>>().join(", ")
}
