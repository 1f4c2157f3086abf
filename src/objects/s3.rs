//! Objects in a bucket of S3, or of a store that speaks as it does and knows conditional writes.
//!
//! `If-None-Match: *` creates, `If-Match` replaces. A 412 is an answer, a 409 (two conditional writes at the same time) is
//! repeated, and so is a call of which nobody knows what became of it: the second one is refused where the first was done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutResult, RetryConfig,
    UpdateVersion,
};

use super::credentials::Credentials;
use super::errors::{failure, is_no_bucket};
use super::retention::{Attentive, Retained, Written};
use super::{Object, Objects, Tag};
use crate::failure::{Exit, Failure};

/// How often a call is made whose outcome stays unknown.
const TRIES: u32 = 4;

/// Where in S3 objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    /// Of every key, without a slash at its end; may be empty.
    pub prefix: String,
    pub region: String,
    pub partition: String,
    /// Instead of AWS's own (`AWS_ENDPOINT_URL_S3`); where there is none the SDK's chain is asked for one.
    pub endpoint: Option<String>,
}

/// Objects below the prefix of a bucket.
#[derive(Debug)]
pub struct S3Objects {
    store: AmazonS3,
    bucket: Bucket,
}

impl S3Objects {
    /// Finds credentials and the endpoint; asks S3 nothing yet.
    ///
    /// # Errors
    /// Exit 4: there are no credentials.
    pub async fn connect(bucket: Bucket) -> Result<Self, Failure> {
        let region = Region::new(bucket.region.clone());
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).region(region).load().await;
        let doing = format!("cannot reach the bucket `{}`", bucket.name);
        let chain = config.credentials_provider().ok_or_else(|| {
            Failure::new(Exit::Missing, &doing).because("no credentials").hint("choose credentials with AWS_PROFILE")
        })?;
        let endpoint = bucket.endpoint.clone().or_else(|| config.endpoint_url().map(str::to_owned));
        let is_fips = config.use_fips().unwrap_or_default();
        let store = build(&bucket, endpoint, is_fips, Credentials::of(chain))
            .map_err(|error| Failure::new(Exit::Missing, doing).because(error))?;
        Ok(Self { store, bucket })
    }

    /// Whether and how S3 itself keeps an object from everybody; `None` where it does not, or does not tell us.
    pub async fn retained(&self, key: &str) -> Result<Option<Retained>, Failure> {
        let got = self.store.get(&self.path(key)).await;
        let got = got.map_err(|error| failure("read", &self.place(key), &error))?;
        Ok(got.extensions.get::<Retained>().cloned())
    }

    fn key(&self, key: &str) -> String {
        if self.bucket.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.bucket.prefix) }
    }

    fn path(&self, key: &str) -> Path {
        Path::from(self.key(key))
    }

    /// Puts under a condition; `None` where it does not hold.
    async fn put(&self, key: &str, bytes: &[u8], mode: &PutMode) -> Result<Option<Tag>, Failure> {
        let path = self.path(key);
        let mut unknown = None;
        for _ in 0..TRIES {
            let mut options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            options.extensions.insert(Written::of(bytes));
            match self.store.put_opts(&path, bytes.to_vec().into(), options).await {
                Ok(put) => return self.tag_of(key, put).await,
                Err(error) if is_no_bucket(&error) => return Err(failure("write", &self.place(key), &error)),
                Err(Error::Precondition { .. }) => return Ok(None),
                // Either somebody was there before, or two came at once (409) and perhaps neither was served.
                Err(error @ Error::AlreadyExists { .. }) => match self.get(key).await? {
                    Some(_) => return Ok(None),
                    None => unknown = Some(error),
                },
                Err(error @ (Error::PermissionDenied { .. } | Error::Unauthenticated { .. })) => {
                    return Err(failure("write", &self.place(key), &error));
                }
                Err(error) => unknown = Some(error),
            }
        }
        Err(unknown
            .map_or_else(|| Failure::bug("nothing was tried"), |error| failure("write", &self.place(key), &error)))
    }

    /// The tag of what was put; a store that does not tell it is asked.
    async fn tag_of(&self, key: &str, put: PutResult) -> Result<Option<Tag>, Failure> {
        match put.e_tag {
            Some(tag) => Ok(Some(Tag(tag))),
            None => Ok(self.get(key).await?.map(|there| there.tag)),
        }
    }
}

