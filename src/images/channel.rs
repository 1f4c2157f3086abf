//! Channels: names that lead to an image, with all that they led to before.
//!
//! Each step of a channel is an object of its own, numbered and created once: of two that move it at the same time one is
//! refused, and nothing that was is ever overwritten. The last step is where it leads.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::shelf::Shelf;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Digest;
use crate::image_policy::is_channel;

/// An image that a channel leads to, in one account and region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: String,
    /// What stands for the image itself.
    pub content: Digest,
    /// The statement about it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// One step of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub version: u32,
    pub number: u32,
    pub at: Timestamp,
    pub by: String,
    pub why: String,
    pub fingerprint: String,
    /// By `account/region`.
    pub images: BTreeMap<String, Target>,
}

const VERSION: u32 = 1;

/// A channel with its steps, the first one first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    pub name: String,
    pub moves: Vec<Move>,
}

impl Channel {
    /// Where it leads.
    pub fn now(&self) -> Option<&Move> {
        self.moves.last()
    }

    /// Where it led before it came to where it is: the last step all of whose images are others. One that led to the same
    /// image in fewer regions is none.
    pub fn before(&self) -> Option<&Move> {
        let now = self.now()?;
        let ids: Vec<&str> = now.images.values().map(|target| target.id.as_str()).collect();
        self.moves.iter().rev().find(|one| one.images.values().all(|target| !ids.contains(&target.id.as_str())))
    }

    /// The ids that it leads to or led to just before, and may be rolled back to.
    pub fn needed(&self) -> Vec<&str> {
        let moves = self.now().into_iter().chain(self.before());
        moves.flat_map(|one| one.images.values().map(|target| target.id.as_str())).collect()
    }
}

/// # Errors
/// Exit 2: it cannot be the name of a channel.
pub fn check_channel(name: &str) -> Result<(), Failure> {
    if is_channel(name) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("`{name}` cannot be the name of a channel"))
        .because("a name has up to 32 lower-case letters, digits and dashes, and starts with a letter"))
}

impl Shelf {
    /// A channel with all its steps; one that was never moved has none.
    ///
    /// # Errors
    /// A step cannot be read, or one is missing.
    pub async fn channel(&self, name: &str) -> Result<Channel, Failure> {
        check_channel(name)?;
        let mut moves = Vec::new();
        for key in self.objects().list(&format!("channels/{name}/")).await? {
            let Some(object) = self.objects().get(&key).await? else { continue };
            let place = self.objects().place(&key);
            let damaged = |cause: &dyn std::fmt::Display| {
                Failure::new(Exit::NotDone, format!("the channel `{name}` cannot be read"))
                    .because(format!("`{place}`: {cause}"))
            };
            let one: Move = serde_json::from_slice(&object.bytes).map_err(|error| damaged(&error))?;
            if one.version != VERSION || one.number as usize != moves.len() + 1 {
                return Err(damaged(&format!("it is step {} of version {}", one.number, one.version)));
            }
            moves.push(one);
        }
        Ok(Channel { name: name.to_owned(), moves })
    }

    /// Every channel, by name.
    pub async fn channels(&self) -> Result<Vec<Channel>, Failure> {
        let keys = self.objects().list("channels/").await?;
        let mut names: Vec<&str> = keys.iter().filter_map(|key| key.split('/').nth(1)).collect();
        names.dedup();
        let mut channels = Vec::new();
        for name in names {
            channels.push(self.channel(name).await?);
        }
        Ok(channels)
    }

    /// Moves a channel on from where it was seen.
    ///
    /// # Errors
    /// Exit 8: somebody else has moved it meanwhile.
    pub async fn move_channel(&self, seen: &Channel, to: Move) -> Result<(), Failure> {
        let number = u32::try_from(seen.moves.len() + 1).unwrap_or(u32::MAX);
        let step = Move { version: VERSION, number, ..to };
        let bytes = serde_json::to_vec_pretty(&step).map_err(|error| Failure::bug("no JSON").because(error))?;
        let key = format!("channels/{}/{number:010}.json", seen.name);
        if self.objects().create(&key, &bytes).await?.is_some() {
            return Ok(());
        }
        // The answer to a first try may have been lost.
        if self.objects().get(&key).await?.is_some_and(|there| there.bytes == bytes) {
            return Ok(());
        }
        Err(Failure::new(Exit::Held, format!("the channel `{}` was moved by somebody else", seen.name))
            .class(Class::Conflict)
            .because(format!("step {number} is there already"))
            .hint("sre-provision images list   tells where it leads now"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::objects::MemoryObjects;

    fn step(id: &str) -> Move {
        let target = Target { id: id.to_owned(), content: Digest::of(id.as_bytes()), statement: None };
        Move {
            version: 0,
            number: 0,
            at: Timestamp::UNIX_EPOCH,
            by: "a.operator".to_owned(),
            why: "promote".to_owned(),
            fingerprint: String::new(),
            images: [("1/us-east-1".to_owned(), target)].into(),
        }
    }

    #[tokio::test]
    async fn a_channel_leads_to_its_last_step_and_remembers_all_others() {
        let shelf = Shelf::new(Arc::new(MemoryObjects::default()));
        for id in ["ami-1", "ami-2", "ami-2"] {
            let seen = shelf.channel("stable").await.expect("read");
            shelf.move_channel(&seen, step(id)).await.expect("moved");
        }

        let channel = shelf.channel("stable").await.expect("read");

        assert_eq!(channel.moves.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(channel.needed(), ["ami-2", "ami-1"]);
        assert_eq!(shelf.channels().await.expect("read"), [channel]);
    }

    #[tokio::test]
    async fn what_led_to_the_same_image_in_fewer_regions_or_by_another_statement_is_not_gone_back_to() {
        let shelf = Shelf::new(Arc::new(MemoryObjects::default()));
        let mut wide = step("ami-2");
        wide.images.extend(step("ami-9").images.into_values().map(|target| ("1/us-west-2".to_owned(), target)));
        let mut signed = wide.clone();
        signed.images.values_mut().for_each(|target| target.statement = Some("anew".to_owned()));
        for step in [step("ami-1"), step("ami-2"), wide, signed] {
            let seen = shelf.channel("stable").await.expect("read");
            shelf.move_channel(&seen, step).await.expect("moved");
        }

        let channel = shelf.channel("stable").await.expect("read");

        assert_eq!(channel.before().map(|one| one.number), Some(1));
        assert_eq!(channel.needed(), ["ami-2", "ami-9", "ami-1"]);
    }

    #[tokio::test]
    async fn of_two_who_move_it_at_once_one_is_refused() {
        let shelf = Shelf::new(Arc::new(MemoryObjects::default()));
        let seen = shelf.channel("stable").await.expect("read");
        shelf.move_channel(&seen, step("ami-1")).await.expect("moved");

        let failure = shelf.move_channel(&seen, step("ami-2")).await.expect_err("refused");

        assert_eq!((failure.exit(), failure.causes()[0].as_str()), (Exit::Held, "step 1 is there already"));
        assert_eq!(shelf.channel("stable").await.expect("read").needed(), ["ami-1"]);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for bad in ["", "../x", "Stable", "a/b", "-x"] {
            assert_eq!(check_channel(bad).expect_err(bad).exit(), Exit::Usage, "{bad}");
        }
    }
}
