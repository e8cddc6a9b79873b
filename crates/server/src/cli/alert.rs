//! Alerts and runbooks.

use clap::{Args, Subcommand};

use super::Read;

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

/// Why, and how seriously.
#[derive(Clone, Debug, Args)]
pub(crate) struct Change {
    /// Why, for the timeline.
    #[arg(long, default_value = "asked for on the command line")]
    pub(crate) why: String,
    /// Only say what it would do.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it even if a model is left without anybody.
    #[arg(long)]
    pub(crate) force: bool,
}
