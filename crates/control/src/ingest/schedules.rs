//! When schedules were due, and which of them never fired. Dify's poller moves a plan on before it queues the run, so that
//! a message that is lost leaves no trace but this.
//!
//! Promises: a firing counts once, late or missed, by the time at which it was due; what is known of plans and not yet
//! decided is bounded, and lives in memory: of what was due while nobody read, nothing is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_dify::{
    db::Id,
    read::{PlanRow, Source},
    schema::Capability,
};
use mainstay_store::model::{DifyAdd, DifyItem, DifySeries};
use serde_json::json;
use tokio::time::Instant;

use super::{Ingest, IngestError};

const EVERY: Duration = Duration::from_secs(10);
/// Plans are known so long before they are due; longer than the poller needs between two looks.
const AHEAD: Duration = Duration::from_secs(600);
/// Plans of one look, those that are longest due first.
const PLANS: usize = 1_000;
/// A firing of which no run came for so long is missed.
const MISSED: Duration = Duration::from_secs(600);
/// The clocks of the poller and of the database differ by less.
const CLOCKS: Duration = Duration::from_secs(5);
/// Firings that wait for their run; the oldest are forgotten.
const MAX_WAITING: usize = 5_000;

#[derive(Default)]
pub(super) struct Schedules {
    next_look_at: Option<Instant>,
    /// When plans are due next, by their id.
    due: BTreeMap<Id, Due>,
    /// Firings of which no run was seen yet.
    waiting: Vec<Fired>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    at: Micros,
    app: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fired {
    plan: Id,
    at: Micros,
    app: Id,
    /// Its run was seen; it is known by its row until nothing can come any more.
    is_seen: bool,
}

impl Schedules {
    /// What a look at the plans says: `rows` are all that are due soon and those of [`Schedules::passed`] that are there.
    /// Gives what was missed.
    fn look(&mut self, rows: &[PlanRow], now: Micros) -> Vec<(Id, Micros, Id)> {
        let there: BTreeMap<Id, &PlanRow> = rows.iter().map(|row| (row.id, row)).collect();
        let mut missed = Vec::new();
        for (plan, due) in std::mem::take(&mut self.due) {
            // One that is gone was taken back by its author.
            let Some(row) = there.get(&plan).filter(|_| due.at <= now) else { continue };
            let has_moved = row.next_run_at.is_none_or(|next| next > due.at);
            let is_overdue = row.is_enabled == Some(true) && now.since(due.at) >= MISSED;
            let is_known = self.waiting.iter().any(|fired| (fired.plan, fired.at) == (plan, due.at));
            if (has_moved || is_overdue) && !is_known {
                self.waiting.push(Fired { plan, at: due.at, app: due.app, is_seen: false });
            }
        }
        for row in rows {
            if let Some(at) = row.next_run_at {
                self.due.insert(row.id, Due { at, app: row.app_id });
            }
        }
        self.waiting.retain_mut(|fired| {
            let age = now.since(fired.at);
            if age >= MISSED && !fired.is_seen {
                missed.push((fired.plan, fired.at, fired.app));
                // It is known for as long as its plan does not move on.
                fired.is_seen = true;
            }
            let stands = self.due.get(&fired.plan).is_some_and(|due| due.at == fired.at);
            age < MISSED * 2 || stands
        });
        let many = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..many);
        missed
    }

    /// Plans that were due and are to be looked at by their id: they may have moved on.
    fn passed(&self, rows: &[PlanRow], now: Micros) -> Vec<Id> {
        let there: BTreeSet<Id> = rows.iter().map(|row| row.id).collect();
        let due = self.due.iter().filter(|(plan, due)| due.at <= now && !there.contains(plan));
        due.map(|(plan, _)| *plan).take(PLANS).collect()
    }

    /// When the run of a schedule of this app was due that was queued at this time. It is not missed any more.
    fn due_at(&mut self, app: Id, queued_at: Micros) -> Option<Micros> {
        let limit = queued_at + CLOCKS;
        let fits = |at: Micros, of: Id| of == app && at <= limit;
        if let Some(fired) =
            self.waiting.iter_mut().filter(|fired| fits(fired.at, fired.app)).max_by_key(|fired| fired.at)
        {
            fired.is_seen = true;
            return Some(fired.at);
        }
        let due = self.due.iter().filter(|(_, due)| fits(due.at, due.app)).max_by_key(|(_, due)| due.at);
        let (plan, Due { at, app }) = due.map(|(plan, due)| (*plan, *due))?;
        self.waiting.push(Fired { plan, at, app, is_seen: true });
        Some(at)
    }
}

