//! What AWS's errors mean, in the words of what we were doing.

use std::any::Any;
use std::error::Error;
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use crate::failure::Failure;
use crate::refusal::Refusal;

/// Builds the failure of a call. `doing` says what we were doing, on what.
pub fn failure<E, R>(doing: impl Into<String>, error: SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: Send + Sync + std::fmt::Debug + 'static,
{
    let doing = doing.into();
    if let Some(service) = error.as_service_error() {
        let code = service.code().unwrap_or("no error code");
        let failure = refused(&doing, code, service.message().unwrap_or_default());
        return failure.not_before(asked_to_wait(error.raw_response()));
    }
    let chain = chain(&error);
    if chain.iter().any(|layer| is_about_credentials(layer)) {
        let deepest = chain.last().map_or("", String::as_str);
        let is_expired = chain.iter().any(|layer| layer.to_ascii_lowercase().contains("expired"));
        return if is_expired { expired(&doing) } else { no_credentials(&doing) }.because(deepest);
    }
    if matches!(error, SdkError::ConstructionFailure(_)) {
        return Failure::bug(format!("{doing}: the request could not be written")).because(chain.join(": "));
    }
    let deepest = chain.last().map_or("", String::as_str);
    if deepest.contains("Name or service not known") {
        return Refusal::Unnamed.failure(format!("{doing}: AWS cannot be reached")).because(deepest);
    }
    Refusal::Silent.failure(format!("{doing}: AWS cannot be reached, or did not answer")).because(deepest)
}

/// How long the service asked to be left alone: in milliseconds where AWS says it, in seconds where a proxy does.
fn asked_to_wait<R: Any>(answer: Option<&R>) -> Option<Duration> {
    let answer = (answer? as &dyn Any).downcast_ref::<HttpResponse>()?;
    let number = |name: &str| answer.headers().get(name)?.trim().parse::<u64>().ok();
    number("x-amz-retry-after").map(Duration::from_millis).or(number("retry-after").map(Duration::from_secs))
}

/// The error code that the service answered with.
pub fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// Whether the answer says that what was asked for does not exist.
pub fn is_gone<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error).is_some_and(|code| Refusal::of(code) == Refusal::Gone)
}

/// Whether the answer says that something else still needs it.
pub fn is_busy<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error).is_some_and(|code| Refusal::of(code) == Refusal::Busy)
}

/// Nothing proves who we are.
pub fn no_credentials(doing: &str) -> Failure {
    Refusal::Credentials.failure(format!("{doing}: no usable AWS credentials"))
}

/// What proved who we are does so no more.
fn expired(doing: &str) -> Failure {
    Refusal::Expired.failure(format!("{doing}: the AWS credentials have expired"))
}

fn refused(doing: &str, code: &str, message: &str) -> Failure {
    let refusal = Refusal::of(code);
    let what = match refusal {
        Refusal::Throttled => "AWS throttles this account's calls",
        Refusal::Capacity => "AWS has no room for this machine now",
        Refusal::Zone => "AWS does not offer this machine in this zone",
        Refusal::Quota => "a quota of this account is used up",
        Refusal::Credentials => "no usable AWS credentials",
        Refusal::Expired => "the AWS credentials have expired",
        Refusal::Right => "these credentials do not have the right",
        Refusal::Busy => "something else still uses it",
        Refusal::Taken => "something of this name exists",
        Refusal::Inside | Refusal::Silent => "AWS failed by itself",
        Refusal::Gone => "it does not exist",
        Refusal::Other | Refusal::Unnamed | Refusal::Untrusted => "AWS refused it",
    };
    refusal.failure(format!("{doing}: {what}")).because(cause(code, message))
}

/// Code and message, without the encoded attachment that only AWS can read.
fn cause(code: &str, message: &str) -> String {
    let message = message.split(" Encoded authorization failure message").next().unwrap_or_default();
    if message.is_empty() { code.to_owned() } else { format!("{code}: {}", message.trim_end_matches('.')) }
}

fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut layers = vec![];
    let mut next = Some(error);
    while let Some(layer) = next {
        layers.push(layer.to_string());
        next = layer.source();
    }
    layers
}

fn is_about_credentials(layer: &str) -> bool {
    let layer = layer.to_ascii_lowercase();
    ["credential", "identity", "sso token", "profile"].iter().any(|word| layer.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Class, Exit};

    fn told(code: &str, message: &str) -> (Exit, Class, String) {
        let failure = refused("starting `server-1`", code, message);
        (failure.exit(), failure.kind(), failure.to_string())
    }

    #[test]
    fn what_aws_has_no_room_for_needs_a_person_and_expired_credentials_are_gone_on_from() {
        let (_, capacity, text) = told("InsufficientInstanceCapacity", "We currently do not have sufficient capacity");
        let (exit, expired, _) = told("ExpiredToken", "The security token included in the request is expired");

        assert!(text.starts_with("starting `server-1`: AWS has no room for this machine now: Insufficient"), "{text}");
        assert_eq!((capacity, exit, expired), (Class::NeedsPerson, Exit::Missing, Class::Cancelled));
    }

    #[test]
    fn a_service_that_says_how_long_to_wait_is_heard_in_its_own_unit() {
        let answer = |name: &'static str, value: &'static str| {
            let mut answer = HttpResponse::new(503.try_into().expect("a status"), "".into());
            answer.headers_mut().insert(name, value);
            asked_to_wait(Some(&answer))
        };

        assert_eq!(answer("x-amz-retry-after", "1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(answer("retry-after", "20"), Some(Duration::from_secs(20)));
        assert_eq!(answer("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(asked_to_wait(Some(&"no answer of HTTP")), None);
    }

    #[test]
    fn the_cause_is_the_services_own_code_and_message() {
        let (_, _, text) = told(
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. Encoded authorization failure message: 4xk…",
        );

        assert_eq!(
            text,
            "starting `server-1`: these credentials do not have the right: \
             UnauthorizedOperation: You are not authorized to perform this operation"
        );
    }

    #[test]
    fn a_service_that_cannot_be_reached_is_worth_another_try() {
        let error: SdkError<aws_sdk_ec2::Error, ()> = SdkError::timeout_error("no answer within 20 s");

        let failure = failure("asking for machines", error);

        assert_eq!((failure.exit(), failure.kind()), (Exit::Platform, Class::Transient));
        assert_eq!(
            failure.to_string(),
            "asking for machines: AWS cannot be reached, or did not answer: no answer within 20 s"
        );
    }
}
