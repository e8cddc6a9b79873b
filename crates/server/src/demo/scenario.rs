//! Faults that the demo injects, and how it decides that the loop closed: detected, alerted, acted, healthy again, and
//! no run lost. What it tells is read from the same timeline and store that operators see.

use std::time::Duration;

use mainstay_control::{State, Supervisor as _};
use mainstay_faulty::Fault;
use mainstay_store::model::{AlertFilter, AlertState, ExecutionFilter, RunFilter, RunStatus, TimelineFilter};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::{Stage, traffic::Account};
use crate::{failure::Exit, output::note};

/// From ready to the fault.
const BEFORE_FAULT: Duration = Duration::from_secs(5);
/// From the fault to a closed loop.
const BOUND: Duration = Duration::from_secs(90);
/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Runs queued right before a worker is hit, so that it holds some.
const BURST: u64 = 32;
/// Their model calls take this long, for the same reason.
const BURST_DELAY_MS: u64 = 400;
/// How long to wait for the worker to hold runs; without any the fault still shows.
const HOLDING_WITHIN: Duration = Duration::from_secs(2);
/// How long the detour must have served before the provider is mended.
const DETOUR_PROVES_ITSELF: Duration = Duration::from_secs(3);
const EVENTS_AT_ONCE: u32 = 100;

/// What can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// A worker process is stopped (SIGSTOP): alive, but it does nothing.
    WorkerWedged,
    /// A worker process is killed (SIGKILL).
    WorkerKilled,
    /// The first model provider answers every call with 503, for as long as nobody has made a detour.
    ProviderDown,
}

/// What has been seen so far.
#[derive(Debug, Default)]
struct Seen {
    detected: Option<Duration>,
    alerted: Option<Duration>,
    acted: Option<Duration>,
    healthy: Option<Duration>,
    /// A provider came back: the fault was taken away once the detour had proved itself.
    mended: Option<Duration>,
    account: Account,
}

pub(super) async fn run(name: Name, stage: &Stage) -> Exit {
    tokio::time::sleep(BEFORE_FAULT).await;
    let mut story = Story::begin(stage).await;
    let component = match inject(name, stage).await {
        Ok(component) => component,
        Err(why) => {
            note(format!("the fault could not be injected: {why}"));
            return Exit::Problem;
        }
    };
    story.start_clock();
    let seen = follow(name, &component, stage, &mut story).await;
    conclude(name, &seen)
}

async fn inject(name: Name, stage: &Stage) -> Result<String, String> {
    match name {
        Name::WorkerWedged => hit_worker(stage, Signal::STOP, "stopped (SIGSTOP)").await,
        Name::WorkerKilled => hit_worker(stage, Signal::KILL, "killed (SIGKILL)").await,
        Name::ProviderDown => {
            note("+0.0s  fault: provider primary answers every call with 503");
            stage.primary.set(Fault::Status { status: 503 });
            Ok("provider:primary".to_owned())
        }
    }
}

/// Hits the first worker while it holds runs.
async fn hit_worker(stage: &Stage, signal: Signal, how: &str) -> Result<String, String> {
    let supervisor = stage.service.supervisor.as_ref().ok_or("there are no workers here")?;
    let slot = supervisor.list().into_iter().next().ok_or("there are no workers here")?;
    let raw = slot.pid.and_then(|pid| i32::try_from(pid).ok()).ok_or("the worker does not run")?;
    // Of a child that the supervisor has not waited for yet: the id is still its own.
    let pid = Pid::from_raw(raw).ok_or("the worker has no process id")?;
    stage.primary.set(Fault::SlowFirstByte { delay_ms: BURST_DELAY_MS });
    stage.traffic.burst(BURST).await;
    let held = wait_until_holding(stage, i64::from(raw)).await;
    let hit = kill_process(pid, signal);
    stage.primary.set(Fault::None);
    hit.map_err(|error| error.to_string())?;
    note(format!("+0.0s  fault: worker {} (pid {raw}) is {how} with {held} runs in hand", slot.slot));
    Ok(format!("worker:{}", slot.slot))
}

/// How many runs the worker executes, as soon as it executes any.
async fn wait_until_holding(stage: &Stage, pid: i64) -> usize {
    let store = stage.service.store();
    let until = Instant::now() + HOLDING_WITHIN;
    while Instant::now() < until {
        let workers = store.workers().list().await.unwrap_or_default();
        let id = workers.into_iter().find(|worker| worker.pid == pid).map(|worker| worker.id);
        let running = RunFilter { status: Some(RunStatus::Running), ..RunFilter::default() };
        let runs = store.runs().list(running).await.unwrap_or_default();
        let held =
            runs.iter().filter_map(|run| run.job.as_ref()).filter(|job| id.is_some() && job.worker_id == id);
        match held.count() {
            0 => tokio::time::sleep(Duration::from_millis(5)).await,
            held => return held,
        }
    }
    0
}