impl Ingest {
    pub(super) async fn look_at_schedules(&mut self, source: Source<'_>) -> Result<(), IngestError> {
        let is_due = self.schedules.next_look_at.is_none_or(|at| Instant::now() >= at);
        if !is_due || !source.schema.can(Capability::Schedules) || !source.schema.can(Capability::Triggers) {
            return Ok(());
        }
        self.schedules.next_look_at = Some(Instant::now() + EVERY);
        let now = source.now().await?;
        let mut rows = source.plans_before(now + AHEAD, PLANS).await?;
        let passed = self.schedules.passed(&rows, now);
        if !passed.is_empty() {
            rows.extend(source.plans(&passed).await?);
        }
        let missed = self.schedules.look(&rows, now);
        let items =
            missed.into_iter().map(|(plan, at, app)| self.never_fired(plan, at, app)).collect::<Vec<_>>();
        if items.is_empty() { Ok(()) } else { self.keep_others("schedule", items).await }
    }

    fn never_fired(&mut self, plan: Id, at: Micros, app: Id) -> DifyItem {
        let add = self.firing(app, at, "missed", None);
        DifyItem {
            id: format!("{plan}:{}", at.0),
            created_at: at,
            app_id: app.to_string(),
            status: "missed".to_owned(),
            class: String::new(),
            look_at: None,
            body: json!({ "plan": plan.to_string(), "due_at": at }).to_string(),
            adds: vec![add],
        }
    }

    /// A run of a schedule that has begun; `None` where it is not known when it was due.
    pub(super) fn fired(&mut self, app: Id, queued_at: Micros, began: Option<Micros>) -> Option<DifyAdd> {
        let due_at = self.schedules.due_at(app, queued_at)?;
        let late = began?.0.saturating_sub(due_at.0).max(0);
        Some(self.firing(app, due_at, "fired", Some(late)))
    }

    fn firing(&mut self, app: Id, at: Micros, status: &str, wait_us: Option<i64>) -> DifyAdd {
        let series = self.series.of(DifySeries {
            kind: "schedule".to_owned(),
            app_id: app.to_string(),
            mode: self.apps.mode(app, "workflow"),
            origin: "schedule".to_owned(),
            status: status.to_owned(),
            ..DifySeries::default()
        });
        DifyAdd {
            series,
            at,
            took_us: None,
            wait_us,
            tokens: 0,
            input_tokens: 0,
            output_tokens: 0,
            price_nanos: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Id = Id([1; 16]);
    const APP: Id = Id([2; 16]);

    fn at(seconds: i64) -> Micros {
        Micros(1_800_000_000_000_000 + seconds * 1_000_000)
    }

    fn row(next: i64, is_enabled: Option<bool>) -> PlanRow {
        PlanRow { id: PLAN, app_id: APP, next_run_at: Some(at(next)), is_enabled }
    }

    /// Every ten seconds one look; due at 60, and an hour later when it has moved on at `moves`.
    fn missed(moves: Option<i64>, run: Option<i64>, is_enabled: Option<bool>) -> Vec<(i64, i64)> {
        let (mut schedules, mut missed) = (Schedules::default(), Vec::new());
        for second in (0..1_800).step_by(10) {
            let next = if moves.is_some_and(|moves| second >= moves) { 3_660 } else { 60 };
            if run == Some(second) {
                assert_eq!(schedules.due_at(APP, at(second)), Some(at(60)));
            }
            for (_, due, _) in schedules.look(&[row(next, is_enabled)], at(second)) {
                missed.push((second, (due.0 - at(0).0) / 1_000_000));
            }
        }
        missed
    }

    #[test]
    fn a_firing_of_which_no_run_comes_is_missed_once() {
        for (what, moves, run, is_enabled, expected) in [
            ("it fires in time", Some(70), Some(70), Some(true), vec![]),
            ("its run was seen before its plan", Some(80), Some(70), Some(true), vec![]),
            ("the message was lost", Some(70), None, Some(true), vec![(660, 60)]),
            ("the poller stands still", None, None, Some(true), vec![(660, 60)]),
            ("the poller stood still", Some(1_000), Some(1_010), Some(true), vec![(660, 60)]),
            ("it is switched off", None, None, Some(false), vec![]),
            ("nobody knows whether it is", None, None, None, vec![]),
            ("nobody knows, but it was moved on", Some(70), None, None, vec![(660, 60)]),
        ] {
            assert_eq!(missed(moves, run, is_enabled), expected, "{what}");
        }
    }

    #[test]
    fn a_plan_that_is_gone_missed_nothing_and_one_of_another_app_is_another() {
        let mut schedules = Schedules::default();
        schedules.look(&[row(60, Some(true))], at(0));
        assert_eq!(schedules.due_at(Id([3; 16]), at(70)), None);
        assert_eq!(schedules.due_at(APP, at(40)), None, "before its time it is another's doing");
        assert_eq!(schedules.passed(&[], at(70)), [PLAN]);
        assert!(schedules.look(&[], at(70)).is_empty());
        assert!(schedules.look(&[], at(2_000)).is_empty());
    }
}
