//! What a platform's refusal means, read from a tool's words: exit code, class and what to do.

use crate::failure::{Class, Exit, Failure};

struct Refusal {
    /// Any of these in the text, in lower case.
    signs: &'static [&'static str],
    exit: Exit,
    class: Class,
    hint: Option<&'static str>,
}

/// In the order in which they are looked for: the first match counts.
const REFUSALS: [Refusal; 7] = [
    Refusal {
        signs: &[
            "no valid credential sources",
            "nocredentialproviders",
            "failed to refresh cached credentials",
            "expiredtoken",
            "requestexpired",
            "invalidclienttokenid",
            "authfailure",
            "token has expired",
            "unable to locate credentials",
        ],
        exit: Exit::Missing,
        class: Class::NeedsPerson,
        hint: Some("get valid credentials (such as `aws sso login`, or AWS_PROFILE), then try again"),
    },
    Refusal {
        signs: &["unauthorizedoperation", "accessdenied", "not authorized to perform"],
        exit: Exit::Missing,
        class: Class::NeedsPerson,
        hint: Some("the right named above is missing; docs/aws-iam-policy.json lists all that are needed"),
    },
    Refusal {
        signs: &["error acquiring the state lock"],
        exit: Exit::Held,
        class: Class::Conflict,
        hint: Some("somebody runs OpenTofu in the environment's state directory: wait for it to end"),
    },
    Refusal {
        signs: &["limitexceeded", "quotaexceeded", "vcpulimit", "addresslimit", "toomany"],
        exit: Exit::Platform,
        class: Class::NeedsPerson,
        hint: Some("ask the platform for a higher quota, or free what is no longer used"),
    },
    Refusal {
        signs: &[
            "throttl",
            "requestlimitexceeded",
            "rate exceeded",
            "slowdown",
            "serviceunavailable",
            "internalerror",
            "statuscode: 503",
            "statuscode: 500",
        ],
        exit: Exit::Platform,
        class: Class::Transient,
        hint: None,
    },
    Refusal {
        signs: &["insufficientinstancecapacity", "insufficient capacity"],
        exit: Exit::Platform,
        class: Class::NeedsPerson,
        hint: Some("the platform has no such machine free: choose another size or zone, or try later"),
    },
    Refusal {
        signs: &[
            "no such host",
            "connection refused",
            "i/o timeout",
            "tls handshake timeout",
            "connection reset by peer",
            "network is unreachable",
        ],
        exit: Exit::Platform,
        class: Class::Transient,
        hint: Some("check that the platform's API is reachable from here"),
    },
];

/// A failure of a tool whose words are `causes`; what cannot be read in them is a failure of the tool itself.
pub(super) fn refused(what: String, causes: &[String]) -> Failure {
    let text = causes.join("\n").to_lowercase();
    // `RequestLimitExceeded` is throttling, not a quota.
    let text = text.replace("requestlimitexceeded", "throttling");
    let refusal = REFUSALS.iter().find(|refusal| refusal.signs.iter().any(|sign| text.contains(sign)));
    let failure = match refusal {
        Some(refusal) => Failure::new(refusal.exit, what).class(refusal.class),
        None => Failure::new(Exit::Tool, what),
    };
    let failure = causes.iter().take(MOST_CAUSES).fold(failure, |failure, cause| failure.because(cause));
    match refusal.and_then(|refusal| refusal.hint) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A plan that is wrong everywhere says so in three sentences; the log has the rest.
const MOST_CAUSES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cause: &str) -> (Exit, Class) {
        let failure = refused("tofu stopped".to_owned(), &[cause.to_owned()]);
        (failure.exit(), failure.kind())
    }

    #[test]
    fn refusals_of_a_platform_are_told_apart() {
        let provider = "creating EC2 VPC: operation error EC2: CreateVpc, https response error StatusCode:";
        for (code, expected) in [
            (
                "400, api error VpcLimitExceeded: The maximum number of VPCs has been reached.",
                (Exit::Platform, Class::NeedsPerson),
            ),
            ("503, api error RequestLimitExceeded: Request limit exceeded.", (Exit::Platform, Class::Transient)),
            (
                "403, api error UnauthorizedOperation: You are not authorized to perform this operation.",
                (Exit::Missing, Class::NeedsPerson),
            ),
            (
                "401, api error AuthFailure: AWS was not able to validate the provided access credentials",
                (Exit::Missing, Class::NeedsPerson),
            ),
            (
                "400, api error InvalidParameterValue: Value (x) for parameter y is invalid.",
                (Exit::Tool, Class::Permanent),
            ),
        ] {
            assert_eq!(read(&format!("{provider} {code}")), expected, "{code}");
        }
        assert_eq!(read("dial tcp 127.0.0.1:4566: connect: connection refused"), (Exit::Platform, Class::Transient));
    }
}
