//! What a platform's refusal means, read from a tool's words: exit code, class and what to do.

use crate::failure::{Class, Exit, Failure};
use crate::refusal::Refusal;

/// What is told in words and not by an error code: any of these in the text, in lower case.
const SIGNS: [(Refusal, &[&str]); 9] = [
    (
        Refusal::Expired,
        &["token has expired", "token is expired", "sso session has expired", "refresh cached sso token failed"],
    ),
    (
        Refusal::Credentials,
        &[
            "no valid credential sources",
            "nocredentialproviders",
            "failed to refresh cached credentials",
            "unable to locate credentials",
        ],
    ),
    (Refusal::Right, &["not authorized to perform"]),
    (Refusal::Untrusted, &["x509: ", "certificate verify failed"]),
    (Refusal::Unnamed, &["no such host"]),
    (Refusal::Taken, &["already exists"]),
    (Refusal::Throttled, &["throttl", "rate exceeded", "too many requests", "statuscode: 429"]),
    (
        Refusal::Inside,
        &[
            "statuscode: 500",
            "statuscode: 502",
            "statuscode: 503",
            "statuscode: 504",
            "status code: 500",
            "status code: 503",
        ],
    ),
    (
        Refusal::Silent,
        &[
            "connection refused",
            "connection reset by peer",
            "i/o timeout",
            "tls handshake timeout",
            "network is unreachable",
            "no route to host",
            "server misbehaving",
            "context deadline exceeded",
            "unexpected eof",
            // A node asks a mirror of its packages (librepo), or another process of it does.
            "all mirrors were tried",
            "curl error (28)",
            "failed to obtain the transaction lock",
        ],
    ),
];

/// What is no refusal of a platform: a sign, what it means, and what to do.
const OTHERS: [(&str, Exit, Class, &str); 7] = [
    (
        "error acquiring the state lock",
        Exit::Held,
        Class::Conflict,
        "somebody runs OpenTofu in the environment's state directory: wait for it to end",
    ),
    (
        "failed to query available provider packages",
        Exit::Missing,
        Class::NeedsPerson,
        "put the provider that is named into the mirror that TF_CLI_CONFIG_FILE names",
    ),
    (
        "checksums previously recorded in the dependency lock file",
        Exit::Missing,
        Class::NeedsPerson,
        "the mirror has another build of the provider than `tofu/roots` was made with: bring that one",
    ),
    // What a vCenter says, which has no error codes for who does not speak its API.
    (
        "insufficient disk space",
        Exit::Platform,
        Class::NeedsPerson,
        "free space in `vsphere.datastore`, or name another one",
    ),
    (
        "permission to perform this operation was denied",
        Exit::Missing,
        Class::NeedsPerson,
        "docs/vsphere.md lists the privileges that are needed, by object",
    ),
    ("the session is not authenticated", Exit::Platform, Class::Transient, "the vCenter ended the session: try again"),
    (
        "timeout waiting for an available ip address",
        Exit::Platform,
        Class::NeedsPerson,
        "look at the console of the machine: its template needs open-vm-tools, and cloud-init with the data source VMware",
    ),
];

/// A plan that is wrong everywhere says so in three sentences; the log has the rest.
const MOST_CAUSES: usize = 3;

/// A failure of a tool whose words are `causes`; what cannot be read in them is a failure of the tool itself. Of several
/// refusals the one counts that waiting helps least.
pub(super) fn refused(what: String, causes: &[String]) -> Failure {
    let text = causes.join("\n").to_lowercase();
    let other = OTHERS.iter().find(|(sign, ..)| text.contains(sign));
    let refusal = causes.iter().map(|cause| read(cause)).max().unwrap_or(Refusal::Other);
    let failure = match (other, refusal) {
        (Some((_, exit, class, hint)), _) => Failure::new(*exit, what).class(*class).hint(*hint),
        (None, Refusal::Other | Refusal::Gone) => Failure::new(Exit::Tool, what),
        (None, refusal) => refusal.failure(what),
    };
    causes.iter().take(MOST_CAUSES).fold(failure, |failure, cause| failure.because(cause))
}

/// Whether what a module of Ansible said is about something that may pass by itself.
pub fn may_pass(message: &str) -> bool {
    read(message).class() == Class::Transient
}

/// An error code of the platform decides, else the words around it.
fn read(cause: &str) -> Refusal {
    let coded = codes(cause).map(Refusal::of).max().unwrap_or(Refusal::Other);
    if coded != Refusal::Other {
        return coded;
    }
    let text = cause.to_lowercase();
    let said = SIGNS.iter().find(|(_, signs)| signs.iter().any(|sign| text.contains(sign)));
    said.map_or(Refusal::Other, |(refusal, _)| *refusal)
}

