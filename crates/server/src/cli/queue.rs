//! Queues and workers of a Dify.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Dify, Read};

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// Queues: how much waits, since when, who takes it, and what is wrong; exits with 1 when something is.
    List(QueueRead),
    /// Workers: their pools, queues and tasks, and when they were heard.
    Workers(QueueRead),
    /// Tasks that run, are reserved, or stand at the ends of queues.
    Tasks {
        /// Only of this queue.
        #[arg(long)]
        queue: Option<String>,
        #[command(flatten)]
        read: QueueRead,
    },
    /// When each queue will be empty, with an interval.
    DrainForecast {
        /// Only this queue.
        queue: Option<String>,
        /// Without a running instance: how long to watch first.
        #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=3600))]
        watch_seconds: u64,
        #[command(flatten)]
        read: QueueRead,
    },
    /// Do something about a queue or a worker. Says what it would do, and does it with --yes.
    #[command(subcommand)]
    Act(QueueAct),
}

/// From the running instance, or straight from a Dify with --config or --dify-env.
#[derive(Clone, Debug, Args)]
pub(crate) struct QueueRead {
    #[command(flatten)]
    pub(crate) dify: Dify,
    #[command(flatten)]
    pub(crate) read: Read,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueAct {
    /// Let a worker run more tasks at a time.
    GrowPool {
        worker: String,
        #[arg(long, default_value_t = 1)]
        by: u32,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Let a worker run fewer tasks at a time.
    ShrinkPool {
        worker: String,
        #[arg(long, default_value_t = 1)]
        by: u32,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Change the range of a worker that sizes its pool by itself.
    Autoscale {
        worker: String,
        #[arg(long)]
        max: u32,
        #[arg(long)]
        min: u32,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Let workers take from a queue.
    AddConsumer {
        queue: String,
        /// Only this one.
        #[arg(long)]
        worker: Option<String>,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Let workers take nothing more from a queue.
    CancelConsumer {
        queue: String,
        /// Only this one.
        #[arg(long)]
        worker: Option<String>,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Let each worker start a task no faster than this: 10/m, 2/s, 100/h; 0 for no limit.
    RateLimit {
        task: String,
        rate: String,
        /// Only this one.
        #[arg(long)]
        worker: Option<String>,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Pass over a task when it comes; with --terminate, end it when it runs.
    Revoke {
        task_id: String,
        #[arg(long)]
        terminate: bool,
        #[command(flatten)]
        how: QueueHow,
    },
    /// End a worker after its tasks.
    Shutdown {
        worker: String,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Give a message back to its queue that a dead worker took.
    Requeue {
        tag: String,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Empty a queue into a file beside the instance's state; or take one message out that no worker can read.
    Purge {
        queue: String,
        /// Only this one; its name is told by `mainstay queue list` and `tasks`.
        #[arg(long)]
        message: Option<String>,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Put back what a purge took.
    Import {
        /// The name that the purge told.
        file: PathBuf,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Send the head of a workspace's own list of documents to the broker.
    Redispatch {
        /// document_indexing or duplicate_document_indexing.
        kind: String,
        tenant: String,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Free an app's rate-limit slots whose requests have ended long ago.
    ClearSlots {
        app: String,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Mark a run failed in Dify's database that is running for longer than it may, without progress and without a worker.
    FailRun {
        run: String,
        #[command(flatten)]
        how: QueueHow,
    },
    /// Take back what fail-run did.
    ReopenRun {
        run: String,
        #[command(flatten)]
        how: QueueHow,
    },
}

/// How an action is asked for. It goes through the running instance, which writes it into the timeline; with --config or
/// --dify-env it is done from here, and written into a file.
#[derive(Clone, Debug, Args)]
pub(crate) struct QueueHow {
    /// Do it; without this, only what would be done is told.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only tell what would be done, as without --yes.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Even if a guard says no that can be forced.
    #[arg(long)]
    pub(crate) force: bool,
    /// For the timeline.
    #[arg(long, default_value = "")]
    pub(crate) why: String,
    /// Without a running instance: where actions are written down, and messages that are purged.
    #[arg(long, value_name = "FOLDER", default_value = "mainstay-queue")]
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) read: QueueRead,
}
