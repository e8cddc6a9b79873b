//! The task that counts runs that nobody waited for, while this process acts: those accepted to be answered later, and
//! those that were given up because their process had died. They count when they end, by their result.
//!
//! Promises: each is counted once, whoever counts, because minutes are added up from the runs themselves and written
//! whole; whoever takes over goes on where the other ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_dify::signature::Catalogue;
use mainstay_store::{
    Store, StoreError,
    model::{EndedRuns, SliBatch, SliRow, SliSeries},
};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{HOUR_US, MINUTE_US, blame};
use crate::facade::Shared;

const EVERY: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(30);
/// The end of a run may be stored so long after it.
const OVERLAP: Duration = Duration::from_secs(120);
/// How far back whoever begins goes, at the most and when nobody ever counted.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
const FIRST: Duration = Duration::from_secs(600);
/// What was counted is written down in the store so often.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// In the place of a process's name.
const INSTANCE: &str = "answered-later";
const PLACE: &str = "slo.answered_later";

pub(crate) struct Ended {
    shared: Arc<Shared>,
    store: Store,
    /// Up to where everything is counted; `None`: to be read from the store.
    counted_to: Option<Micros>,
    noted_to: Option<Micros>,
    /// What was counted last, and from when on: writing the same again is spared.
    last: Option<(Micros, Vec<EndedRuns>)>,
}

impl Ended {
    pub(crate) fn new(shared: Arc<Shared>) -> Ended {
        Ended { store: shared.store.clone(), shared, counted_to: None, noted_to: None, last: None }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if !self.shared.is_leader.load(Ordering::Relaxed) {
                (self.counted_to, self.last) = (None, None);
                continue;
            }
            let outcome = match timeout(DEADLINE, self.look()).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no end within {DEADLINE:?}")),
            };
            match (&outcome, failing) {
                (Err(error), false) => warn!(%error, "runs that were answered later are not counted"),
                (Err(error), true) => debug!(%error, "runs that were answered later are not counted"),
                (Ok(()), _) => {}
            }
            failing = outcome.is_err();
        }
    }

    /// An hour at the most; what is behind comes with the next looks.
    async fn look(&mut self) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let counted_to = match self.counted_to {
            Some(at) => at,
            None => self.place(now).await?,
        };
        let from = Micros((counted_to - OVERLAP).0.div_euclid(MINUTE_US) * MINUTE_US);
        let mut to = Micros((from.0 + HOUR_US).min(now.0 + MINUTE_US));
        // A minute is counted whole: its parts would take the place of each other.
        let runs = loop {
            match self.store.slis().ended(from, to, true).await {
                Err(StoreError::TooMuch(_)) if to.0 - from.0 > MINUTE_US => {
                    let minutes = (to.0 - from.0).div_euclid(2 * MINUTE_US).max(1);
                    to = Micros(from.0 + minutes * MINUTE_US);
                }
                Err(StoreError::TooMuch(_)) => break self.store.slis().ended(from, to, false).await?,
                answer => break answer?,
            }
        };
        let is_news = self.last.as_ref().is_none_or(|(since, last)| (*since, last) != (from, &runs));
        if is_news && !runs.is_empty() {
            self.store.slis().put_ended(batch(&runs)).await?;
        }
        self.last = Some((from, runs));
        self.counted_to = Some(to.min(now));
        self.note(to.min(now)).await
    }

    async fn place(&self, now: Micros) -> Result<Micros, StoreError> {
        let stored = self.store.settings().get(PLACE).await?;
        let stored = stored.and_then(|stored| stored.value.as_i64()).map(Micros);
        Ok(stored.unwrap_or(now - FIRST).max(now - LONGEST).min(now))
    }

    async fn note(&mut self, counted_to: Micros) -> Result<(), StoreError> {
        if self.noted_to.is_some_and(|noted| counted_to.since(noted) < NOTE_EVERY) {
            return Ok(());
        }
        let revision = self.store.settings().get(PLACE).await?.map_or(0, |stored| stored.revision);
        // Somebody else who counted meanwhile has noted the same.
        self.store.settings().put(PLACE, json!(counted_to), revision, crate::incident::ACTOR).await?;
        self.noted_to = Some(counted_to);
        Ok(())
    }
}

