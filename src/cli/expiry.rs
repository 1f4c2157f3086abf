//! `sre-provision expiry`: when an ephemeral environment may be reaped, and giving it more time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::status::expires;
use crate::cloud::{Tags, Thing, ThingKind, Whose};
use crate::environment::EnvironmentClass;
use crate::event::Outcome;
use crate::failure::{Exit, Failure};
use crate::identity::{Identity, TAG_EXPIRES, tag_of};
use crate::journal::{Record, Writer};
use crate::report::{Screen, moment};
use crate::units::Span;

/// The fact that tells until when an environment was extended.
const EXPIRES: &str = "expires";

#[derive(Debug, clap::Args)]
pub struct ExpiryArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show when the environment may be reaped
    Show { environment: String },
    /// Give the environment more time, from when it would have ended or from now, whichever is later
    Extend {
        environment: String,
        /// Such as `24h` or `7d`
        by: Span,
    },
}

impl ExpiryArgs {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        match self.what {
            What::Show { environment } => {
                let identity = Desk::open(common, &environment).await?.made_identity().await?;
                tell(&identity, Timestamp::now(), screen);
                Ok(())
            }
            What::Extend { environment, by } => {
                let desk = Desk::open(common, &environment).await?;
                let identity = extend(&desk, by, screen).await?;
                tell(&identity, Timestamp::now(), screen);
                Ok(())
            }
        }
    }
}

fn tell(identity: &Identity, now: Timestamp, screen: Screen) {
    let text = match identity.expires {
        None => format!("{} has no end: its class is {}", identity.name, identity.class.word()),
        Some(at) => {
            format!("{} expires {} ({})", identity.name, moment(at, &TimeZone::UTC), expires(identity, now))
        }
    };
    screen.result(
        &text,
        &json!({
            "event": "expiry",
            "environment": identity.name,
            "id": identity.id,
            "class": identity.class.word(),
            "expires": identity.expires,
            "expired": identity.expires.is_some_and(|at| at <= now),
        }),
    );
}

/// Moves the end: in the tags of everything first, then in the identity. `reap` takes nothing away before both are over,
/// and whoever was stopped in between and asks again for the same time gets the same end.
async fn extend(desk: &Desk, by: Span, screen: Screen) -> Result<Identity, Failure> {
    let name = &desk.env.name;
    desk.made_identity().await?;
    let lease = desk.lease().await?;
    // Under the lease: who held it before may have moved the end.
    let mut identity = desk.made_identity().await?;
    let until = later(&identity, by, Timestamp::now())?;
    let (cloud, _) = desk.cloud(Some(&identity)).await?;
    let journal = desk.journal(&identity).await?;
    let writer = Writer::begin(journal, lease, &format!("expiry extend {name} {by}"), None).await?;
    let fact = Record::Fact { name: EXPIRES.to_owned(), value: json!(until) };
    writer.append(fact).await?;
    let moved = async {
        let things = cloud.things(&tag_of(identity.id)).await?;
        let ids: Vec<String> = things.into_iter().filter(carries_tags).map(|thing| thing.id).collect();
        cloud.tag(&ids, &Tags::from([(TAG_EXPIRES.to_owned(), until.to_string())])).await?;
        identity.expires = Some(until);
        desk.home.keep_identity(&identity).await
    };
    let moved = moved.await;
    let why = moved.as_ref().err().map(ToString::to_string);
    let end = writer.end(Outcome::of(&moved), why).await?;
    let anchored = desk.anchor(&identity, &end, screen).await;
    moved.and(anchored).map(|()| identity)
}

/// The new end.
///
/// # Errors
/// Only an ephemeral environment has an end.
fn later(identity: &Identity, by: Span, now: Timestamp) -> Result<Timestamp, Failure> {
    let name = &identity.name;
    let Some(end) = identity.expires.filter(|_| identity.class == EnvironmentClass::Ephemeral) else {
        return Err(Failure::new(Exit::NotDone, format!("`{name}` has no end that could be moved"))
            .because(format!("its class is {}", identity.class.word())));
    };
    end.max(now)
        .checked_add(by.0)
        .map_err(|error| Failure::new(Exit::Usage, format!("`{name}` cannot be extended by {by}")).because(error))
}

/// Whether a thing of ours has tags that its platform lets us set by its id.
fn carries_tags(thing: &Thing) -> bool {
    let by_id = match thing.kind {
        ThingKind::Role | ThingKind::InstanceProfile | ThingKind::LogGroup | ThingKind::KeyPair => false,
        // Images are shared, and of a listener nobody has looked at the tags.
        ThingKind::Image | ThingKind::Snapshot | ThingKind::Listener => false,
        // A vCenter's rules and tags carry none.
        ThingKind::Rule | ThingKind::Tag | ThingKind::TagCategory => false,
        ThingKind::LoadBalancer
        | ThingKind::TargetGroup
        | ThingKind::Machine
        | ThingKind::Folder
        | ThingKind::NatGateway
        | ThingKind::Endpoint
        | ThingKind::FlowLog
        | ThingKind::NetworkInterface
        | ThingKind::Volume
        | ThingKind::Address
        | ThingKind::InternetGateway
        | ThingKind::RouteTable
        | ThingKind::SecurityGroup
        | ThingKind::Subnet
        | ThingKind::Vpc => true,
    };
    by_id && thing.whose == Whose::Ours
}