/// Looks until the loop has closed or the bound is reached.
async fn follow(name: Name, component: &str, stage: &Stage, story: &mut Story) -> Seen {
    let mut seen = Seen::default();
    let until = story.injected_at + BOUND;
    while Instant::now() < until {
        story.tell(stage).await;
        look(name, component, stage, story, &mut seen).await;
        if seen.is_closed() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    story.tell(stage).await;
    seen
}

async fn look(name: Name, component: &str, stage: &Stage, story: &Story, seen: &mut Seen) {
    let Some(facade) = &stage.service.facade else { return };
    let now = story.injected_at.elapsed();
    let report = facade.report();
    let state = report.component(component).map_or(State::Unknown, |found| found.state);
    if seen.detected.is_none() && state.is_trouble() {
        seen.detected = Some(now);
        let reason = report.component(component).map(|found| found.reason.clone()).unwrap_or_default();
        story.say(now, &format!("=> DETECTED: {component} is {}: {reason}", state.as_str()));
    }
    let subject = Some(component.to_owned());
    let filter = AlertFilter { subject: subject.clone(), limit: 10, ..AlertFilter::default() };
    let alerts = facade.alerts(filter).await.unwrap_or_default();
    let alert = alerts.iter().find(|alert| alert.opened_at >= story.began_at);
    if seen.alerted.is_none() && alert.is_some() {
        seen.alerted = Some(now);
        story.say(now, "=> ALERTED");
    }
    let filter =
        ExecutionFilter { subject, since: Some(story.began_at), limit: 10, ..ExecutionFilter::default() };
    let executions = facade.executions(filter).await.unwrap_or_default();
    let acted = |state: &str| matches!(state, "verifying" | "holding" | "undoing" | "watching" | "healthy");
    let execution = executions.iter().find(|execution| acted(&execution.state));
    if seen.acted.is_none() && execution.is_some() {
        seen.acted = Some(now);
        story.say(now, "=> ACTED");
    }
    if name == Name::ProviderDown {
        mend(stage, story, seen, now);
    }
    let over = alert.is_some_and(|alert| alert.state == AlertState::Resolved)
        && executions.iter().any(|execution| execution.state == "healthy");
    if seen.healthy.is_none() && over && report.state == State::Ok {
        seen.healthy = Some(now);
        story.say(now, "=> HEALTHY AGAIN");
        stage.traffic.burst(1).await;
    }
    if seen.healthy.is_some()
        && let Ok(account) = stage.traffic.account(stage.service.store()).await
    {
        seen.account = account;
    }
}

/// The detour has to prove that it serves before the fault is taken away, as a provider's own people would.
fn mend(stage: &Stage, story: &Story, seen: &mut Seen, now: Duration) {
    let Some(acted) = seen.acted else { return };
    if seen.mended.is_none() && now > acted + DETOUR_PROVES_ITSELF && stage.reserve.count() > 0 {
        seen.mended = Some(now);
        stage.primary.set(Fault::None);
        let served = stage.reserve.count();
        story.say(
            now,
            &format!("=> the detour serves ({served} completions by reserve); primary is mended now"),
        );
    }
}

impl Seen {
    fn is_closed(&self) -> bool {
        self.missing().is_empty()
    }

    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (what, at) in [
            ("detected", self.detected),
            ("alerted", self.alerted),
            ("acted", self.acted),
            ("healthy again", self.healthy),
        ] {
            if at.is_none() {
                missing.push(what.to_owned());
            }
        }
        if self.healthy.is_some() && !self.account.is_settled() {
            let Account { submitted, finished, told, told_twice, by_status } = &self.account;
            missing.push(format!(
                "all runs accounted for ({submitted} submitted, {finished} finished, {told} called back, \
                 {told_twice} called back with two results; {by_status:?})"
            ));
        }
        missing
    }
}

fn conclude(name: Name, seen: &Seen) -> Exit {
    let missing = seen.missing();
    if missing.is_empty() {
        let Account { submitted, .. } = seen.account;
        note(format!(
            "loop closed: detected after {}, alerted after {}, acted after {}, healthy again after {}; {submitted} \
             queued runs finished exactly once, none lost",
            seconds(seen.detected),
            seconds(seen.alerted),
            seconds(seen.acted),
            seconds(seen.healthy),
        ));
        return Exit::Good;
    }
    note(format!("the loop of {name:?} did not close within {BOUND:?}; missing: {}", missing.join("; ")));
    Exit::Problem
}

fn seconds(at: Option<Duration>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| format!("{:.1}s", at.as_secs_f64()))
}

/// Tells the timeline as it grows.
struct Story {
    injected_at: Instant,
    /// The same moment as events give it.
    began_at: mainstay_base::Micros,
    after: i64,
}

impl Story {
    async fn begin(stage: &Stage) -> Story {
        let newest = TimelineFilter { limit: 1, ..TimelineFilter::default() };
        let events = stage.service.store().timeline().list(newest).await.unwrap_or_default();
        Story {
            injected_at: Instant::now(),
            began_at: mainstay_base::Clock::System.now(),
            after: events.first().map_or(0, |event| event.seq),
        }
    }

    /// From now on the fault is in.
    fn start_clock(&mut self) {
        self.injected_at = Instant::now();
        self.began_at = mainstay_base::Clock::System.now();
    }

    async fn tell(&mut self, stage: &Stage) {
        let filter =
            TimelineFilter { after: Some(self.after), limit: EVENTS_AT_ONCE, ..TimelineFilter::default() };
        for event in stage.service.store().timeline().list(filter).await.unwrap_or_default() {
            self.after = self.after.max(event.seq);
            let at = event.event.at.since(self.began_at);
            self.say(at, &format!("{}: {}", event.event.kind, event.event.text));
        }
    }

    fn say(&self, at: Duration, text: &str) {
        note(format!("+{:.1}s  {text}", at.as_secs_f64()));
    }
}
