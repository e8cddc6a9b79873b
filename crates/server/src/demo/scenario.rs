//! Faults that the demo injects, and how it decides that the loop closed: detected, alerted, acted, healthy again, and
//! no run lost. What it tells is read from the same timeline and store that operators see.

mod oncall;
mod seen;
mod story;

use std::time::Duration;

use mainstay_base::standing::BreakerState;
use mainstay_control::{Facade, Report, State, Supervisor as _};
use mainstay_faulty::{Fault, Plan};
use mainstay_store::model::{AlertFilter, AlertState, ExecutionFilter, RunFilter, RunStatus};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use self::{
    seen::{Seen, conclude},
    story::Story,
};
use super::Stage;
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
/// How long what was done must have served before the provider is mended.
const DETOUR_PROVES_ITSELF: Duration = Duration::from_secs(3);
/// The key of `primary` that is refused, by its name and by what its provider sees of it.
const REFUSED_KEY: (&str, &str) = ("second", "primary-second");
const WHO: &str = "demo";
/// A gateway says each second how its targets stand.
const STANDING_MAX_AGE: Duration = Duration::from_secs(3);

/// What can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// A worker process is stopped (SIGSTOP): alive, but it does nothing.
    WorkerWedged,
    /// A worker process is killed (SIGKILL).
    WorkerKilled,
    /// The first model provider answers every call with 503, for as long as nobody has made a detour.
    ProviderDown,
    /// The first model provider takes every call and then says nothing, for as long as nobody has made a detour.
    ProviderStalls,
    /// All workers are stopped and nothing acts by itself: a page goes to who is on call, then to the second.
    OnCall,
    /// The first model provider refuses one of its two keys, until it is known that only this key rests.
    KeyRefused,
}

impl Name {
    fn is_of_provider(self) -> bool {
        matches!(self, Name::ProviderDown | Name::ProviderStalls)
    }

    fn opens_a_breaker(self) -> bool {
        self == Name::ProviderStalls
    }

    fn fails_no_call(self) -> bool {
        matches!(self, Name::ProviderStalls | Name::KeyRefused)
    }
}

pub(super) async fn run(name: Name, stage: &Stage) -> Exit {
    tokio::time::sleep(BEFORE_FAULT).await;
    let mut story = Story::begin(stage).await;
    if name == Name::OnCall {
        return oncall::run(stage, &mut story).await;
    }
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
        Name::OnCall => Err("it injects its own".to_owned()),
        Name::ProviderDown => {
            note("+0.0s  fault: provider primary answers every call with 503");
            stage.primary.set(Fault::Status { status: 503 });
            Ok("provider:primary".to_owned())
        }
        Name::ProviderStalls => {
            note("+0.0s  fault: provider primary takes every call and says nothing");
            stage.primary.set(Fault::Stall { after_events: 0 });
            Ok("provider:primary".to_owned())
        }
        Name::KeyRefused => {
            let (key, seen_as) = REFUSED_KEY;
            note(format!("+0.0s  fault: provider primary refuses its key {key}"));
            stage.primary.set(Plan { key: Some(seen_as.to_owned()), ..Plan::from(Fault::BadKey) });
            Ok(format!("provider-key:primary/{key}"))
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
    let failed_before = stage.traffic.failed();
    let until = story.injected_at + BOUND;
    while Instant::now() < until {
        story.tell(stage).await;
        look(name, component, stage, story, &mut seen).await;
        seen.failed = stage.traffic.failed() - failed_before;
        if seen.is_closed(name) {
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
    let has_acted = match name {
        Name::KeyRefused => only_its_key_rests(stage, &report).await,
        _ => executions.iter().any(|execution| has_begun(&execution.state)),
    };
    if seen.acted.is_none() && has_acted {
        seen.acted = Some(now);
        story.say(now, "=> ACTED");
    }
    if name.opens_a_breaker() && seen.breaker.is_none() && has_open_breaker(stage).await {
        seen.breaker = Some(now);
        story.say(now, "=> the breaker of primary is open");
    }
    mend(name, facade, stage, story, seen, now).await;
    let is_undone =
        name == Name::KeyRefused || executions.iter().any(|execution| execution.state == "healthy");
    let over = is_undone && alert.is_some_and(|alert| alert.state == AlertState::Resolved);
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

fn has_begun(execution: &str) -> bool {
    matches!(execution, "verifying" | "holding" | "undoing" | "watching" | "healthy")
}

/// What was done has to prove that it serves before the fault is taken away, as a provider's own people would.
async fn mend(name: Name, facade: &Facade, stage: &Stage, story: &Story, seen: &mut Seen, now: Duration) {
    let Some(acted) = seen.acted else { return };
    if seen.mended.is_some() || now <= acted + DETOUR_PROVES_ITSELF {
        return;
    }
    match name {
        Name::KeyRefused => {
            stage.primary.set(Fault::None);
            story.say(
                now,
                "=> the other key serves; the key is given its rights back and tested, as an operator would",
            );
            seen.mended = Some(now);
            if let Err(refused) = facade.test("primary", None, WHO).await {
                story.say(now, &format!("the test was refused: {refused}"));
            }
        }
        _ if name.is_of_provider() && stage.reserve.count() > 0 => {
            stage.primary.set(Fault::None);
            let served = stage.reserve.count();
            let text =
                format!("=> the detour serves ({served} completions by reserve); primary is mended now");
            story.say(now, &text);
            seen.mended = Some(now);
        }
        _ => {}
    }
}

/// One key rests, another of the same provider does not, and the provider is well.
async fn only_its_key_rests(stage: &Stage, report: &Report) -> bool {
    let stood = stage.service.store().standings().list(STANDING_MAX_AGE).await.unwrap_or_default();
    let keys = stood.iter().flat_map(|stood| &stood.standing.keys).filter(|key| key.provider == "primary");
    let (resting, serving): (Vec<_>, Vec<_>) = keys.partition(|key| key.rests_until.is_some());
    let is_well = report.component("provider:primary").is_some_and(|primary| primary.state == State::Ok);
    is_well
        && !serving.is_empty()
        && !resting.is_empty()
        && resting.iter().all(|key| key.key == REFUSED_KEY.0)
}

async fn has_open_breaker(stage: &Stage) -> bool {
    let stood = stage.service.store().standings().list(STANDING_MAX_AGE).await.unwrap_or_default();
    let mut targets = stood.iter().flat_map(|stood| &stood.standing.targets);
    targets.any(|target| target.provider == "primary" && target.breaker == BreakerState::Open)
}
