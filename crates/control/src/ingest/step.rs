//! One table that is read along its time: the next page, what was committed behind it, and what was not at its end.

use mainstay_base::Micros;
use mainstay_dify::{
    db::{Failure, Id},
    read::{Cursor, Pace, Source, Timed},
};
use mainstay_store::model::{DifyBatch, DifyCursor, DifyItem};
use tokio::time::Instant;

use super::{Ingest, IngestError, Round};

/// How far a kind was read, and how fast.
pub(super) struct Track {
    pub(super) kind: &'static str,
    /// `None`: to be read from the store.
    place: Option<Place>,
    pub(super) pace: Pace,
    pub(super) next_late_at: Option<Instant>,
    /// How far behind the database's clock the last page ended.
    pub(super) lag_us: Option<i64>,
    /// The time up to which everything that was there is read.
    pub(super) read_to: Option<Micros>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) sequence: i64,
    pub(super) cursor: Cursor,
}

impl Track {
    pub(super) fn new(kind: &'static str, most: usize) -> Track {
        Track { kind, place: None, pace: Pace::new(most), next_late_at: None, lag_us: None, read_to: None }
    }

    pub(super) fn forget(&mut self) {
        self.place = None;
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
        let mut round = self.late::<T>(source, now, place.cursor).await?;
        round += self.page::<T>(source, now).await?;
        if round.is_caught_up {
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

    async fn page<T: Kind>(&mut self, source: Source<'_>, now: Micros) -> Result<Round, IngestError> {
        let until = now - self.options.settle;
        let Some(Place { cursor, .. }) = T::track(self).place else { return Ok(Round::default()) };
        let wanted = T::track(self).pace.rows();
        let began = Instant::now();
        let rows = source.page::<T>(cursor, until, wanted).await;
        let rows: Vec<T> = match rows {
            // The next round asks for less.
            Err(Failure::TooSlow { .. }) if T::track(self).pace.too_slow() => return Ok(Round::default()),
            rows => rows?,
        };
        let is_full = rows.len() == wanted;
        let track = T::track(self);
        track.pace.took(began.elapsed(), is_full);
        let last = rows.last().map(T::cursor);
        let mut round = Round::default();
        if let Some(last) = last {
            round = self.take(rows, source, now, Some(last)).await?;
        }
        let behind = last.filter(|_| is_full);
        let track = T::track(self);
        track.lag_us = Some(behind.map_or(0, |last| now.0.saturating_sub(last.at.0)));
        track.read_to = Some(behind.map_or(until, |last| last.at));
        round.is_caught_up = !is_full;
        Ok(round)
    }

    /// Keeps rows as items. `next`: where reading goes on.
    pub(super) async fn take<T: Kind>(
        &mut self,
        rows: Vec<T>,
        source: Source<'_>,
        now: Micros,
        next: Option<Cursor>,
    ) -> Result<Round, IngestError> {
        let read = rows.len() as u64;
        let (items, more) = T::items(rows, self, source, now).await?;
        let mut round = self.keep::<T>(items, next).await?;
        round.rows = read + more;
        Ok(round)
    }

    pub(super) async fn keep<T: Kind>(
        &mut self,
        items: Vec<DifyItem>,
        next: Option<Cursor>,
    ) -> Result<Round, IngestError> {
        let kind = T::track(self).kind;
        let Some(place) = T::track(self).place else { return Err(IngestError::Overtaken) };
        let series = self.series.new_ones();
        let batch = DifyBatch {
            source: self.options.source.clone(),
            kind,
            after: place.sequence,
            // The first batch sets the place, whatever it is about.
            next: next
                .or((place.sequence == 0).then_some(place.cursor))
                .map(|next| (next.at, next.id.to_string())),
            items: items.into(),
            series: series.clone().into(),
        };
        let taken = self.store.dify().take(batch).await?.ok_or(IngestError::Overtaken)?;
        self.series.known(&series);
        let cursor = next.unwrap_or(place.cursor);
        T::track(self).place = Some(Place { sequence: taken.sequence, cursor });
        Ok(Round { rows: 0, counted: taken.counted, is_caught_up: true })
    }
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
