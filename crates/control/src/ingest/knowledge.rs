//! Knowledge bases, one at a time: which documents are on their way, and since when.

use std::time::Duration;

use mainstay_dify::{
    db::{Failure, Id},
    read::{DatasetRow, DocumentRow, Source},
    schema::Capability,
};
use serde_json::json;
use tokio::time::Instant;

use super::{Ingest, IngestError};

/// Between two knowledge bases.
const EVERY: Duration = Duration::from_secs(2);
/// Between two walks over all of them.
const WALK_EVERY: Duration = Duration::from_secs(60);
const PAGE: usize = 100;
/// Documents under way that are named; there may be more.
const DOCUMENTS: usize = 100;

#[derive(Default)]
pub(super) struct Walk {
    waiting: Vec<DatasetRow>,
    /// The last knowledge base that was listed; `None`: the walk begins anew.
    after: Option<Id>,
    next_at: Option<Instant>,
}

impl Ingest {
    pub(super) async fn walk_knowledge(&mut self, source: Source<'_>) -> Result<(), IngestError> {
        let can = source.schema.can(Capability::Datasets) && source.schema.can(Capability::Documents);
        if !can || self.knowledge.next_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.knowledge.next_at = Some(Instant::now() + EVERY);
        if self.knowledge.waiting.is_empty() {
            self.knowledge.waiting = source.datasets(self.knowledge.after, PAGE).await?;
            self.knowledge.after = self.knowledge.waiting.last().map(|dataset| dataset.id);
            if self.knowledge.waiting.is_empty() {
                self.knowledge.next_at = Some(Instant::now() + WALK_EVERY);
                return Ok(());
            }
        }
        let Some(dataset) = self.knowledge.waiting.pop() else { return Ok(()) };
        let under_way = match source.documents_under_way(dataset.id, DOCUMENTS).await {
            // A knowledge base too large for one look; its neighbours are looked at all the same.
            Err(Failure::TooSlow { .. }) => return Ok(()),
            answer => answer?,
        };
        let states = match source.documents_by_state(dataset.id).await {
            Err(Failure::TooSlow { .. }) => None,
            answer => Some(answer?),
        };
        let document = |document: &DocumentRow| {
            json!({
                "id": document.id.to_string(), "name": document.name, "status": document.status,
                "since": document.begun_at(),
            })
        };
        let body = json!({
            "name": dataset.name,
            "tenant": dataset.tenant_id.to_string(),
            "states": states.map(|states| {
                states.into_iter().map(|state| (state.status, state.count.into())).collect::<serde_json::Map<_, _>>()
            }),
            "under_way": under_way.iter().map(document).collect::<Vec<_>>(),
        });
        let name = format!("documents:{}", dataset.id);
        self.store.dify().put_state(&self.options.source, &name, body.to_string()).await?;
        Ok(())
    }
}
