//! Verdicts that need Dify's database: runs and documents that nobody works on any more.

use std::time::Duration;

use mainstay_base::{Evidence, Finding, Micros, Severity, finding::Subject};
use mainstay_dify::celery::{
    Answer, Peek, Seen,
    act::{LONGEST_RUN, NO_PROGRESS, word},
};
use serde::{Deserialize, Serialize};

use super::{Bench, worded};

/// What the database tells; empty where it was not asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    pub runs: Vec<RunningRun>,
    pub documents: Vec<WaitingDocuments>,
    /// The longest that a run may take, where the environment tells.
    pub longest_run: Option<Duration>,
}

/// A run whose row says `running`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningRun {
    pub id: String,
    pub app: String,
    pub tenant: String,
    pub started_at: Micros,
    /// When its last node ended or began.
    pub progress_at: Option<Micros>,
}

/// Documents of one knowledge base whose rows say `waiting`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingDocuments {
    pub tenant: String,
    pub dataset: String,
    pub count: u64,
    pub oldest_at: Micros,
}

/// Documents that wait for so long while nothing of them is in a queue.
const WAITED: Duration = Duration::from_secs(600);
/// Runs named in one finding.
const MAX_NAMED: usize = 3;

pub(super) fn judge(bench: &mut Bench<'_>, seen: &Seen, rows: &Rows) {
    zombies(bench, seen, rows);
    for documents in &rows.documents {
        stuck(bench, seen, documents);
    }
}

/// S23: longer than a run may take, no node for a while, and no worker has it.
fn zombies(bench: &mut Bench<'_>, seen: &Seen, rows: &Rows) {
    let longest = rows.longest_run.unwrap_or(LONGEST_RUN) + NO_PROGRESS;
    let answers = seen.workers.iter().filter_map(|worker| worker.answer.as_ref());
    let worked_on: Vec<&str> =
        answers.flat_map(Answer::held).filter_map(|task| task.about.run.as_deref()).collect();
    let now = bench.now;
    let is_zombie = |run: &&RunningRun| {
        let progress = run.progress_at.unwrap_or(run.started_at);
        now.since(run.started_at) > longest
            && now.since(progress) > NO_PROGRESS
            && !worked_on.contains(&run.id.as_str())
    };
    let zombies: Vec<&RunningRun> = rows.runs.iter().filter(is_zombie).collect();
    let Some(oldest) = zombies.iter().min_by_key(|run| run.started_at) else { return };
    let names: Vec<&str> = zombies.iter().take(MAX_NAMED).map(|run| run.id.as_str()).collect();
    bench.find(Finding {
        id: "S23".to_owned(),
        severity: Severity::Warning,
        component: "runs".to_owned(),
        subject: Subject {
            run: Some(oldest.id.clone()),
            app: Some(oldest.app.clone()),
            tenant: Some(oldest.tenant.clone()),
            ..Subject::default()
        },
        what: format!(
            "{} runs are `running` for over {} without progress: {}",
            zombies.len(),
            worded(longest),
            names.join(", ")
        ),
        cause: "the API or worker process that had them was killed; Dify never ends such rows".to_owned(),
        remedy: format!(
            "mainstay queue act fail-run {} --yes, which needs dify.database.write_user",
            word(&oldest.id)
        ),
        evidence: vec![Evidence::new(
            "workflow_runs, status running, by created_at",
            format!("{} began {} ago", oldest.id, worded(now.since(oldest.started_at))),
        )],
    });
}

/// Documents wait in the database, and nothing that would index them is anywhere.
fn stuck(bench: &mut Bench<'_>, seen: &Seen, documents: &WaitingDocuments) {
    let theirs = |dataset: Option<&String>| dataset == Some(&documents.dataset);
    let held = seen.workers.iter().filter_map(|worker| worker.answer.as_ref());
    let runs = held.flat_map(Answer::held).any(|task| theirs(task.about.dataset.as_ref()));
    let backlog = seen.queues.iter().any(|queue| {
        let is_theirs =
            |peek: &Peek| matches!(peek, Peek::Task { about, .. } if theirs(about.dataset.as_ref()));
        // A long queue is seen at its ends only; what lies between may be theirs.
        let is_long = queue.name.ends_with("dataset")
            && queue.length() > (queue.oldest.len() + queue.newest.len()) as u64;
        is_long || queue.oldest.iter().chain(&queue.newest).any(is_theirs)
    });
    let listed = seen.tenants.iter().any(|list| list.tenant == documents.tenant);
    let waited = bench.now.since(documents.oldest_at);
    let stands = !(runs || backlog || listed)
        && bench.stands_for(format!("documents {}", documents.dataset), bench.limits.tenant_list);
    if !stands || waited < WAITED {
        return;
    }
    bench.find(Finding {
        id: "documents-stuck".to_owned(),
        severity: Severity::Warning,
        component: "indexing".to_owned(),
        subject: Subject { tenant: Some(documents.tenant.clone()), ..Subject::default() },
        what: format!(
            "{} documents of knowledge base {} wait for {} and no task is there for them",
            documents.count,
            documents.dataset,
            worded(waited)
        ),
        cause: "their message was lost with a worker or with Redis".to_owned(),
        remedy: "retry them in Dify: knowledge base, documents, Retry".to_owned(),
        evidence: vec![Evidence::new("documents, indexing_status waiting", documents.count.to_string())],
    });
}
