//! How the reading itself goes, said every few seconds.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_dify::schema::Schema;
use mainstay_store::StoreError;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Ingest, IngestError, Round};

const TELL_EVERY: Duration = Duration::from_secs(5);
pub(super) const NAME: &str = "reading";

/// What is known of the reading of one Dify.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    pub at: String,
    pub revision: Option<String>,
    pub release: Option<String>,
    pub is_known: bool,
    /// What cannot be read, and why.
    pub missing: Vec<String>,
    pub tables: Vec<Table>,
    pub rows_per_second: f64,
    pub rows: u64,
    /// Texts that were no JSON where JSON should have been.
    pub unreadable: u64,
    pub queries: u64,
    pub connections: u64,
    pub slowest_query_ms: u64,
    /// Why it does not get on; `None`: it does.
    pub last_failure: Option<String>,
    /// What can be done about that.
    pub remedy: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub kind: String,
    /// How far behind the database's clock reading was when this was told; `None`: not read yet.
    pub lag_seconds: Option<f64>,
    /// The time up to which everything that was there is read.
    pub read_to: Option<Micros>,
}

pub(super) struct Meter {
    next_at: Instant,
    since: Instant,
    rows_since: u64,
    rows: u64,
    pub(super) unreadable: u64,
    /// What was told last, which stands while nothing can be read.
    told: Reading,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter { next_at: now, since: now, rows_since: 0, rows: 0, unreadable: 0, told: Reading::default() }
    }
}

impl Ingest {
    pub(super) async fn tell(&mut self, schema: &Schema, round: Round) -> Result<(), IngestError> {
        self.meter.rows += round.rows;
        self.meter.rows_since += round.rows;
        let now = Instant::now();
        if now < self.meter.next_at {
            return Ok(());
        }
        let reading = self.reading(schema);
        self.meter.next_at = now + TELL_EVERY;
        self.meter.since = now;
        self.meter.rows_since = 0;
        self.meter.told = reading;
        Ok(self.put_told().await?)
    }

    /// Says why reading does not get on; the next round that does takes it back.
    pub(super) async fn tell_failure(&mut self, error: &IngestError) {
        let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        let told = &mut self.meter.told;
        told.at = self.reader.at();
        told.rows_per_second = 0.0;
        told.last_failure = Some(format!("{error}{source}"));
        told.remedy = match error {
            IngestError::Dify(failure) => Some(failure.remedy()),
            IngestError::Store(_) | IngestError::Overtaken => None,
        };
        self.meter.next_at = Instant::now();
        // Without the store nobody can be told; its own health says that it is away.
        let _ = self.put_told().await;
    }

    async fn put_told(&self) -> Result<(), StoreError> {
        let body = serde_json::to_string(&self.meter.told).unwrap_or_default();
        self.store.dify().put_state(&self.options.source, NAME, body).await
    }

    fn reading(&self, schema: &Schema) -> Reading {
        let asked = self.reader.asked();
        let seconds = self.meter.since.elapsed().as_secs_f64().max(0.001);
        let table = |track: &super::Track| Table {
            kind: track.kind.to_owned(),
            #[expect(clippy::cast_precision_loss, reason = "a lag for people")]
            lag_seconds: track.lag_us.map(|lag| lag as f64 / 1e6),
            read_to: track.read_to,
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rows_per_second = self.meter.rows_since as f64 / seconds;
        Reading {
            at: self.reader.at(),
            revision: schema.revision.clone(),
            release: schema.release.map(|release| release.name.to_owned()),
            is_known: schema.is_known(),
            missing: schema.missing.iter().map(|missing| missing.sentence.clone()).collect(),
            tables: [&self.runs, &self.messages, &self.triggers].map(table).into(),
            rows_per_second,
            rows: self.meter.rows,
            unreadable: self.meter.unreadable,
            queries: asked.queries,
            connections: asked.connections,
            slowest_query_ms: u64::try_from(asked.slowest.as_millis()).unwrap_or(u64::MAX),
            last_failure: None,
            remedy: None,
        }
    }
}
