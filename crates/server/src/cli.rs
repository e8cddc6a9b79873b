//! The command line: what can be asked, and nothing of how it is done.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};
use mainstay_control::ingest::By;

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
    /// A configuration file with a [dify] section. Default: mainstay.toml, unless --dify-env is given.
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

/// More than a demo should make on purpose.
const MAX_RATE: f64 = 1000.0;
const MAX_SECONDS: u64 = 7 * 24 * 60 * 60;
const MAX_SPAN_SECONDS: u64 = 31 * 24 * 60 * 60;

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

/// `90s`, `30m`, `24h`, `7d`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "not a span of time: write it as 30m, 24h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let seconds = number.saturating_mul(scale);
    if (1..=MAX_SPAN_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("allowed is 1s to 31d".to_owned())
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

    #[test]
    fn spans_are_read_and_bounded() {
        for (text, seconds) in
            [("90s", Some(90)), ("30m", Some(1_800)), ("24h", Some(86_400)), ("31d", Some(2_678_400))]
        {
            assert_eq!(span(text).ok().map(|span| span.as_secs()), seconds, "{text}");
        }
        for text in ["", "h", "0h", "-1h", "1.5h", "32d", "99999999999999999999h", "1é", "24"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}

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
