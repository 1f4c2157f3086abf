//! The end of the journal as an object of a bucket that lets nobody take it back: one for each end that was told.

use uuid::Uuid;

use super::Anchor;
use super::anchor::{line, read_line};
use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::objects::{Objects, S3Objects};

/// Where the ends of an environment's journal are told.
fn dir(environment: Uuid) -> String {
    format!("anchors/{environment}/")
}

/// The mode in which nobody at all can take an object back before its time.
const FIRM: &str = "COMPLIANCE";

/// Writes an object of its own for this end, and asks S3 whether it keeps it; gives what should be known of how.
///
/// # Errors
/// Exit 1: it does not, so that whoever can write to the journal could rewrite this too; or it does not say so to us. Exit 4
/// or 6: it cannot be written.
pub async fn tell_s3(objects: &S3Objects, identity: &Identity, anchor: &Anchor) -> Result<Option<String>, Failure> {
    let key = format!("{}{:010}-{}.json", dir(identity.id), anchor.number, anchor.digest);
    // One that is there tells the same: its name has number and digest.
    objects.create(&key, &line(identity, anchor)?).await?;
    match objects.retained(&key).await? {
        Some(kept) if kept.mode.as_deref() == Some(FIRM) => Ok(None),
        Some(kept) => Ok(Some(format!(
            "the end of the journal is kept until {} in the mode {}, which some may end early: set the default retention of \
             the bucket of `audit.anchor.s3` to {FIRM}",
            kept.until,
            kept.mode.as_deref().unwrap_or("that S3 does not tell"),
        ))),
        None => Err(Failure::new(Exit::NotDone, "the end of the journal is not anchored")
            .because(format!("S3 does not say that it keeps `{}` from everybody", objects.place(&key)))
            .hint("turn on object lock with a default retention for the bucket of `audit.anchor.s3`")
            .hint("give who runs this the right s3:GetObjectRetention there")),
    }
}

/// What a bucket tells of an environment.
///
/// # Errors
/// It cannot be read, or one of its objects tells nothing.
pub async fn told_s3(objects: &dyn Objects, environment: Uuid) -> Result<Vec<Anchor>, Failure> {
    let mut anchors = Vec::new();
    for key in objects.list(&dir(environment)).await? {
        let Some(object) = objects.get(&key).await? else { continue };
        anchors.push(read_line(&object.bytes, environment).map_err(|cause| {
            Failure::new(Exit::NotDone, format!("cannot understand `{}`", objects.place(&key))).because(cause)
        })?);
    }
    Ok(anchors)
}