fn build(
    bucket: &Bucket,
    endpoint: Option<String>,
    is_fips: bool,
    credentials: Credentials,
) -> object_store::Result<AmazonS3> {
    let options = ClientOptions::new()
        .with_timeout(Duration::from_secs(15))
        .with_connect_timeout(Duration::from_secs(5))
        .with_allow_http(endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")));
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(20) };
    let own = own_endpoint(bucket, is_fips);
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        // By path: it works with every name, certificate and endpoint.
        .with_virtual_hosted_style_request(false)
        .with_endpoint(endpoint.unwrap_or(own))
        .with_client_options(options)
        .with_retry(retry)
        .with_disable_bulk_delete(true)
        // S3 checks what arrives; where objects are locked it insists on it.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_http_connector(Attentive::default())
        .with_credentials(Arc::new(credentials));
    builder.build()
}

/// Source: "Amazon S3 endpoints and quotas", AWS General Reference.
fn own_endpoint(bucket: &Bucket, is_fips: bool) -> String {
    let service = if is_fips { "s3-fips" } else { "s3" };
    let domain = if bucket.partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{}.{domain}", bucket.region)
}

#[async_trait]
impl Objects for S3Objects {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Option<Tag>, Failure> {
        self.put(key, bytes, &PutMode::Create).await
    }

    async fn replace(&self, key: &str, bytes: &[u8], seen: &Tag) -> Result<Option<Tag>, Failure> {
        let seen = UpdateVersion { e_tag: Some(seen.0.clone()), version: None };
        self.put(key, bytes, &PutMode::Update(seen)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let refused = |error: &Error| failure("read", &self.place(key), error);
        let mut unknown = None;
        // Asked again as a whole: an answer may be cut in the middle of its body.
        for _ in 0..TRIES {
            let got = match self.store.get(&self.path(key)).await {
                Ok(got) => got,
                Err(Error::NotFound { source, path }) => {
                    let error = Error::NotFound { source, path };
                    return if is_no_bucket(&error) { Err(refused(&error)) } else { Ok(None) };
                }
                Err(error) => return Err(refused(&error)),
            };
            let tag = got.meta.e_tag.clone().unwrap_or_default();
            match got.bytes().await {
                Ok(bytes) => return Ok(Some(Object { bytes: bytes.to_vec(), tag: Tag(tag) })),
                Err(error) => unknown = Some(error),
            }
        }
        Err(unknown.map_or_else(|| Failure::bug("nothing was tried"), |error| refused(&error)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let listed = self.store.list(Some(&self.path(prefix))).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|error| failure("list", &self.place(prefix), &error))?;
        let above = self.key("");
        let keys = listed.iter().filter_map(|meta| meta.location.as_ref().strip_prefix(above.as_str()));
        let mut keys: Vec<String> = keys.map(str::to_owned).collect();
        keys.sort();
        Ok(keys)
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.store.delete(&self.path(key)).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error, Error::NotFound { .. }) && !is_no_bucket(&error) => Ok(()),
            Err(error) => Err(failure("remove", &self.place(key), &error)),
        }
    }

    fn place(&self, key: &str) -> String {
        format!("s3://{}/{}", self.bucket.name, self.key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(partition: &str, region: &str) -> Bucket {
        let (partition, region) = (partition.to_owned(), region.to_owned());
        Bucket { name: "acme-state".to_owned(), prefix: "dev".to_owned(), region, partition, endpoint: None }
    }

    #[test]
    fn each_partition_has_its_endpoint() {
        assert_eq!(own_endpoint(&bucket("aws", "eu-central-1"), false), "https://s3.eu-central-1.amazonaws.com");
        assert_eq!(
            own_endpoint(&bucket("aws-us-gov", "us-gov-west-1"), true),
            "https://s3-fips.us-gov-west-1.amazonaws.com"
        );
        assert_eq!(own_endpoint(&bucket("aws-cn", "cn-north-1"), false), "https://s3.cn-north-1.amazonaws.com.cn");
    }
}