/// Minutes, whole.
fn batch(runs: &[EndedRuns]) -> SliBatch {
    let mut series: BTreeMap<i64, Arc<SliSeries>> = BTreeMap::new();
    let mut rows: BTreeMap<(i64, i64), SliRow> = BTreeMap::new();
    let mut class_of = |text: &str| Catalogue::built_in().classify(text).map(|row| row.class);
    for ended in runs {
        let labels = Arc::new(labels(ended));
        let minute = ended.at.0.div_euclid(MINUTE_US);
        let blank = || SliRow { time: minute, series: labels.id, ..SliRow::default() };
        let row = rows.entry((minute, labels.id)).or_insert_with(blank);
        let place = ended.at.0.rem_euclid(MINUTE_US) * row.slots.len() as i64 / MINUTE_US;
        let slot = &mut row.slots[usize::try_from(place).unwrap_or(0)];
        let count = u32::try_from(ended.count).unwrap_or(u32::MAX);
        match blame::of_ended(ended, &mut class_of) {
            None => {
                row.counts.good += ended.count;
                slot.0 = slot.0.saturating_add(count);
            }
            Some(blame) => {
                row.counts.blamed[blame.index()] += ended.count;
                if blame != mainstay_base::Blame::Client {
                    slot.1 = slot.1.saturating_add(count);
                }
            }
        }
        series.insert(labels.id, labels);
    }
    SliBatch {
        instance: INSTANCE.to_owned(),
        series: series.into_values().collect(),
        minutes: rows.into_values().collect(),
        hours: Arc::default(),
    }
}

/// Those of a request that waits.
fn labels(ended: &EndedRuns) -> SliSeries {
    let EndedRuns { app_id, app, mode, .. } = ended;
    let endpoint = match mode.as_str() {
        "workflow" => "workflows/run",
        "completion" => "completion-messages",
        _ => "chat-messages",
    };
    let series = SliSeries {
        path: "app".to_owned(),
        app_id: app_id.clone(),
        app: app.clone(),
        mode: mode.clone(),
        endpoint: endpoint.to_owned(),
        ..SliSeries::default()
    };
    series.numbered()
}

#[cfg(test)]
mod tests {
    use mainstay_base::{Blame, Kind};
    use mainstay_store::model::RunStatus;

    use super::*;

    fn runs(at_s: i64, status: RunStatus, error: Option<&str>, count: i64) -> EndedRuns {
        EndedRuns {
            at: Micros(1_795_393_380_000_000 + at_s * 1_000_000),
            app_id: "77".to_owned(),
            app: "Guide".to_owned(),
            mode: "workflow".to_owned(),
            is_embedded: true,
            status,
            error: error.map(str::to_owned),
            error_kind: error.map(|_| Kind::Unavailable),
            count,
        }
    }

    #[test]
    fn runs_are_put_into_the_minute_and_the_slot_in_which_they_ended() {
        let all = [
            runs(0, RunStatus::Succeeded, None, 5),
            runs(0, RunStatus::Failed, Some("The process that executed it has ended."), 2),
            runs(20, RunStatus::Stopped, None, 3),
            runs(60, RunStatus::PartialSucceeded, None, 1),
        ];
        let SliBatch { series, minutes, hours, .. } = batch(&all);
        assert_eq!((series.len(), minutes.len(), hours.len()), (1, 2, 0));
        let first = &minutes[0].counts;
        let blamed = |blame: Blame| first.blamed[blame.index()];
        assert_eq!((first.good, blamed(Blame::Gateway), blamed(Blame::Client)), (5, 2, 3));
        let slots: Vec<_> = minutes[0].slots.iter().filter(|slot| **slot != (0, 0)).collect();
        assert_eq!(slots, [&(5, 2)], "what its caller stopped is neither");
        assert_eq!(minutes[1].counts.good, 1);
        assert_eq!(series[0].endpoint, "workflows/run");
    }

    #[test]
    fn a_run_of_a_dify_is_blamed_on_it_and_what_the_caller_did_on_the_caller() {
        let mut class_of = |_: &str| None;
        let mut of = |ended: EndedRuns| blame::of_ended(&ended, &mut class_of);
        let failed = || runs(0, RunStatus::Failed, Some("?"), 1);
        assert_eq!(of(EndedRuns { is_embedded: false, ..failed() }), Some(Blame::Dify));
        assert_eq!(of(EndedRuns { error_kind: Some(Kind::Caller), ..failed() }), Some(Blame::Client));
    }
}
