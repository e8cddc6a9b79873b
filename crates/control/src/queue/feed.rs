//! What Dify's database tells of runs and documents that nobody works on any more.
//!
//! There is no index on states. A look of its own sees the newest runs and the first knowledge bases alone; what an
//! instance has read into its store ([`crate::ingest`]) is added to that, and each run of it is asked for again.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Clock, Micros};
use mainstay_dify::{
    celery::act::NO_PROGRESS,
    db::{Failure, Id, Reader},
    read::{self, RunRow},
    schema::{self, Capability},
};
use mainstay_store::Store;
use tokio_util::sync::CancellationToken;

use super::{Rows, RunningRun, WaitingDocuments, Watch};
use crate::ingest::view;

/// Between two looks of an instance.
const EVERY: Duration = Duration::from_secs(30);
/// Runs looked at, the newest of those that are old enough to be a zombie.
const RUNS: usize = 2_000;
/// Runs that are asked for their last progress.
const ASKED: usize = 50;
/// Knowledge bases looked at, and documents of one.
const DATASETS: usize = 50;
const DOCUMENTS: usize = 100;

/// Where an instance reads it.
pub struct Source {
    pub reader: Reader,
    pub store: Store,
    /// What the deployment is called in the store.
    pub name: String,
    pub longest_run: Duration,
}

impl Source {
    /// Tells the watch until it is stopped. A database that cannot be asked tells nothing; that it cannot is said by
    /// the probe of it.
    pub async fn run(self, watch: Watch, clock: Clock, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut acted = watch.acted();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = acted.changed() => ticks.reset(),
                () = stop.cancelled() => return,
            }
            tokio::select! {
                rows = self.rows(clock.now()) => watch.tell(rows),
                () = stop.cancelled() => return,
            }
        }
    }

    async fn rows(&self, now: Micros) -> Rows {
        let Source { reader, store, name, longest_run } = self;
        let limit = ASKED as u32;
        let open = view::zombies(store, name, now, *longest_run, limit).await.unwrap_or_default();
        let open: Vec<Id> = open.iter().filter_map(|zombie| zombie.run_id.parse().ok()).collect();
        let asked = look(reader, *longest_run, &open).await;
        let mut rows = asked.unwrap_or_else(|error| {
            tracing::debug!(%error, "Dify's database does not tell of runs and documents");
            Rows { longest_run: Some(*longest_run), ..Rows::default() }
        });
        for document in view::documents_stuck(store, name, now, Duration::ZERO).await.unwrap_or_default() {
            let is_waiting = document.status == "waiting";
            let is_known = rows.documents.iter().any(|known| known.dataset == document.dataset_id);
            if is_waiting && !is_known {
                rows.documents.push(WaitingDocuments {
                    tenant: document.tenant_id,
                    dataset: document.dataset_id,
                    count: 1,
                    oldest_at: document.since,
                });
            }
        }
        rows
    }
}

/// What the database tells when it is asked once. Bounded in rows and in time: what is older than the newest runs, or
/// beyond the first knowledge bases, is not seen.
pub async fn ask(reader: &Reader, longest_run: Duration) -> Result<Rows, Failure> {
    look(reader, longest_run, &[]).await
}

async fn look(reader: &Reader, longest_run: Duration, open: &[Id]) -> Result<Rows, Failure> {
    let schema = schema::look(reader).await?;
    let source = read::Source { reader, schema: &schema };
    let now = source.now().await?;
    let mut rows = Rows { longest_run: Some(longest_run), ..Rows::default() };
    if schema.can(Capability::Runs) && schema.can(Capability::Nodes) {
        rows.runs = runs(&source, now - longest_run - NO_PROGRESS, open).await?;
    }
    if schema.can(Capability::Datasets) && schema.can(Capability::Documents) {
        rows.documents = documents(&source).await?;
    }
    Ok(rows)
}

async fn runs(source: &read::Source<'_>, before: Micros, open: &[Id]) -> Result<Vec<RunningRun>, Failure> {
    let mut found: BTreeMap<Id, RunRow> = BTreeMap::new();
    if !open.is_empty() {
        let known = source.by_ids::<RunRow>(open).await?;
        let running = known.into_iter().filter(|run| run.status == "running" && run.created_at < before);
        found.extend(running.map(|run| (run.id, run)));
    }
    match source.running_before(before, RUNS, ASKED).await {
        // A database that is busy; those that are known are asked for all the same.
        Err(Failure::TooSlow { .. }) => {}
        newest => found.extend(newest?.into_iter().map(|run| (run.id, run))),
    }
    let mut runs = Vec::new();
    for run in found.into_values().take(ASKED) {
        runs.push(RunningRun {
            id: run.id.to_string(),
            app: run.app_id.to_string(),
            tenant: run.tenant_id.to_string(),
            started_at: run.created_at,
            progress_at: source.last_progress(run.id).await?,
        });
    }
    Ok(runs)
}

async fn documents(source: &read::Source<'_>) -> Result<Vec<WaitingDocuments>, Failure> {
    let mut waiting = Vec::new();
    for dataset in source.datasets(None, DATASETS).await? {
        let documents = match source.documents_under_way(dataset.id, DOCUMENTS).await {
            // A knowledge base too large for one look; its neighbours are looked at all the same.
            Err(Failure::TooSlow { .. }) => continue,
            documents => documents?,
        };
        let of_it = documents.iter().filter(|document| document.status == "waiting");
        let Some(oldest_at) = of_it.clone().map(|document| document.begun_at()).min() else {
            continue;
        };
        waiting.push(WaitingDocuments {
            tenant: dataset.tenant_id.to_string(),
            dataset: dataset.id.to_string(),
            count: of_it.count() as u64,
            oldest_at,
        });
    }
    Ok(waiting)
}
