//! Names in Redis: kombu's (`transport/redis.py` 5.5.4), Celery's and Dify's.

/// A message's priority is rounded down to one of these; each has a list of its own.
pub const PRIORITY_STEPS: [u8; 4] = [0, 3, 6, 9];
/// What kombu puts between the parts of a name.
pub(super) const SEPARATOR: &str = "\u{6}\u{16}";

pub(super) const BINDINGS: &str = "_kombu.binding.";
pub(super) const REPLY_BINDINGS: &str = "_kombu.binding.reply.celery.pidbox";
pub(super) const UNACKED: &str = "unacked";
pub(super) const UNACKED_INDEX: &str = "unacked_index";

/// Queues of Dify's releases up to 1.17, so that one is looked at before anybody declared it.
pub const KNOWN_QUEUES: [&str; 25] = [
    "api_token",
    "app_deletion",
    "celery",
    "conversation",
    "dataset",
    "dataset_summary",
    "mail",
    "monitor",
    "ops_trace",
    "pipeline",
    "plugin",
    "priority_dataset",
    "priority_pipeline",
    "retention",
    "schedule_executor",
    "schedule_poller",
    "trigger_refresh_executor",
    "trigger_refresh_publisher",
    "triggered_workflow_dispatcher",
    "workflow",
    "workflow_based_app_execution",
    "workflow_professional",
    "workflow_sandbox",
    "workflow_storage",
    "workflow_team",
];

/// Exchanges of Celery's own machinery: no queues of tasks.
pub(super) fn is_machinery(exchange: &str) -> bool {
    exchange == "celeryev" || exchange.ends_with("pidbox") || exchange.starts_with("celeryev.")
}

/// The list of one priority step, without the deployment's prefix.
pub(super) fn list(queue: &str, step: u8) -> String {
    if step == 0 { queue.to_owned() } else { format!("{queue}{SEPARATOR}{step}") }
}

/// Where questions to workers are published.
pub(super) fn control_channel(database: u32) -> String {
    format!("/{database}.celery.pidbox")
}

/// What workers publish of themselves; events of tasks are left out.
pub(super) fn worker_events(database: u32) -> String {
    format!("/{database}.celeryev/worker.*")
}

pub(super) fn reply_list(reply_key: &str) -> String {
    format!("{reply_key}.reply.celery.pidbox")
}

/// The member of [`REPLY_BINDINGS`] that leads replies to [`reply_list`].
pub(super) fn reply_binding(reply_key: &str) -> String {
    format!("{reply_key}{SEPARATOR}{SEPARATOR}{}", reply_list(reply_key))
}
