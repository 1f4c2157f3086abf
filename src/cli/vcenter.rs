//! The vCenter of an environment: who we are there, and by which authority it is known.

use std::path::PathBuf;

use super::Reached;
use crate::cloud::Cloud;
use crate::cloud::vsphere::Credentials;
use crate::environment::{Environment, Vsphere};
use crate::failure::{Class, Exit, Failure};
use crate::secret::Secret;
use crate::tools::ToolEnvironment;
use crate::workspace::Workspace;

const USER: &str = "VSPHERE_USER";
const PASSWORD: &str = "VSPHERE_PASSWORD";

/// The vCenter, as the account that the caller's variables name.
///
/// # Errors
/// Exit 4: there are no credentials, or the authority cannot be read.
pub async fn reached(platforms: &Reached, workspace: &Workspace, section: &Vsphere) -> Result<Box<dyn Cloud>, Failure> {
    let credentials = credentials(|name| std::env::var(name).ok(), section)?;
    platforms.vsphere(section, authority(workspace, section).as_deref(), credentials).await
}

/// The file with the authority of the vCenter's certificate.
fn authority(workspace: &Workspace, section: &Vsphere) -> Option<PathBuf> {
    let file = section.ca.as_deref()?.strip_prefix("file:")?;
    Some(workspace.root().join(file))
}

/// What the tools trust: the same authority as we do.
pub fn trusting(environment: ToolEnvironment, workspace: &Workspace, env: &Environment) -> ToolEnvironment {
    match env.vsphere.as_ref().and_then(|section| authority(workspace, section)) {
        Some(file) => environment.with("SSL_CERT_FILE", file),
        None => environment,
    }
}

fn credentials(variable: impl Fn(&str) -> Option<String>, section: &Vsphere) -> Result<Credentials, Failure> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    match (given(USER), given(PASSWORD)) {
        (Some(user), Some(password)) => Ok(Credentials { user, password: Secret::new(password) }),
        (user, _) => {
            let missing = if user.is_none() { USER } else { PASSWORD };
            Err(Failure::new(Exit::Missing, format!("no credentials for the vCenter `{}`", section.server))
                .class(Class::NeedsPerson)
                .because(format!("{missing} is not set"))
                .hint(format!("set {USER} and {PASSWORD}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn section() -> Vsphere {
        let text = include_str!("../../environments/vsphere-dev.yaml");
        let env = config::read("environments/vsphere-dev.yaml", "vsphere-dev", text).expect("valid");
        env.vsphere.expect("its vCenter")
    }

    #[test]
    fn who_we_are_is_told_by_two_variables() {
        let both = credentials(|name| Some(format!("{name} of ops")), &section()).expect("credentials");

        assert_eq!(
            (both.user.as_str(), both.password.expose_str()),
            ("VSPHERE_USER of ops", Some("VSPHERE_PASSWORD of ops"))
        );

        let failure = credentials(|name| (name == USER).then(|| "ops".to_owned()), &section()).expect_err("refused");
        assert_eq!(
            failure.to_string(),
            "no credentials for the vCenter `vcenter.example.internal`: VSPHERE_PASSWORD is not set"
        );
    }
}
