//! How the reading itself goes, said every few seconds.

use std::time::Duration;

use mainstay_dify::schema::Schema;
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
    pub last_failure: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub kind: String,
    /// How far behind the database's clock reading is; `None`: not read yet.
    pub lag_seconds: Option<f64>,
}

pub(super) struct Meter {
    next_at: Instant,
    since: Instant,
    rows_since: u64,
    rows: u64,
    pub(super) unreadable: u64,
    last_failure: Option<String>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter { next_at: now, since: now, rows_since: 0, rows: 0, unreadable: 0, last_failure: None }
    }

    pub(super) fn failed(&mut self, error: &IngestError) {
        let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        self.last_failure = Some(format!("{error}{source}"));
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
        let body = serde_json::to_string(&reading).unwrap_or_default();
        self.store.dify().put_state(&self.options.source, NAME, body).await?;
        Ok(())
    }

    fn reading(&self, schema: &Schema) -> Reading {
        let asked = self.reader.asked();
        let seconds = self.meter.since.elapsed().as_secs_f64().max(0.001);
        let table = |track: &super::Track| Table {
            kind: track.kind.to_owned(),
            #[expect(clippy::cast_precision_loss, reason = "a lag for people")]
            lag_seconds: track.lag_us.map(|lag| lag as f64 / 1e6),
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
            last_failure: self.meter.last_failure.clone(),
        }
    }
}
