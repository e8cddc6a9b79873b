//! Rows that were committed behind the place that was reached: a transaction that was open for long, a clock that is
//! behind, rows of one second in the order of chance.
//!
//! A row is committed at most `overlap` after its time. It may have been passed; so each pass compares positions as far
//! back as twice that, and passes come much more often.

use std::collections::HashSet;

use mainstay_base::Micros;
use mainstay_dify::{
    db::Id,
    read::{Cursor, Source},
};
use mainstay_store::MAX_DIFY_POSITIONS;
use tokio::time::Instant;

use super::{Ingest, IngestError, Round, step::Kind};

/// Positions of one query; an index holds them side by side.
const PAGE: usize = 5_000;
/// Rows that are read at once when they were missed.
const ROWS: usize = 200;
/// Pages of one pass. A pass that was cut goes on where it ended, with the next round.
const PAGES: usize = 40;

impl Ingest {
    pub(super) fn late_is_due<T: Kind>(&mut self) -> bool {
        T::track(self).next_late_at.is_none_or(|at| Instant::now() >= at)
    }

    pub(super) async fn late<T: Kind>(
        &mut self,
        source: Source<'_>,
        now: Micros,
        reached: Cursor,
    ) -> Result<Round, IngestError> {
        let mut round = Round { is_caught_up: true, ..Round::default() };
        T::track(self).next_late_at =
            Some(Instant::now() + self.options.late_every.min(self.options.overlap / 4));
        let mut from = Cursor { at: reached.at - self.options.overlap * 2, id: Id::default() };
        for _ in 0..PAGES {
            let there = source.positions::<T>(from, reached, PAGE).await?;
            let Some(last) = there.last().copied() else { break };
            let missed = self.missed::<T>(&there).await?;
            for some in missed.chunks(ROWS) {
                let rows = source.by_ids::<T>(some).await?;
                round += self.take(rows, source, now).await?;
            }
            if there.len() < PAGE {
                break;
            }
            from = last;
        }
        Ok(round)
    }

    /// Those that the store does not have.
    async fn missed<T: Kind>(&mut self, there: &[Cursor]) -> Result<Vec<Id>, IngestError> {
        let kind = T::track(self).kind;
        let (Some(first), Some(last)) = (there.first(), there.last()) else { return Ok(Vec::new()) };
        let known = self.store.dify().positions(&self.options.source, kind, first.at, last.at).await?;
        debug_assert!(PAGE <= MAX_DIFY_POSITIONS as usize);
        let known: HashSet<Id> = known.iter().filter_map(|(_, id)| id.parse().ok()).collect();
        Ok(there.iter().map(|cursor| cursor.id).filter(|id| !known.contains(id)).collect())
    }
}