/// `api error VpcLimitExceeded: The maximum …` (SDK 2 of Go) and `VpcLimitExceeded: The maximum …` (SDK 1): words with a
/// capital and a colon behind them.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split([' ', '\n', '\t', '(']).filter_map(|word| word.strip_suffix(':'));
    words.filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cause: &str) -> (Exit, Class) {
        let failure = refused("tofu stopped".to_owned(), &[cause.to_owned()]);
        (failure.exit(), failure.kind())
    }

    /// What each refusal of AWS is, by its error code; `refused` and `unnamed` are no answers at all.
    const MEANT: [(&str, Exit, Class); 17] = [
        ("RequestLimitExceeded", Exit::Platform, Class::Transient),
        ("InternalError", Exit::Platform, Class::Transient),
        ("ServiceUnavailable", Exit::Platform, Class::Transient),
        ("refused", Exit::Platform, Class::Transient),
        ("InsufficientInstanceCapacity", Exit::Platform, Class::NeedsPerson),
        ("Unsupported", Exit::Platform, Class::NeedsPerson),
        ("VpcLimitExceeded", Exit::Platform, Class::NeedsPerson),
        ("VcpuLimitExceeded", Exit::Platform, Class::NeedsPerson),
        ("unnamed", Exit::Platform, Class::NeedsPerson),
        ("UnauthorizedOperation", Exit::Missing, Class::NeedsPerson),
        ("AuthFailure", Exit::Missing, Class::NeedsPerson),
        ("ExpiredToken", Exit::Missing, Class::Cancelled),
        ("RequestExpired", Exit::Missing, Class::Cancelled),
        ("DependencyViolation", Exit::Platform, Class::Conflict),
        ("InvalidGroup.Duplicate", Exit::Platform, Class::Conflict),
        ("InvalidVpcID.NotFound", Exit::Tool, Class::Permanent),
        ("InvalidParameterValue", Exit::Tool, Class::Permanent),
    ];

    /// What a real tool said in each of these cases.
    fn recorded(lines: &str) -> Vec<(String, Vec<String>)> {
        let read = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
        let said = |value: &serde_json::Value| serde_json::from_value(value["said"].clone()).expect("texts");
        lines
            .lines()
            .map(read)
            .map(|value| (value["case"].as_str().expect("a name").to_owned(), said(&value)))
            .collect()
    }

    #[test]
    fn what_real_tools_say_of_a_refusal_is_what_the_platform_meant() {
        for lines in [
            include_str!("../../tests/fixtures/refusals/tofu-1.12.6-aws-5.100.0.jsonl"),
            include_str!("../../tests/fixtures/refusals/packer-1.16.0-amazon-1.8.2.jsonl"),
        ] {
            let recorded = recorded(lines);
            assert_eq!(recorded.len(), MEANT.len());
            for (case, said) in recorded {
                let failure = refused("a tool stopped".to_owned(), &said);

                let (_, exit, class) = MEANT.iter().find(|(code, ..)| *code == case).expect("a known case");
                assert_eq!((failure.exit(), failure.kind()), (*exit, *class), "{case}: {said:?}");
            }
        }
    }

    #[test]
    fn of_several_refusals_the_one_counts_that_waiting_helps_least() {
        let causes = ["api error Throttling: Rate exceeded", "api error UnauthorizedOperation: You may not"];

        let failure = refused("tofu stopped".to_owned(), &causes.map(str::to_owned));

        assert_eq!((failure.exit(), failure.kind()), (Exit::Missing, Class::NeedsPerson));
        assert_eq!(failure.causes(), causes);
    }

    #[test]
    fn words_of_a_tool_that_look_like_a_code_are_none() {
        for words in
            ["Unsupported argument: An argument named \"x\" is not expected here", "Unavailable", "Error: Blocked by"]
        {
            assert_eq!(read(words), (Exit::Tool, Class::Permanent), "{words}");
        }
    }

    #[test]
    fn a_lock_and_a_mirror_are_no_refusals_of_a_platform() {
        assert_eq!(read("Error acquiring the state lock: ConditionalCheckFailed"), (Exit::Held, Class::Conflict));
        assert_eq!(
            read("Failed to query available provider packages: Could not retrieve the list"),
            (Exit::Missing, Class::NeedsPerson)
        );
    }
}
