//! What was read of Dify's databases.
//!
//! Promises: a batch is taken whole, with the place up to which it was read, in one transaction; an item is counted
//! once, when it is first known to be at its end, however often it is given; of two readers only one goes on.

mod count;
mod list;
mod take;

use std::time::Duration;

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Row, numbers, values},
    model::{
        DifyBatch, DifyCounted, DifyCursor, DifyFilter, DifyListed, DifySeries, DifyState, DifyTaken,
        DifyTotal,
    },
};

/// The most rows one list gives.
pub const MAX_DIFY_LIST: u32 = 1000;
/// The most positions that are compared at once.
pub const MAX_DIFY_POSITIONS: u32 = 20_000;
/// The most series that are read.
const MAX_DIFY_SERIES: u32 = 20_000;
/// The most minutes and hours that one sum is made of: 30 days of 500 series take half of it.
const MAX_SUMS: u32 = 750_000;
const MAX_STATES: u32 = 10_000;
/// What one sweep removes of a kind.
const SWEEP: u32 = 5_000;

pub struct Dify {
    pub(crate) db: Db,
}

impl Dify {
    /// `None`: somebody else took a batch since; read the cursor again.
    pub async fn take(&self, batch: DifyBatch) -> Result<Option<DifyTaken>, StoreError> {
        self.db.write(move |tx| take::take(tx, &batch)).await
    }

    pub async fn cursor(&self, source: &str, kind: &str) -> Result<DifyCursor, StoreError> {
        const SQL: &str =
            "SELECT sequence, at, id, updated_at FROM dify_cursors WHERE source = $1 AND kind = $2";
        let (source, kind) = (source.to_owned(), kind.to_owned());
        let read = |mut row: Row| {
            Ok(DifyCursor {
                sequence: row.int()?,
                at: row.micros()?,
                id: row.text()?,
                updated_at: row.micros()?,
            })
        };
        self.db
            .read(move |tx| tx.one(SQL, values![&source, &kind])?.map_or(Ok(DifyCursor::default()), read))
            .await
    }

    /// Items to look at again, those that waited longest first.
    pub async fn due(
        &self,
        source: &str,
        kind: &str,
        now: Micros,
        limit: u32,
    ) -> Result<Vec<DifyListed>, StoreError> {
        const SQL: &str = "SELECT kind, id, created_at, app_id, status, class, look_at, body FROM dify_items \
             WHERE source = $1 AND kind = $2 AND look_at <= $3 ORDER BY look_at LIMIT $4";
        let (source, kind) = (source.to_owned(), kind.to_owned());
        let limit = limit.min(MAX_DIFY_LIST);
        self.db
            .read(move |tx| {
                let rows = tx.query(SQL, values![&source, &kind, now, limit])?;
                rows.into_iter().map(list::listed).collect()
            })
            .await
    }

    /// The items that are not at their end and began before a time, oldest first.
    pub async fn open_since(
        &self,
        source: &str,
        kind: &str,
        before: Micros,
        limit: u32,
    ) -> Result<Vec<DifyListed>, StoreError> {
        const SQL: &str = "SELECT kind, id, created_at, app_id, status, class, look_at, body FROM dify_items \
             WHERE source = $1 AND kind = $2 AND look_at IS NOT NULL AND created_at < $3 \
             ORDER BY created_at, id LIMIT $4";
        let (source, kind) = (source.to_owned(), kind.to_owned());
        let limit = limit.min(MAX_DIFY_LIST);
        self.db
            .read(move |tx| {
                let rows = tx.query(SQL, values![&source, &kind, before, limit])?;
                rows.into_iter().map(list::listed).collect()
            })
            .await
    }

    /// Where items of a kind are, from one time to another, both included.
    pub async fn positions(
        &self,
        source: &str,
        kind: &str,
        from: Micros,
        to: Micros,
    ) -> Result<Vec<(Micros, String)>, StoreError> {
        const SQL: &str = "SELECT created_at, id FROM dify_items WHERE source = $1 AND kind = $2 \
             AND created_at >= $3 AND created_at <= $4 LIMIT $5";
        let (source, kind) = (source.to_owned(), kind.to_owned());
        let read = |mut row: Row| Ok((row.micros()?, row.text()?));
        self.db
            .read(move |tx| {
                let limit = MAX_DIFY_POSITIONS * 2;
                tx.query(SQL, values![&source, &kind, from, to, limit])?.into_iter().map(read).collect()
            })
            .await
    }

