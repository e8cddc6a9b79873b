//! Alerts and runbooks.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ConfigFile, Read, parse::span};

#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    /// Open and recent alerts.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// Say that someone looks after it, or after all of a group.
    Ack {
        #[arg(required_unless_present = "group", conflicts_with = "group")]
        alert_id: Option<String>,
        /// All alerts of this group that nobody looks after.
        #[arg(long, value_name = "GROUP_ID")]
        group: Option<String>,
        #[command(flatten)]
        read: Read,
    },
    /// What is told of together: by which way, to whom, what comes next, who looks after it.
    Groups {
        #[command(flatten)]
        read: Read,
    },
    /// One group: its alerts, and who was told what and when.
    Group {
        group_id: String,
        #[command(flatten)]
        read: Read,
    },
    /// Routes that nothing takes, policies and receivers that nobody uses, gaps in schedules; exits with 1 when there are any.
    Lint {
        #[command(flatten)]
        read: Read,
    },
    /// Tell nobody of the alerts that fit all matchers, for a while.
    Silence {
        /// label=value or label!=value, as app=chat, provider=openai, slo=chat-*, component=worker:*, severity=warning.
        #[arg(value_name = "MATCHER", required = true)]
        matchers: Vec<String>,
        /// For how long: 30m, 2h, 7d.
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        lasts: Duration,
        /// Why, for whoever finds it.
        #[arg(long, value_name = "WHY")]
        comment: String,
        /// Begin after so long instead of now.
        #[arg(long = "in", value_name = "SPAN", value_parser = span)]
        starts_in: Option<Duration>,
        #[command(flatten)]
        read: Read,
    },
    /// Silences, those that end last first.
    Silences {
        #[command(flatten)]
        read: Read,
    },
    /// End a silence before its time.
    Unsilence {
        silence_id: String,
        #[command(flatten)]
        read: Read,
    },
    /// Tell nobody of the alerts that fit all matchers, and write down what would have been told.
    Shadow {
        #[arg(value_name = "MATCHER", required = true)]
        matchers: Vec<String>,
        /// Why, for the timeline.
        #[arg(long, default_value = "asked for on the command line")]
        why: String,
        #[command(flatten)]
        read: Read,
    },
    /// What is in the shadow, and what it would have told.
    Shadows {
        #[command(flatten)]
        read: Read,
    },
    /// Tell people of what was in the shadow, from now on.
    Promote {
        /// The matchers of the shadow.
        #[arg(value_name = "MATCHER", required = true)]
        matchers: Vec<String>,
        #[command(flatten)]
        read: Read,
    },
    /// Receivers: who is told, and since when one is not reached.
    Receivers {
        #[command(flatten)]
        read: Read,
    },
    /// What became of notices, newest first.
    Deliveries {
        /// Only those to this receiver.
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
        /// Only pending, delivered, failed or superseded ones.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        #[command(flatten)]
        read: Read,
    },
    /// Send a notice that says it is a test, and wait for what becomes of it.
    Test {
        /// The receiver's name in the configuration.
        receiver: String,
        #[command(flatten)]
        read: Read,
    },
    /// Show what a receiver of a configuration would be sent. Nothing is sent.
    Preview {
        /// The receiver's name in the configuration.
        receiver: String,
        /// firing, escalated, reminder, acknowledged, resolved or test.
        #[arg(long, value_name = "WHAT", default_value = "firing")]
        what: String,
        #[command(flatten)]
        file: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
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

/// Who is on call.
#[derive(Debug, Subcommand)]
pub(crate) enum OnCall {
    /// Who is on call now, and until when.
    Who {
        #[command(flatten)]
        read: Read,
    },
    /// All shifts of the next two weeks, and overrides.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// Put somebody on call instead of whoever would be.
    Override {
        schedule: String,
        person: String,
        /// For how long: 2h, 1d.
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        lasts: Duration,
        /// Begin after so long instead of now.
        #[arg(long = "in", value_name = "SPAN", value_parser = span)]
        starts_in: Option<Duration>,
        /// Why, for whoever finds it.
        #[arg(long, value_name = "WHY", default_value = "")]
        comment: String,
        #[command(flatten)]
        read: Read,
    },
    /// End an override before its time.
    Release {
        override_id: String,
        #[command(flatten)]
        read: Read,
    },
}
