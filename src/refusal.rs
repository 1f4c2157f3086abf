//! What a platform's refusal asks of us: whether to try again, who can help, what to type.
//!
//! The names are those of AWS's own error lists; EC2 and the newer services spell the same thing differently. A program
//! that we drive passes them on in its messages, so that both ways of asking the platform are judged alike.

use crate::failure::{Class, Exit, Failure};

/// A kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// None that we know.
    Other,
    /// What was named does not exist.
    Gone,
    /// Too many calls.
    Throttled,
    /// The platform failed by itself.
    Inside,
    /// No answer: nobody knows whether the call was carried out.
    Silent,
    /// Something else still uses it.
    Busy,
    /// A name that exists once is in use.
    Taken,
    /// No such machine is free.
    Capacity,
    /// Not offered in this zone.
    Zone,
    Quota,
    /// The name of the platform's address does not exist.
    Unnamed,
    /// Its certificate is of an authority that is not known here.
    Untrusted,
    Right,
    Credentials,
    /// The credentials were good once.
    Expired,
}

/// What the services call the same thing; what is not here is told by a part of its name.
const CODES: [(Refusal, &[&str]); 8] = [
    (
        Refusal::Throttled,
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
        ],
    ),
    (Refusal::Expired, &["ExpiredToken", "ExpiredTokenException", "RequestExpired"]),
    (
        Refusal::Credentials,
        &[
            "AuthFailure",
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "RequestTimeTooSkewed",
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
    (Refusal::Right, &["UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "UnauthorizedException"]),
    (
        Refusal::Busy,
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
        Refusal::Inside,
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
        Refusal::Gone,
        &["NoSuchEntity", "NoSuchEntityException", "InvalidAMIID.Unavailable", "Gateway.NotAttached", "InvalidTarget"],
    ),
    (Refusal::Zone, &["Unsupported", "InvalidAvailabilityZone", "UnsupportedAvailabilityZone"]),
];

impl Refusal {
    /// What an error code of AWS means.
    pub fn of(code: &str) -> Self {
        match CODES.iter().find(|(_, codes)| codes.contains(&code)) {
            Some((refusal, _)) => *refusal,
            None if code.starts_with("Insufficient") && code.contains("Capacity") => Self::Capacity,
            None if code.contains("Duplicate") || code.contains("AlreadyExists") => Self::Taken,
            None if code.contains("NotFound") => Self::Gone,
            None if code.contains("LimitExceeded") || code.contains("QuotaExceeded") || code.starts_with("TooMany") => {
                Self::Quota
            }
            None => Self::Other,
        }
    }

    pub fn class(self) -> Class {
        match self {
            Self::Throttled | Self::Inside | Self::Silent => Class::Transient,
            Self::Busy | Self::Taken => Class::Conflict,
            Self::Capacity
            | Self::Zone
            | Self::Quota
            | Self::Unnamed
            | Self::Untrusted
            | Self::Right
            | Self::Credentials => Class::NeedsPerson,
            // What was begun goes on with new ones.
            Self::Expired => Class::Cancelled,
            Self::Gone | Self::Other => Class::Permanent,
        }
    }

    fn exit(self) -> Exit {
        match self {
            Self::Right | Self::Credentials | Self::Expired => Exit::Missing,
            Self::Other
            | Self::Gone
            | Self::Throttled
            | Self::Inside
            | Self::Silent
            | Self::Busy
            | Self::Taken
            | Self::Capacity
            | Self::Zone
            | Self::Quota
            | Self::Unnamed
            | Self::Untrusted => Exit::Platform,
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Self::Other | Self::Gone | Self::Busy | Self::Inside => None,
            Self::Throttled => Some("repeat it in some minutes"),
            Self::Silent => {
                Some("check `aws.region`, the network and the proxy of this machine, and AWS_ENDPOINT_URL if it is set")
            }
            Self::Taken => Some("remove or rename what has this name: it is not of this environment"),
            Self::Capacity => Some("the platform has no such machine free: choose another size or zone, or try later"),
            Self::Zone => Some("choose another size: this one is not offered in every zone of the environment"),
            Self::Quota => Some("ask the platform for a higher quota, or free what is no longer used"),
            Self::Unnamed => {
                Some("check `aws.region`, AWS_ENDPOINT_URL if it is set, and the name service of this machine")
            }
            Self::Untrusted => Some("name the file with your proxy's authority in AWS_CA_BUNDLE and SSL_CERT_FILE"),
            Self::Right => Some("docs/aws-iam-policy.json lists the rights that are needed"),
            Self::Credentials => {
                Some("log in (`aws sso login`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
            }
            Self::Expired => {
                Some("log in again (`aws sso login`), or set the clock of this machine; the same command goes on")
            }
        }
    }

    /// A failure of this kind.
    pub fn failure(self, what: impl Into<String>) -> Failure {
        let failure = Failure::new(self.exit(), what).class(self.class());
        self.hint().into_iter().fold(failure, Failure::hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_refusal_has_its_exit_code_and_class() {
        let cases = [
            ("RequestLimitExceeded", Exit::Platform, Class::Transient),
            ("InternalError", Exit::Platform, Class::Transient),
            ("InsufficientInstanceCapacity", Exit::Platform, Class::NeedsPerson),
            ("Unsupported", Exit::Platform, Class::NeedsPerson),
            ("VcpuLimitExceeded", Exit::Platform, Class::NeedsPerson),
            ("TooManyLoadBalancers", Exit::Platform, Class::NeedsPerson),
            ("UnauthorizedOperation", Exit::Missing, Class::NeedsPerson),
            ("AuthFailure", Exit::Missing, Class::NeedsPerson),
            ("ExpiredToken", Exit::Missing, Class::Cancelled),
            ("DependencyViolation", Exit::Platform, Class::Conflict),
            ("DuplicateTargetGroupName", Exit::Platform, Class::Conflict),
            ("EntityAlreadyExists", Exit::Platform, Class::Conflict),
            ("InvalidSubnetID.NotFound", Exit::Platform, Class::Permanent),
            ("InvalidParameterValue", Exit::Platform, Class::Permanent),
        ];
        for (code, exit, class) in cases {
            let failure = Refusal::of(code).failure("starting `server-1`");

            assert_eq!((failure.exit(), failure.kind()), (exit, class), "{code}");
        }
    }
}