    /// Newest first.
    pub async fn list(&self, source: &str, filter: DifyFilter) -> Result<Vec<DifyListed>, StoreError> {
        let source = source.to_owned();
        self.db.read(move |tx| list::list(tx, &source, &filter)).await
    }

    /// Each series that was counted in a span of time.
    pub async fn totals(
        &self,
        source: &str,
        kind: &str,
        since: Micros,
        until: Micros,
    ) -> Result<Vec<DifyTotal>, StoreError> {
        let (source, kind) = (source.to_owned(), kind.to_owned());
        self.db.read(move |tx| count::totals(tx, &source, &kind, since, until, MAX_SUMS)).await
    }

    /// What was counted of each series of these kinds, minute by minute (or hour by hour) from `first` to before `end`.
    pub async fn counted(
        &self,
        source: &str,
        is_hours: bool,
        span: (i64, i64),
        kinds: &'static [&'static str],
    ) -> Result<Vec<DifyCounted>, StoreError> {
        let source = source.to_owned();
        self.db.read(move |tx| count::rows(tx, &source, is_hours, span, kinds, MAX_SUMS)).await
    }

    pub async fn series(&self, source: &str) -> Result<Vec<DifySeries>, StoreError> {
        let source = source.to_owned();
        self.db.read(move |tx| count::series(tx, &source, MAX_DIFY_SERIES)).await
    }

    /// Replaces what was said under this name.
    pub async fn put_state(&self, source: &str, name: &str, body: String) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO dify_states (source, name, at, body) VALUES ($1,$2,$3,$4) \
             ON CONFLICT (source, name) DO UPDATE SET at = excluded.at, body = excluded.body";
        let (source, name) = (source.to_owned(), name.to_owned());
        self.db.write(move |tx| tx.execute(SQL, values![&source, &name, tx.now(), &body])).await.map(drop)
    }

    /// What was said under names that begin so, not longer ago than `max_age`.
    pub async fn states(
        &self,
        source: &str,
        prefix: &str,
        max_age: Duration,
    ) -> Result<Vec<DifyState>, StoreError> {
        const SQL: &str = "SELECT name, at, body FROM dify_states WHERE source = $1 AND name >= $2 AND name < $3 \
             AND at >= $4 ORDER BY name LIMIT $5";
        let (source, from) = (source.to_owned(), prefix.to_owned());
        // No name has a letter beyond this one.
        let to = format!("{prefix}\u{10ffff}");
        let read = |mut row: Row| Ok(DifyState { name: row.text()?, at: row.micros()?, body: row.text()? });
        self.db
            .read(move |tx| {
                let oldest = tx.now() - max_age;
                let rows = tx.query(SQL, values![&source, &from, &to, oldest, MAX_STATES])?;
                rows.into_iter().map(read).collect()
            })
            .await
    }

    /// Removes items and minutes that are old enough, a bounded number. Items that are not at their end stay. `true`:
    /// there is more.
    pub async fn sweep(
        &self,
        source: &str,
        kinds: &'static [&'static str],
        items_before: Micros,
        minutes_before: Micros,
    ) -> Result<bool, StoreError> {
        let mut more = false;
        for kind in kinds {
            let source = source.to_owned();
            let removed =
                self.db.write(move |tx| list::sweep(tx, &source, kind, items_before, SWEEP)).await?;
            more |= removed >= u64::from(SWEEP);
        }
        let source = source.to_owned();
        let removed = self.db.write(move |tx| count::sweep(tx, &source, minutes_before, SWEEP)).await?;
        Ok(more || removed >= u64::from(SWEEP))
    }
}

/// `($1,$2),($3,$4)`.
fn tuples(rows: usize, columns: usize) -> String {
    let tuples: Vec<String> =
        (0..rows).map(|row| format!("({})", numbers(row * columns + 1, columns))).collect();
    tuples.join(",")
}
