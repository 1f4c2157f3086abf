//! A failure as people read it: what, cause, log, hint, each on its own line and only if there is one.

use std::fmt::Write;

use crate::failure::Failure;

/// The whole chain, once. Colour marks only the first word.
pub fn failure_text(failure: &Failure, color: bool) -> String {
    let label = if color { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
    let mut text = format!("{label} {}", failure.what());
    let mut line = |label: &str, value: &str| {
        for (number, part) in value.lines().enumerate() {
            // Writing to a string cannot fail.
            _ = write!(text, "\n{:<7}{part}", if number == 0 { label } else { "" });
        }
    };
    for (number, cause) in failure.causes().iter().enumerate() {
        line(if number == 0 { "cause:" } else { "" }, cause);
    }
    if let Some(log) = failure.log_path() {
        line("log:", &log.display().to_string());
    }
    for (number, hint) in failure.hints().iter().enumerate() {
        line(if number == 0 { "hint:" } else { "" }, hint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn cause_log_and_hints_stand_on_lines_of_their_own() {
        let failure = Failure::new(Exit::Tool, "node-image: packer stopped after 12m 04s with exit code 1")
            .because("no default VPC in `us-gov-west-1`")
            .log(".sre-provision/prod/runs/0007/node-image.log")
            .hint("set `image.build.subnet` in environments/prod.yaml")
            .hint("sre-provision up prod");

        assert_eq!(
            failure_text(&failure, false),
            "error: node-image: packer stopped after 12m 04s with exit code 1\n\
             cause: no default VPC in `us-gov-west-1`\n\
             log:   .sre-provision/prod/runs/0007/node-image.log\n\
             hint:  set `image.build.subnet` in environments/prod.yaml\n       sre-provision up prod"
        );
    }

    #[test]
    fn a_failure_without_more_is_one_line() {
        assert_eq!(
            failure_text(&Failure::new(Exit::Usage, "no environment named"), false),
            "error: no environment named"
        );
    }
}
