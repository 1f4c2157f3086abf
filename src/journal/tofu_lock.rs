//! The lock that OpenTofu holds of a state in S3 while it works: an object beside the state, which stays when OpenTofu is
//! killed.
//!
//! Source: `use_lockfile` of the backend `s3`; the object's fields as OpenTofu 1.12.6 writes them.

use jiff::Timestamp;
use rustix::system::uname;
use serde::Deserialize;

use super::Writer;
use crate::artifact::Kind;
use crate::failure::Failure;

/// The lock as OpenTofu wrote it, as far as we read it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TofuLock {
    #[serde(rename = "ID")]
    pub id: String,
    /// `root@vm`: the user and the machine that OpenTofu runs on.
    #[serde(rename = "Who")]
    pub who: String,
    #[serde(rename = "Created")]
    pub created: Timestamp,
}

impl TofuLock {
    /// Whether a child that was started then on this machine may have made it.
    pub fn may_be_of(&self, started: Timestamp) -> bool {
        let here = uname();
        let is_here = self.who.rsplit('@').next() == here.nodename().to_str().ok();
        is_here && self.created >= started
    }
}

impl Writer {
    /// The lock of a stage's state as it lies there now; none where the state is not shared, and none that cannot be read
    /// as one: it is nobody's that we could tell.
    pub async fn tofu_lock(&self, stage: Kind) -> Result<Option<TofuLock>, Failure> {
        let Some(tenure) = self.lease().tenure() else { return Ok(None) };
        let key = format!("{}/tofu/{stage}.tfstate.tflock", self.environment());
        let lock = tenure.objects().get(&key).await?;
        Ok(lock.and_then(|lock| serde_json::from_slice(&lock.bytes).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_by_its_id() {
        let text = r#"{"ID":"ef73296c-5625-d31d-4adb-2a9d9cf43a7a","Operation":"OperationTypeApply","Info":"",
            "Who":"root@vm","Version":"1.12.6","Created":"2026-11-30T07:58:15.818908782Z","Path":"state/dev/x.tfstate"}"#;

        let lock: TofuLock = serde_json::from_str(text).expect("a lock");

        assert_eq!(lock.id, "ef73296c-5625-d31d-4adb-2a9d9cf43a7a");
        assert_eq!(lock.created, Timestamp::from_nanosecond(1_796_025_495_818_908_782).expect("a time"));
    }

    #[test]
    fn a_lock_of_another_machine_or_from_before_the_child_is_not_the_childs() {
        let started = Timestamp::from_second(1_790_000_000).expect("a time");
        let lock = |who: &str, second: i64| TofuLock {
            id: "one".to_owned(),
            who: who.to_owned(),
            created: Timestamp::from_second(second).expect("a time"),
        };
        let here = format!("root@{}", uname().nodename().to_string_lossy());

        assert!(lock(&here, 1_790_000_001).may_be_of(started));
        assert!(!lock(&here, 1_789_999_999).may_be_of(started));
        assert!(!lock("root@elsewhere.example", 1_790_000_001).may_be_of(started));
    }
}
