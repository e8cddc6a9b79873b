//! One table that is read along its time: the next page, what was committed behind it, and what was not at its end.

use std::sync::Arc;

use mainstay_base::Micros;
use mainstay_dify::{
    db::{Failure, Id},
    read::{Cursor, Pace, Source, Timed},
};
use mainstay_store::{
    Store,
    model::{DifyBatch, DifyCursor, DifyItem, DifySeries, DifyTaken},
};
use tokio::time::Instant;

use super::{Ingest, IngestError, Round};

/// How far a kind was read, and how fast.
pub(super) struct Track {
    pub(super) kind: &'static str,
    /// `None`: to be read from the store.
    place: Option<Place>,
    /// The page before the place, which is written while the next one is read.
    unwritten: Option<Page>,
    pub(super) pace: Pace,
    pub(super) next_late_at: Option<Instant>,
    /// How far behind the database's clock the last page ended.
    pub(super) lag_us: Option<i64>,
    /// The time up to which everything that was there is read.
    pub(super) read_to: Option<Micros>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// The last batch that the store took.
    sequence: i64,
    /// Where reading goes on.
    cursor: Cursor,
}

/// Rows that were read, as items. `next`: where reading went on.
struct Page {
    items: Vec<DifyItem>,
    next: Option<Cursor>,
}

impl Track {
    pub(super) fn new(kind: &'static str, most: usize) -> Track {
        Track {
            kind,
            place: None,
            unwritten: None,
            pace: Pace::new(most),
            next_late_at: None,
            lag_us: None,
            read_to: None,
        }
    }

    /// What was read and not written is read again.
    pub(super) fn forget(&mut self) {
        (self.place, self.unwritten) = (None, None);
    }

    pub(super) fn at(&self) -> Option<Micros> {
        self.place.map(|place| place.cursor.at)
    }
}

/// A row that becomes an item.
pub(super) trait Kind: Timed + Send + Sync {
    fn track(ingest: &mut Ingest) -> &mut Track;
    fn id(&self) -> Id;
    /// Whether nothing more will happen to it.
    fn is_ended(&self, now: Micros, ingest: &Ingest) -> bool;
    /// Rows of other tables that were read on the way are counted too.
    fn items(
        rows: Vec<Self>,
        ingest: &mut Ingest,
        source: Source<'_>,
        now: Micros,
    ) -> impl Future<Output = Result<(Vec<DifyItem>, u64), IngestError>> + Send;
}

impl Ingest {
    /// One page, and what else is due for this table.
    pub(super) async fn step<T: Kind>(&mut self, source: Source<'_>) -> Result<Round, IngestError> {
        let now = source.now().await?;
        let place = self.place::<T>(now).await?;
        let mut round = Round { is_caught_up: true, ..Round::default() };
        if self.late_is_due::<T>() {
            // What is compared with the store must be there.
            round += self.flush::<T>().await?;
            round += self.late::<T>(source, now, place.cursor).await?;
        }
        round += self.page::<T>(source, now).await?;
        if round.is_caught_up {
            round += self.flush::<T>().await?;
            round += self.open::<T>(source, now).await?;
        }
        Ok(round)
    }

    async fn place<T: Kind>(&mut self, now: Micros) -> Result<Place, IngestError> {
        let kind = T::track(self).kind;
        if let Some(place) = T::track(self).place {
            return Ok(place);
        }
        let DifyCursor { sequence, at, id, .. } =
            self.store.dify().cursor(&self.options.source, kind).await?;
        let first = Cursor { at: now - self.options.backfill, id: Id::default() };
        let cursor = if sequence == 0 { first } else { Cursor { at, id: id.parse().unwrap_or_default() } };
        let place = Place { sequence, cursor };
        T::track(self).place = Some(place);
        Ok(place)
    }

    /// Reads a page while the one before it is written.
    async fn page<T: Kind>(&mut self, source: Source<'_>, now: Micros) -> Result<Round, IngestError> {
        let store = self.store.clone();
        let batch = T::track(self).unwritten.take().map(|page| self.batch::<T>(page)).transpose()?;
        let write = async {
            match batch {
                Some(batch) => write(&store, batch).await.map(Some),
                None => Ok(None),
            }
        };
        let (read, written) = tokio::join!(self.read::<T>(source, now), write);
        let mut round = Round::default();
        if let Some(written) = written? {
            round.counted = self.written::<T>(written)?.counted;
        }
        let Some((page, rows, is_full)) = read? else { return Ok(round) };
        round.rows = rows;
        round.is_caught_up = !is_full;
        let track = T::track(self);
        if let (Some(place), Some(next)) = (&mut track.place, page.next) {
            place.cursor = next;
            track.unwritten = Some(page);
        }
        Ok(round)
    }

