//! What object lock asks of us and tells us, in headers that `object_store` does not know: the MD5 of what is written, and
//! until when S3 itself keeps an object from everybody.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// Where objects are locked, S3 takes none without it. Source: "PutObject", Amazon S3 API reference. It guards nothing here;
/// what we rely on is SHA-256.
const MD5: &str = "content-md5";

/// Source: "GetObject", Amazon S3 API reference; told to whoever may `s3:GetObjectRetention`.
const UNTIL: &str = "x-amz-object-lock-retain-until-date";

/// Told with it.
const MODE: &str = "x-amz-object-lock-mode";

/// How S3 keeps an object from everybody, in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    pub until: String,
    /// `COMPLIANCE`, or `GOVERNANCE`, which some are let around; absent where it is not told.
    pub mode: Option<String>,
}

/// The MD5 of what a request writes.
#[derive(Clone, Debug)]
pub(super) struct Written(String);

impl Written {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(BASE64.encode(Md5::digest(bytes)))
    }
}

/// The usual connections, whose answers carry what the crate does not read of them.
#[derive(Debug, Default)]
pub(super) struct Attentive(ReqwestConnector);

#[derive(Debug)]
struct Reading(HttpClient);

impl HttpConnector for Attentive {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Reading(self.0.connect(options)?)))
    }
}

#[async_trait]
impl HttpService for Reading {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(digest) = request.extensions().get::<Written>().and_then(|written| written.0.parse().ok()) {
            request.headers_mut().insert(MD5, digest);
        }
        let mut answer = self.0.execute(request).await?;
        let told = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(until) = told(UNTIL) {
            let mode = told(MODE);
            answer.extensions_mut().insert(Retained { until, mode });
        }
        Ok(answer)
    }
}
