//! What each capability needs: as data, so that a version which lacks something loses that alone.

use super::{Missing, Schema};

/// Something that can be read of a Dify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    Runs,
    Nodes,
    /// Which endpoint made a run.
    Origins,
    Messages,
    Feedback,
    Triggers,
    /// When schedules are due.
    Schedules,
    Apps,
    Datasets,
    Documents,
}

impl Capability {
    pub const ALL: [Capability; 10] = [
        Capability::Runs,
        Capability::Nodes,
        Capability::Origins,
        Capability::Messages,
        Capability::Feedback,
        Capability::Triggers,
        Capability::Schedules,
        Capability::Apps,
        Capability::Datasets,
        Capability::Documents,
    ];

    pub fn as_str(self) -> &'static str {
        need(self).name
    }
}

struct Need {
    name: &'static str,
    /// What an operator does not see without it.
    lost: &'static str,
    table: &'static str,
    columns: &'static [&'static str],
    /// An index must begin so, or each read would scan the table.
    index: &'static [&'static str],
}

fn need(capability: Capability) -> &'static Need {
    match capability {
        Capability::Runs => &Need {
            name: "runs",
            lost: "workflow runs are not read",
            table: "workflow_runs",
            columns: &[
                "id",
                "tenant_id",
                "app_id",
                "workflow_id",
                "type",
                "triggered_from",
                "version",
                "status",
                "error",
                "elapsed_time",
                "total_tokens",
                "total_steps",
                "created_at",
                "finished_at",
            ],
            index: &["created_at", "id"],
        },
        Capability::Nodes => &Need {
            name: "nodes",
            lost: "the nodes of runs, and with them models, tokens and prices, are not read",
            table: "workflow_node_executions",
            columns: &[
                "id",
                "workflow_run_id",
                "node_id",
                "node_type",
                "status",
                "error",
                "elapsed_time",
                "created_at",
                "finished_at",
            ],
            index: &["workflow_run_id"],
        },
        Capability::Origins => &Need {
            name: "origins",
            lost: "whether a run came from the API or the web app is not known",
            table: "workflow_app_logs",
            columns: &["workflow_run_id", "created_from"],
            index: &["workflow_run_id"],
        },
        Capability::Messages => &Need {
            name: "messages",
            lost: "answers of chat and completion apps are not read",
            table: "messages",
            columns: &[
                "id",
                "app_id",
                "answer",
                "message_tokens",
                "answer_tokens",
                "provider_response_latency",
                "total_price",
                "currency",
                "status",
                "error",
                "created_at",
                "updated_at",
            ],
            index: &["created_at", "id"],
        },
        Capability::Feedback => &Need {
            name: "feedback",
            lost: "likes and dislikes are not read",
            table: "message_feedbacks",
            columns: &["id", "app_id", "message_id", "rating", "from_source", "created_at"],
            index: &["message_id"],
        },
        Capability::Triggers => &Need {
            name: "triggers",
            lost: "runs that were triggered, and how long they waited in a queue, are not read",
            table: "workflow_trigger_logs",
            columns: &[
                "id",
                "app_id",
                "workflow_id",
                "workflow_run_id",
                "trigger_type",
                "status",
                "error",
                "queue_name",
                "elapsed_time",
                "created_at",
                "triggered_at",
                "finished_at",
            ],
            index: &["created_at"],
        },
        Capability::Schedules => &Need {
            name: "schedules",
            lost: "when schedules are due, and which never fire, is not known",
            table: "workflow_schedule_plans",
            columns: &["id", "tenant_id", "app_id", "node_id", "next_run_at"],
            index: &["next_run_at"],
        },
        Capability::Apps => &Need {
            name: "apps",
            lost: "apps have no names and no modes",
            table: "apps",
            columns: &["id", "tenant_id", "name", "mode", "status"],
            index: &["id"],
        },
        Capability::Datasets => &Need {
            name: "datasets",
            lost: "knowledge bases are not listed",
            table: "datasets",
            columns: &["id", "tenant_id", "name", "indexing_technique"],
            index: &["id"],
        },
        Capability::Documents => &Need {
            name: "documents",
            lost: "documents that are stuck are not found",
            table: "documents",
            columns: &[
                "id",
                "tenant_id",
                "dataset_id",
                "name",
                "indexing_status",
                "is_paused",
                "error",
                "created_at",
                "processing_started_at",
                "updated_at",
            ],
            index: &["dataset_id"],
        },
    }
}

/// Every table that is read.
pub(crate) fn tables() -> Vec<String> {
    let mut tables: Vec<String> =
        Capability::ALL.iter().map(|capability| need(*capability).table.to_owned()).collect();
    // Which schedules are switched on.
    tables.push("app_triggers".to_owned());
    tables.push("alembic_version".to_owned());
    tables
}

/// Why the capability is not there; `None` when it is.
pub(super) fn lacks(schema: &Schema, capability: Capability) -> Option<Missing> {
    let Need { lost, table, columns, index, .. } = need(capability);
    let missing = |want: String, remedy: String| {
        Some(Missing { capability, sentence: format!("{lost}: {want}"), remedy })
    };
    let Some(there) = schema.columns.get(*table) else {
        let remedy =
            "Check that this is Dify's own database and that its migrations ran (`flask upgrade-db`).";
        return missing(format!("there is no table {table}"), remedy.to_owned());
    };
    let absent: Vec<&str> = columns.iter().copied().filter(|column| !there.contains_key(*column)).collect();
    if !absent.is_empty() {
        let remedy = "This Dify is older or newer than what Mainstay knows; update the one that is behind.";
        return missing(format!("{table} has no {}", absent.join(", ")), remedy.to_owned());
    }
    let refused: Vec<&str> = columns.iter().copied().filter(|column| !schema.has(table, column)).collect();
    if !refused.is_empty() {
        let what =
            if refused.len() == columns.len() { String::new() } else { format!(" ({})", refused.join(", ")) };
        let remedy = format!(
            "GRANT SELECT{what} ON {table} to our role; `mainstay init --dify-env` prints every GRANT."
        );
        return missing(format!("our role may not read {table}{what}"), remedy);
    }
    if !schema.has_index(table, index) {
        let index = index.join(", ");
        let remedy = format!("CREATE INDEX CONCURRENTLY ON {table} ({index}); newer Dify versions have it.");
        return missing(format!("{table} has no index on ({index}), and it is never scanned"), remedy);
    }
    None
}
