//! Providers, models, and where calls go.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{Change, Read, parse::span};

#[derive(Debug, Subcommand)]
pub(crate) enum Provider {
    /// Every provider: health, rotation, traffic; exits with 1 when one is in trouble.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// One provider: keys, models, breakers, failures.
    Show {
        /// The provider, by its name in the configuration; see mainstay provider list.
        name: String,
        #[command(flatten)]
        read: Read,
    },
    /// Make a real, short call with each of its keys; exits with 1 when one fails.
    Test {
        /// The provider, by its name in the configuration; see mainstay provider list.
        name: String,
        /// The model to ask for. Default: the first that a route names.
        #[arg(long)]
        model: Option<String>,
        #[command(flatten)]
        read: Read,
    },
    /// Take it out of rotation, until it is restored: others are asked first.
    Drain {
        /// The provider, by its name in the configuration; see mainstay provider list.
        name: String,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        read: Read,
    },
    /// Put it back into rotation.
    Restore {
        /// The provider, by its name in the configuration; see mainstay provider list.
        name: String,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        read: Read,
    },
    /// Send its calls to another provider first, wherever a model has both.
    Failover {
        /// Whose calls go elsewhere.
        from: String,
        /// Who takes over.
        #[arg(required_unless_present = "undo", conflicts_with = "undo")]
        to: Option<String>,
        /// Take the failover back.
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        read: Read,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Every model that has a route.
    List {
        #[command(flatten)]
        read: Read,
    },
    /// One model: its chain, breakers, traffic, policy.
    Show {
        /// The model, by the name that callers ask for; see mainstay model list.
        name: String,
        #[command(flatten)]
        read: Read,
    },
    /// Where a call would go now. Nothing is sent.
    Route(ModelRoute),
}

#[derive(Debug, Args)]
pub(crate) struct ModelRoute {
    /// The model, by the name that callers ask for.
    pub(crate) name: String,
    /// Also say who is passed over, and why each stands where it does.
    #[arg(long)]
    pub(crate) explain: bool,
    /// The virtual key's name.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// The region that the call demands.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// The class of its data.
    #[arg(long)]
    pub(crate) data_class: Option<String>,
    /// How long its prompt is, in tokens.
    #[arg(long, default_value_t = 0)]
    pub(crate) input_tokens: u64,
    /// How many tokens it lets the answer have.
    #[arg(long)]
    pub(crate) max_output_tokens: Option<u64>,
    /// The call has tools.
    #[arg(long)]
    pub(crate) tools: bool,
    /// The call has images.
    #[arg(long)]
    pub(crate) vision: bool,
    /// The call demands structured output.
    #[arg(long)]
    pub(crate) structured_output: bool,
    /// It is a call for embeddings.
    #[arg(long)]
    pub(crate) embeddings: bool,
    /// It is a call of /v1/responses.
    #[arg(long)]
    pub(crate) responses: bool,
    /// It uses what cannot be converted: earlier responses, stored conversations, hosted tools, background.
    #[arg(long)]
    pub(crate) hosted: bool,
    #[command(flatten)]
    pub(crate) read: Read,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Route {
    /// Replay recorded calls (their metadata) under a changed configuration file, and compare.
    Simulate {
        /// The changed configuration file, whole.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// How far back, as 30m, 24h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span)]
        since: Duration,
        /// Only calls of this model.
        #[arg(long)]
        model: Option<String>,
        /// The same seed gives the same result.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        read: Read,
    },
}
