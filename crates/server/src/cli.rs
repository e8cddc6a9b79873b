//! The command line: what can be asked, and nothing of how it is done.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{config, demo};

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
    /// Runbooks: what Mainstay does by itself, and on request.
    #[command(subcommand)]
    Runbook(Runbook),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where to keep data. Default: a new folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Console and admin API. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7000")]
    pub(crate) admin: SocketAddr,
    /// Dify's Service API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7001")]
    pub(crate) app: SocketAddr,
    /// OpenAI-shaped model API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7002")]
    pub(crate) model: SocketAddr,
    /// Worker processes.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Synthetic requests a second.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 2.0, value_parser = rate)]
    pub(crate) traffic: f64,
    /// Inject a fault after 5 s, narrate, and exit with 0 only if the loop closed.
    #[arg(long, value_name = "NAME")]
    pub(crate) scenario: Option<demo::scenario::Name>,
    /// Stop by itself after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) exit_after: Option<Duration>,
    /// Log filter for standard error, as info or mainstay=debug.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(crate) log: String,
    /// Keep data in this PostgreSQL database instead of SQLite.
    #[arg(long, value_name = "URL", hide = true)]
    pub(crate) store: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// What this process does.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,
    /// Make or update the store's schema first (and the folder of a SQLite file).
    #[arg(long)]
    pub(crate) migrate: bool,
    /// When the file cannot be used, start with the configuration that was last accepted, and say so in health.
    #[arg(long)]
    pub(crate) last_good: bool,
}

/// What one process takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything.
    All,
    /// The app and model listeners.
    Gateway,
    /// Console, admin API, alerts, runbooks, deliveries.
    Control,
    /// Worker processes for queued runs.
    Worker,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Print a commented example of every key instead.
    #[arg(long)]
    pub(crate) print_example: bool,
    /// Look only at the form of references to secrets, not at what they refer to.
    #[arg(long)]
    pub(crate) without_secrets: bool,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
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

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// As in the answer's header x-mainstay-request-id.
    pub(crate) request_id: String,
    #[command(flatten)]
    pub(crate) read: Read,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// The latest runs.
    List {
        /// Only runs of this app, by id.
        #[arg(long)]
        app: Option<String>,
        /// Only runs with this status.
        #[arg(long)]
        status: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        #[command(flatten)]
        read: Read,
    },
    /// One run with its nodes.
    Show {
        run_id: String,
        #[command(flatten)]
        read: Read,
    },
    /// Stop a run that is queued or running.
    Cancel {
        run_id: String,
        #[command(flatten)]
        read: Read,
    },
    /// Put a dead run back into the queue.
    Retry {
        run_id: String,
        #[command(flatten)]
        read: Read,
    },
    /// Runs that were given up.
    Dead {
        #[command(flatten)]
        read: Read,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Apps {
    /// Import app files that Dify exported: all of them or none.
    Import {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        read: Read,
    },
    /// Every app.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// One app with its versions, by name or id.
    Show {
        app: String,
        #[command(flatten)]
        read: Read,
    },
    /// Print the DSL of an app, by name or id.
    Export {
        app: String,
        /// A version's id. Default: the current one.
        #[arg(long)]
        version: Option<String>,
        #[command(flatten)]
        read: Read,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    /// Open and recent alerts.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// Say that someone looks after it.
    Ack {
        alert_id: String,
        #[command(flatten)]
        read: Read,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runbook {
    /// What can be run, and what was.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// One execution, step by step.
    Show {
        execution_id: String,
        #[command(flatten)]
        read: Read,
    },
    /// Run a runbook now.
    Run {
        /// As `restart-service` or `provider-detour`.
        name: String,
        /// The component to run it on, as `worker:0` or `provider:openai` (see `mainstay health`).
        #[arg(long, value_name = "COMPONENT")]
        target: String,
        /// Why, for the timeline.
        #[arg(long, default_value = "asked for on the command line")]
        why: String,
        /// Only say what it would do.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        read: Read,
    },
    /// Let no runbook act by itself until it is unfrozen.
    Freeze {
        /// Why, for the timeline.
        #[arg(long, default_value = "asked for on the command line")]
        why: String,
        #[command(flatten)]
        read: Read,
    },
    /// Let runbooks act by themselves again.
    Unfreeze {
        /// Why, for the timeline.
        #[arg(long, default_value = "asked for on the command line")]
        why: String,
        #[command(flatten)]
        read: Read,
    },
}

/// More than a demo should make on purpose.
const MAX_RATE: f64 = 1000.0;
const MAX_SECONDS: u64 = 7 * 24 * 60 * 60;

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=MAX_RATE).contains(&rate) { Ok(rate) } else { Err(format!("allowed is 0 to {MAX_RATE}")) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| "not a whole number of seconds".to_owned())?;
    if (1..=MAX_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("allowed is 1 to {MAX_SECONDS}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
