//! How long S3 itself keeps an object from everybody, as its answer to a read tells in its headers.

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// Source: "GetObject", Amazon S3 API reference; told to whoever may `s3:GetObjectRetention`.
const UNTIL: &str = "x-amz-object-lock-retain-until-date";

/// Until when an object is retained, in S3's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retained(pub String);

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
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut answer = self.0.execute(request).await?;
        let until = answer.headers().get(UNTIL).and_then(|until| until.to_str().ok()).map(str::to_owned);
        if let Some(until) = until {
            answer.extensions_mut().insert(Retained(until));
        }
        Ok(answer)
    }
}
