//! Which variables of the caller reach a tool.
//!
//! A list of what may pass, because what must not cannot be listed: `TF_CLI_ARGS` can switch off locking, `TF_LOG`
//! writes secrets, `LD_PRELOAD` and `BASH_ENV` run code, `ANSIBLE_*` changes what a play does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Variables that pass, by name.
const PASSES: [&str; 25] = [
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "NO_PROXY",
    "PACKER_PLUGIN_PATH",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TF_CLI_CONFIG_FILE",
    "TF_PLUGIN_CACHE_DIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "VIRTUAL_ENV",
];

/// Variables that pass, by the beginning of their names: the platforms' own.
const FAMILIES: [&str; 3] = ["AWS_", "VSPHERE_", "GOVC_"];

/// Variables that would change what a tool does; a person who set one is told that it does not count.
const REFUSED: [&str; 13] = [
    "TF_",
    "TOFU_",
    "PACKER_",
    "PKR_VAR_",
    "ANSIBLE_",
    "LD_",
    "BASH_ENV",
    "ENV",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "GODEBUG",
    "SSH_ASKPASS",
];

/// Variables of the platforms that would have a tool believe any certificate.
const UNSAFE: [&str; 2] = ["GOVC_INSECURE", "VSPHERE_ALLOW_UNVERIFIED_SSL"];

/// The variables of every tool, sorted out of the caller's.
#[derive(Clone, Debug, Default)]
pub struct ToolEnvironment {
    variables: BTreeMap<String, OsString>,
    refused: Vec<String>,
}

impl ToolEnvironment {
    /// Sorts out the caller's variables.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut this = Self::default();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let is_family = FAMILIES.iter().any(|family| name.starts_with(family));
            if UNSAFE.contains(&name) {
                this.refused.push(name.to_owned());
            } else if PASSES.contains(&name) || is_family {
                this.variables.insert(name.to_owned(), value);
            } else if REFUSED.iter().any(|refused| is_refused(name, refused)) {
                this.refused.push(name.to_owned());
            }
        }
        this.refused.sort();
        this
    }

    /// With a variable that we set ourselves, whatever the caller's says.
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    pub fn variables(&self) -> &BTreeMap<String, OsString> {
        &self.variables
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(name).map(OsString::as_os_str)
    }

    /// The names of set variables that are kept from the tools, for a notice.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }
}

fn is_refused(name: &str, refused: &str) -> bool {
    if refused.ends_with('_') { name.starts_with(refused) } else { name == refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_proxies_pass_and_what_changes_a_tool_is_named_and_does_not() {
        let set = [
            "AWS_PROFILE",
            "https_proxy",
            "PATH",
            "TF_CLI_ARGS_apply",
            "TF_LOG",
            "LD_PRELOAD",
            "ANSIBLE_CONFIG",
            "BASH_ENV",
            "EDITOR",
            "VSPHERE_USER",
            "VSPHERE_ALLOW_UNVERIFIED_SSL",
        ];

        let environment = ToolEnvironment::of(set.map(|name| (name.into(), "x".into())));

        let passed: Vec<_> = environment.variables().keys().map(String::as_str).collect();
        assert_eq!(passed, ["AWS_PROFILE", "PATH", "VSPHERE_USER", "https_proxy"]);
        let refused =
            ["ANSIBLE_CONFIG", "BASH_ENV", "LD_PRELOAD", "TF_CLI_ARGS_apply", "TF_LOG", "VSPHERE_ALLOW_UNVERIFIED_SSL"];
        assert_eq!(environment.refused(), refused);
    }
}
