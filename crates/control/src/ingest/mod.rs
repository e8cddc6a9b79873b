//! Reads what a Dify has done, a page at a time, and keeps it: items for a while, minutes for longer.
//!
//! Promises: each row is counted once, whatever ends in between and however often it is seen, because the place that was
//! reached is stored with what was read; a row that was committed behind that place is found, if it came no later than
//! [`Options::overlap`]; one reader works at a time, and never holds the database for longer than a query may take; the
//! number of series is bounded. Refuses to know: SQL, and what is made of the figures.

mod apps;
mod count;
mod knowledge;
mod late;
mod messages;
mod open;
mod reading;
mod runs;
mod schedules;
mod series;
mod step;
mod triggers;
mod usage;
pub mod view;

use std::time::Duration;

use mainstay_dify::{
    db::{Failure, Reader},
    read::{MessageRow, Pace, RunRow, Source, TriggerRow},
    schema::{self, Capability, Schema},
    signature::Catalogue,
};
use mainstay_store::{Store, StoreError};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use apps::Apps;
use reading::Meter;
pub use reading::{Reading, Table};
use series::AllSeries;
use step::Track;
pub use usage::{By, Figures, usage};

use crate::lease::{Lease, Terms};

/// The kinds of items that are kept.
pub const KINDS: &[&str] = &["run", "message", "trigger", "feedback", "schedule"];
/// Between two looks when everything was read.
const IDLE: Duration = Duration::from_secs(2);
/// The share of its time that a reader which catches up leaves to others.
const REST: f64 = 0.2;
const SCHEMA_EVERY: Duration = Duration::from_secs(300);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const TERMS: Terms = Terms { lasts: Duration::from_secs(20), renew_every: Duration::from_secs(5) };

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the deployment is called, and its rows with it.
    pub source: String,
    /// This process, among those that may read.
    pub holder: String,
    /// How far back the first reading begins.
    pub backfill: Duration,
    /// How much later than their time rows may be committed, and how far clocks may differ.
    pub overlap: Duration,
    /// Between two looks for rows that came late; never more than a quarter of the overlap.
    pub late_every: Duration,
    /// Rows this new are left for the next look.
    pub settle: Duration,
    /// The longest that a run may take.
    pub longest_run: Duration,
    pub keep_items: Duration,
    pub keep_minutes: Duration,
    /// Until the next round after a failure.
    pub retry: Duration,
}

