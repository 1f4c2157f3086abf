//! The command line: one file per command, and the only room that connects the others and reads the variables of its own
//! process.

#![expect(clippy::disallowed_methods, reason = "this room reads the variables of the process")]

mod ask;
mod bundle;
mod certs;
mod completions;
mod desk;
mod down;
mod evidence;
mod expiry;
mod history;
mod homes;
mod images;
mod keys;
mod kubeconfig;
mod loaded_tools;
mod logs;
mod look;
mod lost;
mod members;
mod nodes;
mod operation;
mod places;
mod plan;
mod reap;
mod removal;
mod restore;
mod run;
mod schema;
mod snapshot;
mod ssh;
mod state;
mod status;
mod stopping;
mod token;
mod unlock;
mod up;
mod upgrade;
mod validate;
mod vcenter;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::cloud::vsphere::Credentials;
use crate::cloud::{self, Cloud, Platforms};
use crate::environment;
use crate::failure::{Exit, Failure};
use crate::report::{Detail, Format, Screen};
use crate::stop::Stop;

/// Brings RKE2 clusters into being and takes them away again; may be stopped anywhere and goes on where it was.
#[derive(Debug, Parser)]
#[command(name = "sre-provision", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
struct Common {
    /// `human` for people, `json` for programs: one object a line
    #[arg(long, global = true, value_parser = ["human", "json"], default_value = "human", value_name = "FORMAT")]
    output: String,
    /// The directory with `environments/`; state is kept in `.sre-provision/` below it
    #[arg(long, global = true, env = "SRE_PROVISION_WORKSPACE", default_value = ".", value_name = "DIR")]
    workspace: PathBuf,
    /// The directory with `tofu/`, `ansible/` and `packer/`, where it is not the workspace
    #[arg(long, global = true, env = "SRE_PROVISION_ASSETS", value_name = "DIR")]
    assets: Option<PathBuf>,
    /// Leave a line of everything that passes, too
    #[arg(long, short, global = true)]
    verbose: bool,
    /// No colour; also by `NO_COLOR`
    #[arg(long, global = true)]
    no_color: bool,
    #[arg(skip = Reached(Arc::new(cloud::Real)))]
    platforms: Reached,
}

/// Where the platforms are; not a word that anybody types.
#[derive(Clone, Debug)]
struct Reached(Arc<dyn Platforms>);

impl Reached {
    /// AWS as these settings lead to it; where crash points are compiled in, each change passes some.
    async fn aws(&self, section: &environment::Aws) -> Result<Box<dyn Cloud>, Failure> {
        let cloud = self.0.aws(section).await?;
        #[cfg(feature = "crash-points")]
        let cloud = cloud::Watched::new(cloud);
        Ok(cloud)
    }

