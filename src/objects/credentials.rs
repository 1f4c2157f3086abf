//! The SDK's own chain of credentials, as `object_store` asks for them: profiles, SSO and jobs work as everywhere else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_sts::config::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;

/// Credentials that end sooner than this are asked for anew.
const LEFT: Duration = Duration::from_secs(300);

/// The credentials in use, and when they end.
type Known = (Arc<AwsCredential>, Option<SystemTime>);

#[derive(Debug)]
pub(super) struct Credentials {
    chain: SharedCredentialsProvider,
    known: Mutex<Option<Known>>,
}

impl Credentials {
    pub(super) fn of(chain: SharedCredentialsProvider) -> Self {
        Self { chain, known: Mutex::default() }
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().await;
        let lasts = |end: &Option<SystemTime>| end.is_none_or(|end| end > SystemTime::now() + LEFT);
        if let Some((credential, _)) = known.as_ref().filter(|(_, end)| lasts(end)) {
            return Ok(Arc::clone(credential));
        }
        let got = self
            .chain
            .provide_credentials()
            .await
            .map_err(|error| object_store::Error::Unauthenticated { path: String::new(), source: Box::new(error) })?;
        let credential = Arc::new(AwsCredential {
            key_id: got.access_key_id().to_owned(),
            secret_key: got.secret_access_key().to_owned(),
            token: got.session_token().map(str::to_owned),
        });
        *known = Some((Arc::clone(&credential), got.expiry()));
        Ok(credential)
    }
}
