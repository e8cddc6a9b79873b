//! Service levels.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{Read, parse::span};

#[derive(Debug, Subcommand)]
pub(crate) enum Slo {
    /// All service levels and how they stand; exits with 1 when one pages, is exhausted or is blind.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// One: how it burns, whose fault its failures were, when it would have paged.
    Show {
        name: String,
        #[command(flatten)]
        read: Read,
    },
    /// Make or change one: key=value pairs over what is there, as target=99.5 sli.kind=latency sli.threshold_ms=30000
    /// selector.mode=workflow window.rolling_days=7 owner=ann alerting=shadow.
    Set {
        name: String,
        #[arg(value_name = "KEY=VALUE", required = true)]
        pairs: Vec<String>,
        #[command(flatten)]
        change: SloChange,
    },
    /// Remove one; one that ships with Mainstay is again as it ships.
    Remove {
        name: String,
        #[command(flatten)]
        change: SloChange,
    },
    /// Say of each, by its own past: false pages, the smallest outage it sees, how soon, rules that can never fire.
    Lint {
        /// Only this one.
        name: Option<String>,
        /// How far back, as 24h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = span)]
        since: Duration,
        #[command(flatten)]
        read: Read,
    },
    /// Run one over what was recorded: when would it have paged?
    Replay {
        name: String,
        /// How far back, as 24h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = span)]
        since: Duration,
        /// Try another target, in percent.
        #[arg(long, value_name = "PERCENT")]
        target: Option<f64>,
        #[command(flatten)]
        read: Read,
    },
    /// Store all service levels of a file or none: OpenSLO v1 or our own form, YAML or JSON.
    Import {
        file: PathBuf,
        #[command(flatten)]
        change: SloChange,
    },
    /// Print them as OpenSLO v1.
    Export {
        /// Only this one.
        name: Option<String>,
        #[command(flatten)]
        read: Read,
    },
    /// Print recording and alerting rules for Prometheus.
    Rules {
        /// Only of this one.
        name: Option<String>,
        #[command(flatten)]
        read: Read,
    },
    /// Let one that was only watched (alerting = shadow) tell people.
    Promote {
        name: String,
        #[command(flatten)]
        change: SloChange,
    },
    /// Who changed what, and why.
    History {
        /// Only of this one.
        name: Option<String>,
        #[command(flatten)]
        read: Read,
    },
    /// Take the last change of one back.
    Undo {
        name: String,
        #[command(flatten)]
        change: SloChange,
    },
}

/// Why, and how seriously.
#[derive(Clone, Debug, Args)]
pub(crate) struct SloChange {
    /// Why, for the history.
    #[arg(long, default_value = "asked for on the command line")]
    pub(crate) why: String,
    /// Only say what is wrong with it and what it would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) read: Read,
}