impl Options {
    pub fn new(source: &str, holder: &str) -> Options {
        Options {
            source: source.to_owned(),
            holder: holder.to_owned(),
            backfill: Duration::from_secs(24 * 3600),
            overlap: Duration::from_secs(15 * 60),
            late_every: Duration::from_secs(30),
            settle: Duration::from_secs(2),
            longest_run: Duration::from_secs(20 * 60),
            keep_items: Duration::from_secs(72 * 3600),
            keep_minutes: Duration::from_secs(30 * 24 * 3600),
            retry: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    #[error("Dify's database cannot be read")]
    Dify(#[source] Failure),
    #[error("what was read cannot be kept")]
    Store(#[source] StoreError),
    /// Another process took a batch; begin again from its place.
    #[error("another process reads the same Dify")]
    Overtaken,
}

impl From<Failure> for IngestError {
    fn from(failure: Failure) -> IngestError {
        IngestError::Dify(failure)
    }
}

impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> IngestError {
        IngestError::Store(error)
    }
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Rows of Dify that were read.
    pub rows: u64,
    /// Items that were counted.
    pub counted: u64,
    /// Whether there was no more to read.
    pub is_caught_up: bool,
}

/// One reader of one Dify.
pub struct Ingest {
    reader: Reader,
    store: Store,
    options: Options,
    catalogue: Catalogue,
    schema: Option<(Schema, Instant)>,
    apps: Apps,
    series: AllSeries,
    runs: Track,
    messages: Track,
    triggers: Track,
    node_pace: Pace,
    knowledge: knowledge::Walk,
    schedules: schedules::Schedules,
    meter: Meter,
    lease: Lease,
    next_sweep_at: Instant,
    next_feedback_at: Instant,
}

impl Ingest {
    pub fn new(reader: Reader, store: Store, options: Options) -> Ingest {
        let now = Instant::now();
        Ingest {
            // The store's sequence keeps two from counting twice; the lease keeps them from asking twice.
            lease: Lease::new(
                store.clone(),
                format!("dify:{}", options.source),
                options.holder.clone(),
                TERMS,
            ),
            reader,
            store,
            options,
            catalogue: Catalogue::built_in().clone(),
            schema: None,
            apps: Apps::default(),
            series: AllSeries::default(),
            runs: Track::new("run", 2000),
            messages: Track::new("message", 2000),
            triggers: Track::new("trigger", 2000),
            node_pace: Pace::new(2000),
            knowledge: knowledge::Walk::default(),
            schedules: schedules::Schedules::default(),
            meter: Meter::new(now),
            next_sweep_at: now,
            next_feedback_at: now,
        }
    }

    /// Takes errors for what this catalogue says, and not only the rows that are shipped.
    pub fn classifying_by(self, catalogue: Catalogue) -> Ingest {
        Ingest { catalogue, ..self }
    }

    /// Reads until it is told to stop. A failure is said once, and tried again.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut last_failure = None;
            loop {
                sleep(self.turn(&mut last_failure).await).await;
            }
        };
        let ended = shutdown.run_until_cancelled(work).await;
        debug_assert!(ended.is_none(), "the loop has no end of its own");
        self.lease.release().await;
    }

    /// One round if this process is the one that reads. Gives how long to wait before the next.
    async fn turn(&mut self, last_failure: &mut Option<IngestError>) -> Duration {
        match self.lease.hold().await {
            Ok(true) => {}
            Ok(false) => return IDLE,
            Err(error) => return self.failed(error.into(), last_failure).await,
        }
        let began = Instant::now();
        match self.round().await {
            Ok(round) => {
                if last_failure.take().is_some() {
                    info!(source = %self.options.source, "Dify's database is read again");
                }
                let rest = began.elapsed().mul_f64(REST);
                if round.is_caught_up { IDLE } else { rest }
            }
            Err(error) => self.failed(error, last_failure).await,
        }
    }

    async fn failed(&mut self, error: IngestError, last: &mut Option<IngestError>) -> Duration {
        self.forget();
        if last.as_ref() != Some(&error) {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            warn!(source = %self.options.source, "{error}: {source}");
        }
        self.tell_failure(&error).await;
        *last = Some(error);
        self.options.retry
    }

    /// Reads a page of each kind. After an error the places are read from the store again, by the next round.
    pub async fn round(&mut self) -> Result<Round, IngestError> {
        let outcome = self.try_round().await;
        if outcome.is_err() {
            self.forget();
        }
        outcome
    }

    fn forget(&mut self) {
        self.schema = None;
        self.series.forget();
        for track in [&mut self.runs, &mut self.messages, &mut self.triggers] {
            track.forget();
        }
    }

    async fn try_round(&mut self) -> Result<Round, IngestError> {
        let schema = self.schema().await?;
        let reader = self.reader.clone();
        let source = Source { reader: &reader, schema: &schema };
        self.series.load(&self.store, &self.options.source).await?;
        self.refresh_apps(source).await?;
        let mut round = Round { is_caught_up: true, ..Round::default() };
        let mut add = |step: Round| {
            round.rows += step.rows;
            round.counted += step.counted;
            round.is_caught_up &= step.is_caught_up;
        };
        if schema.can(Capability::Runs) {
            add(self.step::<RunRow>(source).await?);
        }
        if schema.can(Capability::Messages) {
            add(self.step::<MessageRow>(source).await?);
        }
        if schema.can(Capability::Triggers) {
            add(self.step::<TriggerRow>(source).await?);
        }
        if round.is_caught_up {
            self.read_feedback(source).await?;
            self.walk_knowledge(source).await?;
            self.look_at_schedules(source).await?;
        }
        self.sweep().await?;
        self.tell(&schema, round).await?;
        Ok(round)
    }

    async fn schema(&mut self) -> Result<Schema, IngestError> {
        if let Some((schema, at)) = &self.schema
            && at.elapsed() < SCHEMA_EVERY
        {
            return Ok(schema.clone());
        }
        let schema = schema::look(&self.reader).await?;
        self.schema = Some((schema.clone(), Instant::now()));
        Ok(schema)
    }

    async fn sweep(&mut self) -> Result<(), IngestError> {
        if Instant::now() < self.next_sweep_at {
            return Ok(());
        }
        let Some(oldest) =
            [&self.runs, &self.messages, &self.triggers].iter().filter_map(|track| track.at()).min()
        else {
            return Ok(());
        };
        // What may be seen again must be known to have been counted.
        let known = oldest - self.options.overlap * 3;
        let items = (oldest - self.options.keep_items).min(known);
        let more = self
            .store
            .dify()
            .sweep(&self.options.source, KINDS, items, oldest - self.options.keep_minutes)
            .await?;
        if !more {
            self.next_sweep_at = Instant::now() + SWEEP_EVERY;
        }
        Ok(())
    }
}
