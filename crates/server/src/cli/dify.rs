//! A Dify that is looked after: its configuration, one whole look, and what it did.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use mainstay_control::ingest::By;

use super::{Read, parse::span};
use crate::config;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The .env of the Dify, as docker compose reads it, or a file of NAME=VALUE made from a ConfigMap and a Secret.
    #[arg(long, value_name = "PATH")]
    pub(crate) dify_env: PathBuf,
    /// The machine whose published ports lead to Dify's containers, seen from here. Default: Mainstay runs in the
    /// compose network.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    pub(crate) output: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which Dify a command is about.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dify {
    /// A configuration file with a [dify] section. Default: mainstay.toml for `doctor`; `queue` asks the running instance.
    #[arg(long, value_name = "FILE", conflicts_with = "dify_env")]
    pub(crate) config: Option<PathBuf>,
    /// The .env of the Dify, as docker compose reads it: no configuration is needed.
    #[arg(long, value_name = "PATH")]
    pub(crate) dify_env: Option<PathBuf>,
    /// With --dify-env: the machine whose published ports lead to Dify's containers, seen from here.
    #[arg(long, value_name = "ADDRESS", requires = "dify_env")]
    pub(crate) host: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) dify: Dify,
    /// Also say what an upgrade of Dify to this version would break.
    #[arg(long, value_name = "VERSION")]
    pub(crate) upgrade_to: Option<String>,
    /// Write what was found, without secrets, into this .tar.gz.
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DifyCommand {
    /// How the reading goes and how far behind now it is; exits with 1 when it is not well.
    Status {
        #[command(flatten)]
        read: Read,
    },
    /// Each app: runs, failures by class, durations, waits in queues, tokens, prices.
    Apps {
        /// How far back, as 30m, 24h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span)]
        since: Duration,
        #[command(flatten)]
        read: Read,
    },
    /// Runs, failures, durations, tokens and prices by one label: mode, endpoint, version, node, model, provider or queue.
    Usage {
        #[arg(long, value_name = "LABEL", default_value = "model", value_parser = PossibleValuesParser::new(By::ALL.map(|(word, _)| word)))]
        by: String,
        /// Only of this app, by id.
        #[arg(long)]
        app: Option<String>,
        /// How far back, as 30m, 24h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span)]
        since: Duration,
        #[command(flatten)]
        read: Read,
    },
    /// The newest runs.
    Runs {
        /// Only of this app, by id.
        #[arg(long)]
        app: Option<String>,
        /// Only failures of this class, as provider_rate_limited.
        #[arg(long)]
        class: Option<String>,
        /// Only those that failed.
        #[arg(long)]
        failed: bool,
        /// How far back, as 30m, 24h or 7d.
        #[arg(long, value_name = "SPAN", value_parser = span)]
        since: Option<Duration>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        read: Read,
    },
    /// What went wrong: failures by signature, each with its cause and what to do.
    Errors {
        /// Only of this app, by id.
        #[arg(long)]
        app: Option<String>,
        /// How far back, as 30m, 24h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span)]
        since: Duration,
        #[command(flatten)]
        read: Read,
    },
}
