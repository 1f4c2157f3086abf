//! One failure for several nodes that failed alike, or were stopped.

use crate::environment::NodeName;
use crate::failure::Failure;

/// Which of how many nodes, by name; the first one's exit code, cause, log and hints stand for the rest. One that really
/// failed comes before those that were only stopped.
pub fn several(failures: &[(NodeName, Failure)], of: usize, verb: &str) -> Failure {
    let names: Vec<String> = failures.iter().map(|(node, _)| node.to_string()).collect();
    let mut all = failures.iter().map(|(_, failure)| failure);
    let real = all.clone().find(|failure| !failure.is_cancelled());
    let what = match real {
        Some(_) => format!("{} of {of} nodes {verb}: {}", failures.len(), names.join(", ")),
        None => format!("stopped with {} of {of} nodes to go: {}", failures.len(), names.join(", ")),
    };
    let Some(first) = real.or_else(|| all.next()) else { return Failure::bug(what) };
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

    #[test]
    fn a_stop_is_told_as_one_unless_another_node_really_failed() {
        let stopped = || (NodeName("general-1".to_owned()), Failure::cancelled("told to stop"));
        let failed = || (NodeName("general-2".to_owned()), Failure::new(Exit::Unhealthy, "`general-2` is silent"));

        let only_stopped = several(&[stopped()], 2, "did not join");
        let both = several(&[stopped(), failed()], 2, "did not join");

        assert_eq!(only_stopped.what(), "stopped with 1 of 2 nodes to go: general-1");
        assert_eq!((only_stopped.exit(), both.exit()), (Exit::Interrupted, Exit::Unhealthy));
        assert_eq!(both.what(), "2 of 2 nodes did not join: general-1, general-2");
        assert_eq!(both.causes(), ["`general-2` is silent"]);
    }
}
