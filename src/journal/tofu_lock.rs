//! The lock that OpenTofu holds of a state in S3 while it works: an object beside the state, which stays when OpenTofu is
//! killed.
//!
//! Source: `use_lockfile` of the backend `s3`; the object's fields as OpenTofu 1.12.6 writes them.

use serde::Deserialize;

use super::Writer;
use crate::artifact::Kind;
use crate::failure::Failure;

/// The lock as OpenTofu wrote it, as far as we read it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TofuLock {
    #[serde(rename = "ID")]
    pub id: String,
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

        assert_eq!(lock, TofuLock { id: "ef73296c-5625-d31d-4adb-2a9d9cf43a7a".to_owned() });
    }
}
