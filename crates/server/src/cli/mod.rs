//! The command line: what can be asked, and nothing of how it is done.

mod alert;
mod dify;
#[cfg(test)]
mod documented;
mod model;
mod parse;
mod queue;
mod runs;
mod serve;
mod slo;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::{
    alert::{Alert, Change, OnCall, Runbook},
    dify::{Dify, DifyCommand, Doctor, Init},
    model::{Model, ModelRoute, Provider, Route},
    queue::{Queue, QueueAct, QueueHow, QueueRead},
    runs::{Apps, Explain, Runs},
    serve::{Check, ConfigFile, Demo, Role, Serve},
    slo::{Slo, SloChange},
};

/// The operations plane for Dify.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine with sample apps, a model provider of our own and light traffic.
    Demo(Demo),
    /// Run in production form, from a configuration file.
    Serve(Serve),
    /// Execute queued runs. Started by `serve` and `demo`, which hand it its orders on standard input.
    #[command(hide = true)]
    Worker,
    /// Write a configuration for a Dify from the .env that it has anyway.
    Init(Init),
    /// Look at a whole Dify once: its components, then what is wrong, the worst first.
    Doctor(Doctor),
    /// Check a configuration and report every problem at once.
    Check(Check),
    /// Bring the store's schema up to this version.
    Migrate(ConfigFile),
    /// Load the configuration of the running instance again; streams run on. So does SIGHUP.
    Reload(Read),
    /// Show where the running instance listens, its health and its queue.
    Status(Read),
    /// Show the health of the running instance; exits with 1 when it is not ok.
    Health(Read),
    /// Walk one request: each stage, its outcome, the condition that decided it, its time.
    Explain(Explain),
    /// Runs of workflows and chatflows.
    #[command(subcommand)]
    Runs(Runs),
    /// Apps that the embedded engine runs.
    #[command(subcommand)]
    Apps(Apps),
    /// Alerts.
    #[command(subcommand)]
    Alert(Alert),
    /// Who is on call, and standing in for somebody.
    #[command(subcommand, name = "oncall")]
    OnCall(OnCall),
    /// Runbooks: what Mainstay does by itself, and on request.
    #[command(subcommand)]
    Runbook(Runbook),
    /// Model providers: how they are, and taking them out of rotation and back.
    #[command(subcommand)]
    Provider(Provider),
    /// Models that callers ask for, and where their calls go.
    #[command(subcommand)]
    Model(Model),
    /// Try a changed policy on the past.
    #[command(subcommand)]
    Route(Route),
    /// Dify's queues and workers: what waits, who works, what is wrong, and what can be done.
    #[command(subcommand)]
    Queue(Queue),
    /// What was read of Dify's database: apps, runs, failures and what they mean, and how far behind now that is.
    #[command(subcommand)]
    Dify(DifyCommand),
    /// Service levels: what is promised, how it stands, and what their past says.
    #[command(subcommand)]
    Slo(Slo),
}

/// Which instance to ask, and how to answer.
#[derive(Clone, Debug, Args)]
pub(crate) struct Read {
    /// The admin address of the instance. Default: that of the instance running under this user.
    #[arg(long, value_name = "URL", env = "MAINSTAY_ADMIN")]
    pub(crate) admin: Option<String>,
    /// The admin token.
    #[arg(long, value_name = "TOKEN", env = "MAINSTAY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Answer in JSON, as the admin API does.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
