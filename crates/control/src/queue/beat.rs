//! Whether beat runs, and once: its fresh tasks each minute.
//!
//! A tick is one task of the schedule's poller, done or waiting. Workers count what they did since their start, so a tick
//! that came and went between two looks is counted too.

use std::collections::{BTreeMap, VecDeque};

use mainstay_base::{Evidence, Finding, Micros, Severity, finding::Subject};
use mainstay_dify::celery::Seen;

use super::{Bench, worded, workers::consumes};

/// What beat sends each minute by default (`WORKFLOW_SCHEDULE_POLLER_INTERVAL`), and where.
const TASK: &str = "schedule.workflow_schedule_task.poll_workflow_schedules";
const QUEUE: &str = "schedule_poller";
/// Ticks kept.
const MAX_TICKS: usize = 64;
/// Ticks in which more than one is too many.
const WINDOW: u32 = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Beat {
    done: BTreeMap<String, u64>,
    waiting: u64,
    /// When ticks were noticed.
    ticks: VecDeque<Micros>,
    began: Option<Micros>,
    asked_at: Option<Micros>,
}

impl Beat {
    pub(super) fn judge(&mut self, bench: &mut Bench<'_>, seen: &Seen) {
        // Only answers tell what was done.
        if seen.asked_at.is_none() || seen.asked_at == self.asked_at {
            return self.speak(bench, seen);
        }
        self.asked_at = seen.asked_at;
        self.count(seen);
        self.speak(bench, seen);
    }

    fn count(&mut self, seen: &Seen) {
        let is_first = self.began.is_none();
        self.began.get_or_insert(seen.at);
        let mut fresh = 0_i64;
        for worker in &seen.workers {
            let Some(answer) = worker.answer.as_ref().filter(|_| worker.silent_rounds == 0) else { continue };
            let has = |task: &&mainstay_dify::celery::Running| task.task == TASK;
            let held = answer.reserved.iter().filter(has).count() as u64;
            let count =
                answer.done.iter().find(|(task, _)| task == TASK).map_or(0, |(_, count)| *count) + held;
            let before = self.done.insert(worker.name.clone(), count);
            let more = before.map_or(0, |before| if count >= before { count - before } else { count });
            fresh += more as i64;
        }
        let waiting = seen.queues.iter().find(|queue| queue.name == QUEUE).map_or(0, |queue| queue.length());
        fresh += waiting as i64 - self.waiting as i64;
        self.waiting = waiting;
        self.done.retain(|name, _| seen.workers.iter().any(|worker| worker.name == *name));
        if is_first {
            return;
        }
        for _ in 0..fresh.clamp(0, MAX_TICKS as i64) {
            self.ticks.push_back(seen.at);
        }
        while self.ticks.len() > MAX_TICKS {
            self.ticks.pop_front();
        }
    }

    fn speak(&self, bench: &mut Bench<'_>, seen: &Seen) {
        let Some(began) = self.began else { return };
        let tick = bench.limits.tick;
        // A worker must answer, or nothing is known of what was done.
        let is_blind = seen.workers.iter().all(|worker| worker.answer.is_none() || worker.silent_rounds > 0);
        let last = self.ticks.back().copied().unwrap_or(began);
        let quiet = bench.now.since(last);
        let patience = if self.ticks.is_empty() { tick * 4 } else { tick * 5 / 2 };
        // Where nobody ever ticked, the poller may be switched off; where nobody consumes it, there is none.
        let is_known = !self.ticks.is_empty() || seen.workers.iter().any(|worker| consumes(worker, QUEUE));
        if quiet > patience && !is_blind && is_known {
            bench.find(finding(
                "beat-missing",
                if self.ticks.is_empty() { Severity::Warning } else { Severity::Critical },
                format!("beat has sent nothing for {}", worded(quiet)),
                "worker_beat is down or uses another broker, so that schedules stand still; \
                 or ENABLE_WORKFLOW_SCHEDULE_POLLER_TASK is false",
                "start worker_beat (MODE=beat), one of it",
                format!("{} ticks", self.ticks.len()),
            ));
        }
        let window = tick * WINDOW;
        let fresh = self.ticks.iter().filter(|at| bench.now.since(**at) < window).count();
        let watched = bench.now.since(began) >= window;
        // One beat gives one a tick, and one more at the edge.
        let wanted = WINDOW as usize;
        if watched && fresh >= wanted * 2 - 1 {
            bench.find(finding(
                "beat-doubled",
                Severity::Critical,
                format!("{fresh} ticks came in {}, not {wanted}: two beats run", worded(window)),
                "worker_beat was scaled, or an old one lives on; each schedule fires twice",
                "stop all but one worker_beat",
                format!("{fresh} ticks in {}", worded(window)),
            ));
        }
    }
}

fn finding(
    id: &str,
    severity: Severity,
    what: String,
    cause: &str,
    remedy: &str,
    answered: String,
) -> Finding {
    Finding {
        id: id.to_owned(),
        severity,
        component: "beat".to_owned(),
        subject: Subject { queue: Some(QUEUE.to_owned()), task: Some(TASK.to_owned()), ..Subject::default() },
        what,
        cause: cause.to_owned(),
        remedy: remedy.to_owned(),
        evidence: vec![Evidence::new(format!("stats, total of {TASK}; LLEN {QUEUE}"), answered)],
    }
}