    /// The next page, the rows it was made of, and whether there is more. `None`: it took too long; the next asks for less.
    async fn read<T: Kind>(
        &mut self,
        source: Source<'_>,
        now: Micros,
    ) -> Result<Option<(Page, u64, bool)>, IngestError> {
        let until = now - self.options.settle;
        let Some(Place { cursor, .. }) = T::track(self).place else { return Ok(None) };
        let wanted = T::track(self).pace.rows();
        let began = Instant::now();
        let rows = source.page::<T>(cursor, until, wanted).await;
        let rows: Vec<T> = match rows {
            Err(Failure::TooSlow { .. }) if T::track(self).pace.too_slow() => return Ok(None),
            rows => rows?,
        };
        let (count, is_full) = (rows.len() as u64, rows.len() == wanted);
        let next = rows.last().map(T::cursor);
        let track = T::track(self);
        track.pace.took(began.elapsed(), is_full);
        let behind = next.filter(|_| is_full);
        track.lag_us = Some(behind.map_or(0, |last| now.0.saturating_sub(last.at.0)));
        track.read_to = Some(behind.map_or(until, |last| last.at));
        let (items, more) =
            if rows.is_empty() { (Vec::new(), 0) } else { T::items(rows, self, source, now).await? };
        Ok(Some((Page { items, next }, count + more, is_full)))
    }

    /// Keeps rows as items, at once.
    pub(super) async fn take<T: Kind>(
        &mut self,
        rows: Vec<T>,
        source: Source<'_>,
        now: Micros,
    ) -> Result<Round, IngestError> {
        let read = rows.len() as u64;
        let (items, more) = T::items(rows, self, source, now).await?;
        let mut round = self.keep::<T>(items).await?;
        round.rows = read + more;
        Ok(round)
    }

    pub(super) async fn keep<T: Kind>(&mut self, items: Vec<DifyItem>) -> Result<Round, IngestError> {
        debug_assert!(T::track(self).unwritten.is_none(), "batches are written in their order");
        self.write_now::<T>(Page { items, next: None }).await
    }

    /// Writes what was read.
    async fn flush<T: Kind>(&mut self) -> Result<Round, IngestError> {
        match T::track(self).unwritten.take() {
            Some(page) => self.write_now::<T>(page).await,
            None => Ok(Round { is_caught_up: true, ..Round::default() }),
        }
    }

    async fn write_now<T: Kind>(&mut self, page: Page) -> Result<Round, IngestError> {
        let batch = self.batch::<T>(page)?;
        let written = write(&self.store, batch).await?;
        self.written::<T>(written)
    }

    fn batch<T: Kind>(&mut self, page: Page) -> Result<DifyBatch, IngestError> {
        let kind = T::track(self).kind;
        let Some(place) = T::track(self).place else { return Err(IngestError::Overtaken) };
        let Page { items, next } = page;
        // The first batch sets the place, whatever it is about.
        let next = next.or((place.sequence == 0).then_some(place.cursor));
        Ok(DifyBatch {
            source: self.options.source.clone(),
            kind,
            after: place.sequence,
            next: next.map(|next| (next.at, next.id.to_string())),
            items: items.into(),
            series: self.series.new_ones().into(),
        })
    }

    fn written<T: Kind>(&mut self, written: Written) -> Result<Round, IngestError> {
        let Written { taken, series } = written;
        self.series.known(&series);
        let Some(place) = &mut T::track(self).place else { return Err(IngestError::Overtaken) };
        place.sequence = taken.sequence;
        Ok(Round { rows: 0, counted: taken.counted, is_caught_up: true })
    }
}

/// What the store took, and the series that it knows now.
struct Written {
    taken: DifyTaken,
    series: Arc<[Arc<DifySeries>]>,
}

async fn write(store: &Store, batch: DifyBatch) -> Result<Written, IngestError> {
    let series = batch.series.clone();
    let taken = store.dify().take(batch).await?.ok_or(IngestError::Overtaken)?;
    Ok(Written { taken, series })
}

impl std::ops::AddAssign for Round {
    fn add_assign(&mut self, other: Round) {
        let Round { rows, counted, is_caught_up } = other;
        self.rows += rows;
        self.counted += counted;
        self.is_caught_up &= is_caught_up;
    }
}

/// When to look at something again that is not at its end: soon while it is young, at most every five minutes.
pub(super) fn look_again(created_at: Micros, now: Micros) -> Micros {
    let age = now.since(created_at);
    now + (age / 10).clamp(std::time::Duration::from_secs(2), std::time::Duration::from_secs(300))
}

/// For labels: no longer than this.
pub(super) fn label(text: &str) -> String {
    const MOST: usize = 120;
    text.chars().filter(|letter| *letter != '\0').take(MOST).collect()
}
