//! What AWS's errors mean: whether to try again, who can help, what to type.
//!
//! The names are those of the services' own error lists; EC2 and the newer services spell the same thing differently.

use std::error::Error;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use crate::failure::{Class, Exit, Failure};

/// What a kind of error asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Throttled,
    Capacity,
    Quota,
    Credentials,
    Right,
    Gone,
    Busy,
    Inside,
    Refused,
}

/// Builds the failure of a call. `doing` says what we were doing, on what.
pub fn failure<E, R>(doing: impl Into<String>, error: SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: Send + Sync + std::fmt::Debug + 'static,
{
    let doing = doing.into();
    if let Some(service) = error.as_service_error() {
        let code = service.code().unwrap_or("no error code");
        return refused(&doing, code, service.message().unwrap_or_default());
    }
    let chain = chain(&error);
    if chain.iter().any(|layer| is_about_credentials(layer)) {
        return no_credentials(&doing).because(chain.last().map_or("", String::as_str));
    }
    if matches!(error, SdkError::ConstructionFailure(_)) {
        return Failure::bug(format!("{doing}: the request could not be written")).because(chain.join(": "));
    }
    Failure::new(Exit::Platform, format!("{doing}: AWS cannot be reached, or did not answer"))
        .because(chain.last().map_or("", String::as_str))
        .transient()
        .hint("check `aws.region`, the network and the proxy of this machine, and AWS_ENDPOINT_URL if it is set")
}

/// The error code that the service answered with.
pub fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// Whether the answer says that what was asked for does not exist.
pub fn is_gone<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error).is_some_and(|code| verdict(code) == Verdict::Gone)
}

/// Whether the answer says that something else still needs it.
pub fn is_busy<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error).is_some_and(|code| verdict(code) == Verdict::Busy)
}

/// Nothing proves who we are.
pub fn no_credentials(doing: &str) -> Failure {
    Failure::new(Exit::Missing, format!("{doing}: no usable AWS credentials"))
        .class(Class::NeedsPerson)
        .hint("log in (`aws sso login`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
}

fn refused(doing: &str, code: &str, message: &str) -> Failure {
    let told = cause(code, message);
    let platform = |what: &str| Failure::new(Exit::Platform, format!("{doing}: {what}")).because(&told);
    match verdict(code) {
        Verdict::Throttled => {
            platform("AWS throttles this account's calls").transient().hint("repeat it in some minutes")
        }
        Verdict::Capacity => platform("AWS has no room for this machine now")
            .transient()
            .hint("repeat it later, or choose another size or region in the environment file"),
        Verdict::Quota => platform("a quota of this account is used up")
            .class(Class::NeedsPerson)
            .hint("ask AWS for more (Service Quotas), or remove what is not needed any more"),
        Verdict::Credentials => no_credentials(doing).because(&told),
        Verdict::Right => Failure::new(Exit::Missing, format!("{doing}: these credentials do not have the right"))
            .class(Class::NeedsPerson)
            .because(&told)
            .hint("docs/aws-iam-policy.json lists the rights that are needed"),
        Verdict::Busy => platform("something else still uses it").class(Class::Conflict),
        Verdict::Inside => platform("AWS failed by itself").transient(),
        Verdict::Gone => platform("it does not exist"),
        Verdict::Refused => platform("AWS refused it"),
    }
}

/// Code and message, without the encoded attachment that only AWS can read.
fn cause(code: &str, message: &str) -> String {
    let message = message.split(" Encoded authorization failure message").next().unwrap_or_default();
    if message.is_empty() { code.to_owned() } else { format!("{code}: {}", message.trim_end_matches('.')) }
}

/// What the services call the same thing; what is not here is told by a part of its name.
const CODES: [(Verdict, &[&str]); 6] = [
    (
        Verdict::Throttled,
        &[
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "EC2ThrottledException",
            "BandwidthLimitExceeded",
            "SlowDown",
            "PriorRequestNotComplete",
            "LimitExceededException",
        ],
    ),
    (
        Verdict::Credentials,
        &[
            "AuthFailure",
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "InvalidAccessKeyId",
            "InvalidSignatureException",
            "IncompleteSignature",
            "InvalidToken",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "OptInRequired",
            "Blocked",
            "PendingVerification",
        ],
    ),
    (Verdict::Right, &["UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "UnauthorizedException"]),
    (
        Verdict::Busy,
        &[
            "DependencyViolation",
            "ResourceInUse",
            "ResourceInUseException",
            "InvalidSnapshot.InUse",
            "InvalidIPAddress.InUse",
            "InvalidNetworkInterface.InUse",
            "VolumeInUse",
            "DeleteConflict",
            "OperationAborted",
            "OperationAbortedException",
            "ConcurrentModification",
            "IncorrectState",
            "IncorrectInstanceState",
        ],
    ),
    (
        Verdict::Inside,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "ServiceFailure",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "Unavailable",
            "RequestTimeout",
            "RequestTimeoutException",
        ],
    ),
    (
        Verdict::Gone,
        &["NoSuchEntity", "NoSuchEntityException", "InvalidAMIID.Unavailable", "Gateway.NotAttached", "InvalidTarget"],
    ),
];

fn verdict(code: &str) -> Verdict {
    match CODES.iter().find(|(_, codes)| codes.contains(&code)) {
        Some((verdict, _)) => *verdict,
        None if code.starts_with("Insufficient") && code.contains("Capacity") => Verdict::Capacity,
        None if code.contains("NotFound") => Verdict::Gone,
        None if code.contains("LimitExceeded") || code.contains("QuotaExceeded") || code.starts_with("TooMany") => {
            Verdict::Quota
        }
        None => Verdict::Refused,
    }
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

    fn told(code: &str, message: &str) -> (Exit, Class, String) {
        let failure = refused("starting `server-1`", code, message);
        (failure.exit(), failure.kind(), failure.to_string())
    }

    #[test]
    fn each_kind_of_refusal_has_its_exit_code_and_class() {
        let cases = [
            ("RequestLimitExceeded", Exit::Platform, Class::Transient),
            ("InsufficientInstanceCapacity", Exit::Platform, Class::Transient),
            ("VcpuLimitExceeded", Exit::Platform, Class::NeedsPerson),
            ("TooManyLoadBalancers", Exit::Platform, Class::NeedsPerson),
            ("ExpiredToken", Exit::Missing, Class::NeedsPerson),
            ("UnauthorizedOperation", Exit::Missing, Class::NeedsPerson),
            ("DependencyViolation", Exit::Platform, Class::Conflict),
            ("InternalError", Exit::Platform, Class::Transient),
            ("InvalidSubnetID.NotFound", Exit::Platform, Class::Permanent),
            ("InvalidParameterValue", Exit::Platform, Class::Permanent),
        ];
        for (code, exit, class) in cases {
            let (told_exit, told_class, _) = told(code, "");
            assert_eq!((told_exit, told_class), (exit, class), "{code}");
        }
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
