//! What S3 refused, in our words.

use std::error::Error as _;

use object_store::Error;

use crate::failure::{Exit, Failure};

/// A failure of `doing` something about an object.
pub(super) fn failure(doing: &str, place: &str, error: &Error) -> Failure {
    let what = format!("cannot {doing} `{place}`");
    if is_no_bucket(error) {
        return Failure::new(Exit::Missing, what)
            .because("there is no such bucket")
            .hint("make the bucket, or correct `state.s3.bucket`; this program makes none");
    }
    match error {
        Error::PermissionDenied { .. } => Failure::new(Exit::Missing, what)
            .because(innermost(error))
            .hint("docs/state.md lists the rights that shared state needs"),
        Error::Unauthenticated { .. } => Failure::new(Exit::Missing, what)
            .because(innermost(error))
            .hint("choose other credentials with AWS_PROFILE"),
        _ => Failure::new(Exit::Platform, what).because(innermost(error)).transient(),
    }
}

/// S3 answers 404 for a bucket that is not there as for an object that is not.
pub(super) fn is_no_bucket(error: &Error) -> bool {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.contains("NoSuchBucket")
}

/// The last of the causes: those before it repeat the address of the request.
fn innermost(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    said(&cause.to_string())
}

/// The code and message of an answer in XML, or the text as it is.
fn said(text: &str) -> String {
    let within = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value.to_owned())
    };
    match (within("Code"), within("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        (None, _) => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_xml_is_told_by_its_code_and_message() {
        let answer = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

        assert_eq!(said(answer), "AccessDenied: Access Denied");
        assert_eq!(said("connection\n refused"), "connection refused");
    }
}
