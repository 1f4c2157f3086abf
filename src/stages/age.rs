//! How old an image may be: one that is older is made anew, and the nodes that were made from it keep it.

use jiff::{SignedDuration, Timestamp};

use crate::cloud::FoundImage;
use crate::units::Span;

/// Why an image is not used any more; `None` while it is young enough, or where the platform does not tell its age.
pub fn outdated(image: &FoundImage, most: Span, now: Timestamp) -> Option<String> {
    let built: Timestamp = image.created.parse().ok()?;
    is_past(built, most, now).then(|| format!("older than {most}: built {}", built.strftime("%Y-%m-%d %H:%MZ")))
}

/// Whether more than `most` has passed since then.
pub fn is_past(since: Timestamp, most: Span, now: Timestamp) -> bool {
    // A span that no duration can hold is never over.
    let most = SignedDuration::try_from(most.0).unwrap_or(SignedDuration::MAX);
    now.duration_since(since) > most
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MONTH: Span = Span(Duration::from_secs(30 * 86_400));

    fn built(created: &str) -> FoundImage {
        FoundImage {
            id: "ami-1".to_owned(),
            name: "sre-base-0123".to_owned(),
            owner: "123456789012".to_owned(),
            created: created.to_owned(),
            usable: true,
            tags: [].into(),
            snapshots: vec![],
        }
    }

    fn judged(created: &str, now: &str) -> Option<String> {
        outdated(&built(created), MONTH, now.parse().expect("a time"))
    }

    #[test]
    fn an_image_is_outdated_when_it_is_older_than_it_may_be_and_says_since_when() {
        let created = "2026-10-21T14:02:00.000Z";

        assert_eq!(judged(created, "2026-11-20T14:02:00Z"), None);
        assert_eq!(judged(created, "2026-11-20T14:02:01Z").as_deref(), Some("older than 30d: built 2026-10-21 14:02Z"));
    }

    #[test]
    fn an_image_whose_age_nobody_tells_or_that_is_of_tomorrow_stays() {
        assert_eq!(judged("", "2026-11-20T14:02:00Z"), None);
        assert_eq!(judged("2026-11-21T14:02:00Z", "2026-11-20T14:02:00Z"), None);
    }
}
