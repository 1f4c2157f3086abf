//! The environment file under fuzzing.

use crate::failure::Exit;
use crate::fuzz::Target;

pub const TARGETS: &[Target] =
    &[Target { name: "config", run: file, seeds: &["environments/dev.yaml", "tests/environments/*"] }];

/// What is accepted is accepted again in the form that the program gives it; what is not comes with a reason.
fn file(bytes: &[u8]) {
    match super::read("environments/dev.yaml", "dev", &String::from_utf8_lossy(bytes)) {
        Ok(environment) => {
            let text = serde_json::to_string(&environment).unwrap_or_default();
            let again: Result<crate::environment::Environment, _> = serde_json::from_str(&text);
            let again = again.map(|again| crate::environment::Environment { name: environment.name.clone(), ..again });
            assert_eq!(again.ok(), Some(environment), "{text}");
        }
        Err(failure) => {
            assert_eq!(failure.exit(), Exit::Environment, "{failure}: {:?}", failure.causes());
            assert!(!failure.what().is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