    /// A vCenter; watched as AWS is.
    async fn vsphere(
        &self,
        section: &environment::Vsphere,
        ca: Option<&Path>,
        credentials: Credentials,
    ) -> Result<Box<dyn Cloud>, Failure> {
        let cloud = self.0.vsphere(section, ca, credentials).await?;
        #[cfg(feature = "crash-points")]
        let cloud = cloud::Watched::new(cloud);
        Ok(cloud)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the environment, or go on where it was stopped
    Up(up::Up),
    /// Take the environment away and prove that nothing is left
    Down(down::Down),
    /// Show or move the end of an ephemeral environment
    Expiry(expiry::ExpiryArgs),
    /// Take away every ephemeral environment whose time is over
    Reap(reap::Reap),
    /// Show what `up` would do
    Plan(plan::PlanArgs),
    /// Show every environment of the workspace
    Status(status::Status),
    /// Check an environment file without asking anybody
    Validate(validate::Validate),
    /// Print the JSON Schema of environment files
    Schema(schema::Schema),
    /// Show the machines of an environment
    Nodes(nodes::NodesArgs),
    /// Write the kubeconfig to its place, or where you say
    Kubeconfig(kubeconfig::Kubeconfig),
    /// Open a shell on a node, or run a command there
    Ssh(ssh::Ssh),
    /// Make, check and take in what an environment without internet needs
    Bundle(bundle::BundleArgs),
    /// Take, show and prune snapshots of etcd
    Snapshot(snapshot::SnapshotArgs),
    /// Bring the cluster back to a snapshot
    Restore(restore::Restore),
    /// Bring the cluster to another RKE2 release, in place
    Upgrade(upgrade::Upgrade),
    /// Show or renew the certificates of the cluster's services
    Certs(certs::Certs),
    /// Show or renew the cluster's tokens
    Token(token::TokenArgs),
    /// Measure every rule on every node and write it down, signed
    Evidence(evidence::EvidenceArgs),
    /// Show, check and remove the images that nodes boot from
    Images(images::ImagesArgs),
    /// Show the logs of a run
    Logs(logs::Logs),
    /// Show what was run, by whom, and what came of it
    History(history::History),
    /// Show who holds an environment, and take it over from a holder that is gone
    Unlock(unlock::Unlock),
    /// Move what is kept of an environment
    State(state::StateArgs),
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// Runs a command and gives the exit code; whatever went wrong has been said.
pub async fn run(args: impl IntoIterator<Item = OsString>, stop: &Stop) -> u8 {
    run_on(Arc::new(cloud::Real), args, stop).await
}

/// As [`run`], on given platforms.
pub async fn run_on(platforms: Arc<dyn Platforms>, args: impl IntoIterator<Item = OsString>, stop: &Stop) -> u8 {
    #[cfg(feature = "crash-points")]
    arm(None);
    let mut cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(refusal) => return usage(&refusal),
    };
    cli.common.platforms = Reached(platforms);
    let screen = cli.common.screen();
    match dispatch(cli, screen, stop).await {
        Ok(()) => 0,
        Err(failure) => {
            screen.failure(&failure);
            failure.exit() as u8
        }
    }
}

async fn dispatch(cli: Cli, screen: Screen, stop: &Stop) -> Result<(), Failure> {
    let common = &cli.common;
    match cli.command {
        Command::Up(command) => command.run(common, screen, stop).await,
        Command::Down(command) => command.run(common, screen, stop).await,
        Command::Expiry(command) => command.run(common, screen).await,
        Command::Reap(command) => command.run(common, screen, stop).await,
        Command::Plan(command) => command.run(common, screen, stop).await,
        Command::Status(command) => command.run(common, screen).await,
        Command::Validate(command) => command.run(common, screen),
        Command::Schema(command) => command.run(screen),
        Command::Nodes(command) => command.run(common, screen).await,
        Command::Kubeconfig(command) => command.run(common, screen).await,
        Command::Ssh(command) => command.run(common).await,
        Command::Bundle(command) => command.run(common, screen, stop).await,
        Command::Snapshot(command) => command.run(common, screen, stop).await,
        Command::Restore(command) => command.run(common, screen, stop).await,
        Command::Upgrade(command) => command.run(common, screen, stop).await,
        Command::Certs(command) => command.run(common, screen, stop).await,
        Command::Token(command) => command.run(common, screen, stop).await,
        Command::Evidence(command) => command.run(common, screen, stop).await,
        Command::Images(command) => command.run(common, screen, stop).await,
        Command::Logs(command) => command.run(common, screen),
        Command::History(command) => command.run(common, screen).await,
        Command::Unlock(command) => command.run(common, screen).await,
        Command::State(command) => command.run(common, screen).await,
        Command::Completions(command) => command.run(Cli::command()),
    }
}

/// Help and version end well; anything else is a mistake in the command line.
fn usage(refusal: &clap::Error) -> u8 {
    // A closed standard output is no reason to fail.
    drop(refusal.print());
    if refusal.use_stderr() { Exit::Usage as u8 } else { 0 }
}

/// A path as a whole: the directory above it is asked for, and what is told of it holds in every directory.
fn whole(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("`{}` is no place", path.display())).because(error))
}

impl Common {
    fn screen(&self) -> Screen {
        let format = if self.output == "json" { Format::Json } else { Format::Human };
        let color = !self.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let detail = if self.verbose { Detail::Everything } else { Detail::Settled };
        let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        // Nothing can be redrawn on such a terminal.
        let is_dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        Screen::new(format, color, is_ci || is_dumb, detail)
    }
}

/// Takes from the variables where a crash test wants this process to end or its disk to fail; a supervisor is told by
/// the record of its child.
#[cfg(feature = "crash-points")]
fn arm(record: Option<&std::path::Path>) {
    let child = record.and_then(std::path::Path::file_name).and_then(std::ffi::OsStr::to_str);
    crate::crash::arm(crate::crash::VARIABLES.map(std::env::var_os));
    crate::workspace::fault::arm(std::env::var_os(crate::workspace::fault::VARIABLE), child);
}

/// The hidden form in which the program starts itself to watch over a child; `None` when it is not that.
pub fn supervisor() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != "__supervise" {
        return None;
    }
    let record = PathBuf::from(args.next().unwrap_or_default());
    #[cfg(feature = "crash-points")]
    arm(Some(&record));
    Some(crate::process::supervise(&record))
}
