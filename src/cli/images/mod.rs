//! `sre-provision images`: which images there are, who vouches for them, who needs them, and what becomes of them.

mod build;
mod channel;
mod list;
mod promote;
mod prune;
mod site;
mod survey;
mod verify;

use super::Common;
use crate::failure::Failure;
use crate::report::Screen;
use crate::stop::Stop;

#[derive(Debug, clap::Args)]
pub struct ImagesArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Build the images of which an input has moved
    Build(build::Build),
    /// Show the images of all environments, or of some
    List(list::List),
    /// Check what is said of an image: signature, binding, expiry, and what was measured
    Verify(verify::Verify),
    /// Let a channel lead to an image, which is never rebuilt for it
    Promote(promote::Promote),
    /// Let a channel lead to where it led before
    Rollback(channel::Rollback),
    /// Show where a channel leads and led
    Channel(channel::Show),
    /// Remove the images that nothing needs
    Prune(prune::Prune),
}

impl ImagesArgs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        match self.what {
            What::Build(command) => command.run(common, screen, stop).await,
            What::List(command) => command.run(common, screen).await,
            What::Verify(command) => command.run(common, screen).await,
            What::Promote(command) => command.run(common, screen, stop).await,
            What::Rollback(command) => command.run(common, screen).await,
            What::Channel(command) => command.run(common, screen).await,
            What::Prune(command) => command.run(common, screen, stop).await,
        }
    }
}
