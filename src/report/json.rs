//! One JSON object a line, for programs.

use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;

/// Any value on one line.
pub fn line(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_else(|why| json!({ "event": "error", "error": why.to_string() }).to_string())
}

/// A failure as the last line of a run.
pub fn failure(failure: &Failure) -> String {
    json!({
        "event": "failed",
        "error": failure.what(),
        "causes": failure.causes(),
        "log": failure.log_path(),
        "hints": failure.hints(),
        "class": failure.kind(),
        "exit": failure.exit() as u8,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Kind;
    use crate::event::Event;

    #[test]
    fn an_event_is_one_line_that_names_itself() {
        let until = "2026-11-24T14:20:09Z".parse().expect("a time");
        let event = Event::StageStarted { stage: Kind::NodeImage, attempt: 1, until };

        assert_eq!(
            line(&event),
            r#"{"event":"stage-started","stage":"node-image","attempt":1,"until":"2026-11-24T14:20:09Z"}"#
        );
    }
}
