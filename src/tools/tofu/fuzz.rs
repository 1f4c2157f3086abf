//! OpenTofu's output under fuzzing; the list is in [`crate::tools::fuzz`].

use std::path::Path;

use serde_json::Value;

use crate::artifact::Kind;
use crate::event::Events;
use crate::tools::tofu::stream::short;
use crate::tools::tofu::{plan, state, stream};

/// A stream from outside this folder.
pub struct Stream<'a>(stream::Stream<'a>);

impl<'a> Stream<'a> {
    pub fn new(stage: Kind, events: &'a Events, total: usize) -> Self {
        Self(stream::Stream::new(stage, events, total))
    }

    pub fn line(&mut self, line: &str) {
        self.0.line(line);
    }

    /// All that is asked of a stream at its end.
    pub fn judged(&self) {
        let Self(stream) = self;
        stream.progress();
        stream.intended.count();
        stream.intended.has_tainted();
        let protected =
            stream.intended.refuse_to_destroy(&["aws_instance.node".to_owned(), "aws_vpc".to_owned()], None);
        assert!(protected.is_ok() || stream.intended.is_something(), "what is destroyed is a change");
        if let Some(summary) = &stream.summary {
            drop(stream.intended.is_all_of(summary));
        }
        assert!(stream.errors.iter().all(|error| !error.contains(['\r', '\n'])), "an error is one line");
    }
}

pub fn plan(text: &str) {
    if let Ok(plan) = plan::Plan::parse(text) {
        for resource in &plan.resource_changes {
            resource.is_new();
            resource.is_tainted();
            assert!(resource.address.ends_with(short(&resource.address)), "an address is shortened at its front");
        }
    }
}

/// A state that was written before is newer or not, and of the same kin or not, whatever it holds.
pub fn state(bytes: &[u8]) {
    if let Ok(state) = state::parse(Path::new("terraform.tfstate"), bytes) {
        state::serial(&state);
        assert!(state::is_kin(&state, &state.clone()));
        assert!(state.get("lineage").is_none() || !state::is_kin(&state, &Value::Null));
    }
}
