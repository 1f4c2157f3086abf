//! What the environment file names by reference: `file:PATH`, relative to the workspace.

use std::path::Path;

use crate::failure::{Exit, Failure};

/// The content; `None` where nothing is named.
///
/// # Errors
/// Exit 3: it is no such reference, or the file cannot be read.
pub fn referred(root: &Path, reference: Option<&String>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(reference) = reference else { return Ok(None) };
    let refused = |cause: String| {
        // What is no reference may be the secret itself.
        let shown = if reference.starts_with("file:") { reference.as_str() } else { "…" };
        Failure::new(Exit::Environment, format!("cannot read `{shown}`"))
            .because(cause)
            .hint("`file:PATH` is wanted, relative to the workspace")
    };
    let path = reference.strip_prefix("file:").ok_or_else(|| refused("it is no reference to a file".to_owned()))?;
    std::fs::read(root.join(path)).map(Some).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_place_of_its_reference_is_not_told() {
        let failure = referred(Path::new("/"), Some(&"hunter2".to_owned())).expect_err("refused");
        let missing = referred(Path::new("/nowhere"), Some(&"file:keys/password".to_owned())).expect_err("refused");

        assert_eq!((failure.what(), failure.exit()), ("cannot read `…`", Exit::Environment));
        assert_eq!(missing.what(), "cannot read `file:keys/password`");
        assert_eq!(referred(Path::new("/"), None).expect("nothing is named"), None);
    }
}
