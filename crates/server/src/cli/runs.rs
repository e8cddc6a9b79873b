//! Requests, runs and apps.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Read;

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// As in the answer's header x-request-id.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
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
