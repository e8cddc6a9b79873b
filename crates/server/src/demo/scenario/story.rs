//! Tells on standard error what stands in the timeline, as it grows.

use std::time::Duration;

use mainstay_store::model::TimelineFilter;
use tokio::time::Instant;

use crate::{demo::Stage, output::note};

const EVENTS_AT_ONCE: u32 = 100;

/// Tells the timeline as it grows.
pub(super) struct Story {
    pub(super) injected_at: Instant,
    /// The same moment as events give it.
    pub(super) began_at: mainstay_base::Micros,
    after: i64,
}

impl Story {
    pub(super) async fn begin(stage: &Stage) -> Story {
        let newest = TimelineFilter { limit: 1, ..TimelineFilter::default() };
        let events = stage.service.store().timeline().list(newest).await.unwrap_or_default();
        Story {
            injected_at: Instant::now(),
            began_at: mainstay_base::Clock::System.now(),
            after: events.first().map_or(0, |event| event.seq),
        }
    }

    /// From now on the fault is in.
    pub(super) fn start_clock(&mut self) {
        self.injected_at = Instant::now();
        self.began_at = mainstay_base::Clock::System.now();
    }

    pub(super) async fn tell(&mut self, stage: &Stage) {
        let filter =
            TimelineFilter { after: Some(self.after), limit: EVENTS_AT_ONCE, ..TimelineFilter::default() };
        for event in stage.service.store().timeline().list(filter).await.unwrap_or_default() {
            self.after = self.after.max(event.seq);
            let at = event.event.at.since(self.began_at);
            self.say(at, &format!("{}: {}", event.event.kind, event.event.text));
        }
    }

    pub(super) fn say(&self, at: Duration, text: &str) {
        note(format!("+{:.1}s  {text}", at.as_secs_f64()));
    }
}
