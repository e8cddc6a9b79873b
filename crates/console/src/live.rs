//! Live pages: once a second at most, one set of marks says what has changed, whoever is looking.
//!
//! A mark is a hash of what a topic looks like. `/live` sends marks; a page asks for itself again when one of its
//! topics changes. So there is one way to render, and a reader without script misses nothing but the liveliness.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt, stream};
use mainstay_base::Micros;
use mainstay_store::model::{AlertFilter, ExecutionFilter, RecordFilter, RunFilter, TimelineFilter};
use serde::Serialize;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{App, Failure};

/// Marks are read from the store at most this often, however many pages are open.
const PULSE_EVERY: Duration = Duration::from_secs(1);
/// Heartbeats change all the time; pages that show them follow in this step.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Live pages open at once. The next one is told to come again later and works without.
const LIVE_STREAMS_MAX: usize = 64;
/// A stream ends after this time; the browser opens it again, and the session is checked again.
const LIVE_STREAM_TTL: Duration = Duration::from_secs(15 * 60);
const LIVE_RETRY_AFTER_S: u64 = 15;
/// How much of each list a mark covers: what the first page of it shows.
const MARKED_ROWS: u32 = 30;

pub(crate) struct Live {
    last: Mutex<Option<(Micros, Arc<Pulse>)>>,
    streams: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Live {
        Live { last: Mutex::new(None), streams: Arc::new(Semaphore::new(LIVE_STREAMS_MAX)) }
    }
}

/// What the navigation counts, and a mark for each topic.
#[derive(Debug, Serialize)]
pub(crate) struct Pulse {
    pub(crate) alerts: i64,
    pub(crate) dead: i64,
    pub(crate) marks: BTreeMap<&'static str, String>,
}

impl Live {
    /// The pulse, not older than [`PULSE_EVERY`]. Callers that come together share one reading.
    pub(crate) async fn pulse(&self, app: &App) -> Result<Arc<Pulse>, Failure> {
        let mut last = self.last.lock().await;
        let now = app.ports.clock.now();
        match &*last {
            Some((at, pulse)) if now >= *at && now.since(*at) < PULSE_EVERY => Ok(Arc::clone(pulse)),
            _ => {
                let pulse = Arc::new(read(app, now).await?);
                *last = Some((now, Arc::clone(&pulse)));
                Ok(pulse)
            }
        }
    }

    /// After a write of ours the next page must not show what was before it.
    pub(crate) async fn forget(&self) {
        *self.last.lock().await = None;
    }
}

async fn read(app: &App, now: Micros) -> Result<Pulse, Failure> {
    let store = &app.ports.store;
    let queue = store.jobs().stats().await?;
    let runs = store.runs().list(RunFilter { limit: MARKED_ROWS, ..RunFilter::default() }).await?;
    let alerts = store.alerts().list(AlertFilter { limit: MARKED_ROWS, ..AlertFilter::default() }).await?;
    let open = alerts.iter().filter(|alert| alert.resolved_at.is_none()).count();
    let records = store.records().list(RecordFilter { limit: 1, ..RecordFilter::default() }).await?;
    let executions =
        store.runbooks().list(ExecutionFilter { limit: MARKED_ROWS, ..ExecutionFilter::default() }).await?;
    let timeline = store.timeline().list(TimelineFilter { limit: 1, ..TimelineFilter::default() }).await?;
    let generation = store.apps().generation().await?;
    let mut marks = BTreeMap::new();
    marks.insert("queue", mark(&(queue.queued, queue.delayed, queue.leased, queue.expired, queue.dead)));
    marks.insert("runs", mark(&runs));
    marks.insert("alerts", mark(&alerts));
    marks.insert("requests", mark(&records.first().map(|record| &record.request_id)));
    let (frozen, overrides) = (app.ports.control.freeze_state(), app.ports.control.overrides());
    marks.insert("runbooks", mark(&(&executions, &*frozen, &*overrides)));
    marks.insert("timeline", mark(&timeline.first().map(|event| event.seq)));
    marks.insert("apps", mark(&generation));
    for (topic, mark) in crate::pages::dify::marks(app).await? {
        marks.insert(topic, mark);
    }
    marks.insert("health", crate::pages::overview::health_mark(app));
    marks.insert("beat", (now.unix_seconds() / BEAT_EVERY.as_secs().cast_signed()).to_string());
    Ok(Pulse { alerts: i64::try_from(open).unwrap_or(i64::MAX), dead: queue.dead, marks })
}

pub(crate) fn mark(value: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    blake3::hash(&bytes).to_hex()[..12].to_owned()
}

/// `GET /live`.
pub(crate) async fn serve(State(app): State<App>) -> Response {
    let Ok(seat) = Arc::clone(&app.live.streams).try_acquire_owned() else {
        let words = format!("{LIVE_STREAMS_MAX} live pages are open already");
        return Failure::too_many("too_many_live_pages", words, LIVE_RETRY_AFTER_S).into_response();
    };
    let mut ticks = interval_at(Instant::now(), PULSE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let over = Instant::now() + LIVE_STREAM_TTL;
    let shutdown = app.ports.shutdown.clone();
    let events = stream::unfold((app, ticks, seat, None), move |(app, mut ticks, seat, said)| async move {
        loop {
            ticks.tick().await;
            if Instant::now() >= over {
                return None;
            }
            // A store that is away now may be back; the browser shows the age of what it has.
            let Ok(pulse) = app.live.pulse(&app).await else { continue };
            let words = serde_json::to_string(&*pulse).unwrap_or_default();
            if said.as_ref() != Some(&words) {
                let event = Event::default().event("pulse").data(&words);
                return Some((Ok::<_, Infallible>(event), (app, ticks, seat, Some(words))));
            }
        }
    });
    let events = events.take_until(shutdown.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
