//! One failure for several nodes that failed alike.

use crate::environment::NodeName;
use crate::failure::Failure;

/// Which of how many nodes, by name; the first one's exit code, cause, log and hints stand for the rest.
pub fn several(failures: &[(NodeName, Failure)], of: usize, verb: &str) -> Failure {
    let names: Vec<String> = failures.iter().map(|(node, _)| node.to_string()).collect();
    let what = format!("{} of {of} nodes {verb}: {}", failures.len(), names.join(", "));
    let Some((_, first)) = failures.first() else { return Failure::bug(what) };
    let mut failure = Failure::new(first.exit(), what).class(first.kind()).because(first);
    if let Some(log) = first.log_path() {
        failure = failure.log(log);
    }
    first.hints().iter().fold(failure, |failure, hint| failure.hint(hint))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::failure::{Class, Exit};

    #[test]
    fn nodes_that_failed_are_named_with_the_first_ones_cause_log_and_hints() {
        let failure = |node: &str| {
            let failure = Failure::new(Exit::Unhealthy, format!("`{node}` is silent")).transient();
            (NodeName(node.to_owned()), failure.log(format!("runs/0001/{node}.log")).hint(format!("look at {node}")))
        };

        let told = several(&[failure("general-3"), failure("general-4")], 5, "did not join").of("agents");

        assert_eq!(told.what(), "agents: 2 of 5 nodes did not join: general-3, general-4");
        assert_eq!(told.causes(), ["`general-3` is silent"]);
        assert_eq!((told.exit(), told.kind()), (Exit::Unhealthy, Class::Transient));
        assert_eq!(told.log_path(), Some(Path::new("runs/0001/general-3.log")));
        assert_eq!(told.hints(), ["look at general-3"]);
    }
}
