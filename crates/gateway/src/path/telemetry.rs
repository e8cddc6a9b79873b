//! Opens first and closes last: one record for each request, written when the value is dropped.
//!
//! Dropping only sends a message to a bounded channel. Whatever ends a request (its answer's last byte, a refusal, the
//! caller's leaving, a panic), the record is written once, because there is one owner and its content moves out.

use std::{borrow::Cow, sync::Arc, time::Instant};

use http::Request;
use mainstay_base::{
    Class, Kind, Record, TraceParent, Usd, id,
    record::{Attempt, Outcome, Path, Span, Stage, StageName, StageOutcome},
};

use super::{
    failure::Failure,
    headers::{self, TRACEPARENT},
};
use crate::{gateway::Gateway, records::RecordSender};

/// A record that is being written.
pub(crate) struct Open {
    /// `None` once it was sent.
    record: Option<Box<Record>>,
    request_id: Arc<str>,
    /// Our own span, a child of the caller's.
    trace: TraceParent,
    /// The caller's `traceparent` was there and readable.
    continues_trace: bool,
    started: Instant,
    /// Where the stage that is under way began.
    stage_started_us: u64,
    /// Attempts that have begun and not ended, a bit each.
    under_way: u64,
    sender: RecordSender,
}

/// Which attempt of the record: who carries an exchange to its end tells its end by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempted(usize);

/// More attempts of one call than this are not told apart; policies allow far fewer.
const MAX_ATTEMPTS: usize = 64;

/// A stage's result: what it adds to the record, and the condition that let it pass, in words.
pub(crate) trait Told {
    fn told(&self, record: &mut Record) -> Cow<'static, str>;
}

impl Open {
    pub(crate) fn new<B>(gateway: &Gateway, path: Path, request: &Request<B>) -> Open {
        let id = id::new();
        let request_id: Arc<str> = id.as_str().into();
        let parent = headers::text(request.headers(), &TRACEPARENT).and_then(TraceParent::parse);
        let trace = parent.map_or_else(TraceParent::new_root, TraceParent::child);
        let record = Record {
            request_id: id,
            method: request.method().as_str().to_owned(),
            target: request.uri().path().to_owned(),
            trace_id: trace.trace_id_text(),
            span: Span {
                id: trace.parent_id,
                parent: parent.map(|parent| parent.parent_id),
                is_sampled: trace.is_sampled(),
            },
            opened_at: gateway.ports().clock.now(),
            stages: Vec::with_capacity(StageName::ALL.len()),
            ..Record::blank(path)
        };
        Open {
            record: Some(Box::new(record)),
            request_id,
            trace,
            continues_trace: parent.is_some(),
            started: Instant::now(),
            stage_started_us: 0,
            under_way: 0,
            sender: gateway.ports().records.clone(),
        }
    }

    pub(crate) fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    pub(crate) fn trace(&self) -> TraceParent {
        self.trace
    }

    pub(crate) fn continues_trace(&self) -> bool {
        self.continues_trace
    }

