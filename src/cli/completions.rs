//! `sre-provision completions`: completions for a shell.

use clap_complete::Shell;

use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Completions {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut command: clap::Command) -> Result<(), Failure> {
        clap_complete::generate(self.shell, &mut command, "sre-provision", &mut std::io::stdout());
        Ok(())
    }
}
