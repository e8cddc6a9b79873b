//! Instances: the demo, `serve` and what is checked before.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::parse::{rate, seconds};
use crate::{config, demo};

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

#[derive(Clone, Debug, Args)]
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