    /// Time since the record was opened.
    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// From the opening of the record to this moment.
    pub(crate) fn at_us(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.started);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// What is known so far; `None` once the record was sent.
    pub(crate) fn known(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// Notes how a stage ended. A stage begins where the one before it ended.
    pub(crate) fn stage<T: Told>(
        &mut self,
        name: StageName,
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        let ended_us = self.elapsed_us();
        if let Some(record) = self.record.as_deref_mut() {
            let (outcome, condition) = match &result {
                Ok(value) => (StageOutcome::Passed, value.told(record)),
                Err(failure) => note_failure(record, failure),
            };
            push_stage(record, name, outcome, condition, self.stage_started_us, ended_us);
        }
        self.stage_started_us = ended_us;
        result
    }

    /// The stage that is under way ended without a result of its own.
    pub(crate) fn interrupted(&mut self, failure: Failure) -> Failure {
        let ended_us = self.elapsed_us();
        if let Some(record) = self.record.as_deref_mut() {
            let (outcome, condition) = note_failure(record, &failure);
            if let Some(name) = stage_under_way(record) {
                push_stage(record, name, outcome, condition, self.stage_started_us, ended_us);
            }
        }
        self.stage_started_us = ended_us;
        failure
    }

    /// Notes a stage that cannot fail.
    pub(crate) fn passed(&mut self, name: StageName, condition: &'static str) {
        let ended_us = self.elapsed_us();
        if let Some(record) = self.record.as_deref_mut() {
            push_stage(record, name, StageOutcome::Passed, condition.into(), self.stage_started_us, ended_us);
        }
        self.stage_started_us = ended_us;
    }

    pub(crate) fn attempt(
        &mut self,
        upstream: &str,
        begun: Instant,
        status: Option<u16>,
        error: Option<String>,
    ) {
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(record) = self.record.as_deref_mut() {
            record.attempts.push(Attempt {
                upstream: upstream.to_owned(),
                status,
                error,
                took_us,
                ..Attempt::default()
            });
        }
    }

    /// Notes that an attempt begins. What it costs at least, and that the caller left, is true of it until
    /// [`Open::end_attempt`] knows better: whatever happens, it is in the books.
    pub(crate) fn begin_attempt(&mut self, attempt: Attempt) -> Attempted {
        let started_us = self.elapsed_us();
        let Some(record) = self.record.as_deref_mut() else { return Attempted(0) };
        let class = Some(Class::CallerGone);
        // Most calls need no second one.
        if record.attempts.is_empty() {
            record.attempts.reserve_exact(1);
        }
        record.attempts.push(Attempt { started_us, class, ..attempt });
        let index = (record.attempts.len() - 1).min(MAX_ATTEMPTS - 1);
        self.under_way |= 1 << index;
        Attempted(index)
    }

    /// An attempt that has begun; `None` once the record was sent.
    pub(crate) fn attempted(&mut self, attempted: Attempted) -> Option<&mut Attempt> {
        self.record.as_deref_mut()?.attempts.get_mut(attempted.0)
    }

    /// Notes an attempt's end: `None` when it was the answer, else why it was not. Of two ends the first counts.
    pub(crate) fn end_attempt(&mut self, attempted: Attempted, class: Option<Class>) -> Option<&mut Attempt> {
        let now_us = self.elapsed_us();
        let bit = 1 << attempted.0;
        let is_first_end = self.under_way & bit != 0;
        self.under_way &= !bit;
        let attempt = self.attempted(attempted)?;
        if is_first_end {
            attempt.class = class;
            attempt.took_us = now_us.saturating_sub(attempt.started_us);
        }
        Some(attempt)
    }

    /// Time since the attempt began.
    pub(crate) fn since_begun_us(&mut self, attempted: Attempted) -> u64 {
        let now_us = self.elapsed_us();
        self.attempted(attempted).map_or(0, |attempt| now_us.saturating_sub(attempt.started_us))
    }

    /// What all attempts cost so far. `None`: none had a price.
    pub(crate) fn cost(&self) -> Option<Usd> {
        cost_of(&self.record.as_deref()?.attempts)
    }

    /// Ends the record and sends it.
    pub(crate) fn close(&mut self, outcome: Outcome) {
        if let Some(record) = self.record.as_deref_mut() {
            record.outcome = outcome;
        }
        self.send();
    }

    fn send(&mut self) {
        let took_us = self.elapsed_us();
        let Some(mut record) = self.record.take() else { return };
        record.took_us = took_us;
        for (index, attempt) in record.attempts.iter_mut().enumerate() {
            if self.under_way & (1 << index.min(MAX_ATTEMPTS - 1)) != 0 {
                attempt.took_us = took_us.saturating_sub(attempt.started_us);
            }
        }
        record.cost = record.cost.or_else(|| cost_of(&record.attempts));
        let condition = match record.outcome {
            Outcome::Ok => "the answer was delivered whole",
            Outcome::Failed => "the failure was answered",
            Outcome::CallerGone => "the caller left before the end",
            Outcome::Cut => "the answer was cut",
        };
        let begun = self.stage_started_us;
        push_stage(&mut record, StageName::Telemetry, StageOutcome::Passed, condition.into(), begun, took_us);
        shorten(&mut record);
        self.sender.send(*record);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let ended_us = self.elapsed_us();
        let Some(record) = self.record.as_deref_mut() else { return };
        if std::thread::panicking() {
            record.outcome = Outcome::Failed;
            record.kind = Some(Kind::Bug);
            record.error.get_or_insert_with(|| "panicked while the answer was under way".to_owned());
        }
        if record.status == 0
            && let Some(name) = stage_under_way(record)
        {
            let condition = Cow::Borrowed("the caller left during this stage");
            push_stage(record, name, StageOutcome::Failed, condition, self.stage_started_us, ended_us);
            self.stage_started_us = ended_us;
        }
        self.send();
    }
}

/// What a record keeps of a text that somebody else wrote: thousands of records may wait in the queue.
const MAX_TEXT_BYTES: usize = 1024;
const MAX_ID_BYTES: usize = 256;

fn shorten(record: &mut Record) {
    // What is borrowed is a sentence of ours.
    let stages = record.stages.iter_mut().filter_map(|stage| match &mut stage.condition {
        Cow::Borrowed(_) => None,
        Cow::Owned(condition) => Some(condition),
    });
    let attempts = record.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut());
    for text in stages.chain(attempts).chain(&mut record.error) {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    }
    let ids = [&mut record.app_id, &mut record.run_id, &mut record.task_id, &mut record.run_status];
    for id in ids.into_iter().flatten() {
        id.truncate(id.floor_char_boundary(MAX_ID_BYTES));
    }
}

fn cost_of(attempts: &[Attempt]) -> Option<Usd> {
    attempts.iter().filter_map(|attempt| attempt.cost).reduce(std::ops::Add::add)
}

fn note_failure(record: &mut Record, failure: &Failure) -> (StageOutcome, Cow<'static, str>) {
    let kind = failure.kind();
    record.kind = Some(kind);
    record.error = Some(failure.internal.clone().into_owned());
    let outcome = if kind.is_our_fault() { StageOutcome::Failed } else { StageOutcome::Refused };
    (outcome, failure.internal.clone())
}

fn stage_under_way(record: &Record) -> Option<StageName> {
    StageName::ALL.get(record.stages.len()).copied()
}

fn push_stage(
    record: &mut Record,
    name: StageName,
    outcome: StageOutcome,
    condition: Cow<'static, str>,
    started_us: u64,
    ended_us: u64,
) {
    let took_us = ended_us.saturating_sub(started_us);
    record.stages.push(Stage { name, outcome, condition, started_us, took_us });
}
