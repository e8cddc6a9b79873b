//! The scenario of people: a page reaches whoever is on call, goes on to the second when nobody acknowledges, is
//! acknowledged, and its end is told to both. Nothing acts by itself meanwhile: runbooks are frozen.

use std::time::Duration;

use mainstay_control::{Facade, Supervisor as _, alert::GroupView};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::{BOUND, LOOK, Story, WHO};
use crate::{
    demo::{
        Stage,
        policy::{FIRST, SECOND},
    },
    failure::Exit,
    output::note,
};

/// What is told of.
const COMPONENT: &str = "workers";
/// Who acknowledges, by the name of a token.
const HELPER: &str = "ben";

/// What has been seen so far, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    #[default]
    Fault,
    /// The first was told.
    Paged,
    /// Nobody acknowledged, and the second was told.
    Escalated,
    /// The second looks after it, and the workers go on.
    Acknowledged,
    /// Both were told of the end.
    Resolved,
}

pub(super) async fn run(stage: &Stage, story: &mut Story) -> Exit {
    let Some(facade) = &stage.service.facade else { return Exit::Problem };
    if let Err(error) = facade.freeze(WHO, "to see what people are told").await {
        note(format!("runbooks could not be frozen: {error}"));
        return Exit::Problem;
    }
    let workers = workers(stage);
    if !signal(&workers, Signal::STOP) {
        note("the fault could not be injected: not every worker could be stopped");
        return Exit::Problem;
    }
    story.start_clock();
    story.say(
        Duration::ZERO,
        &format!("fault: all {} workers are stopped (SIGSTOP), runbooks are frozen", workers.len()),
    );
    let step = follow(facade, stage, story, &workers).await;
    signal(&workers, Signal::CONT);
    let thawed = facade.unfreeze(WHO, "the scenario is over").await;
    if step == Step::Resolved && thawed.is_ok() {
        note("loop closed: paged, escalated, acknowledged, resolved; both were told of the end");
        return Exit::Good;
    }
    note(format!("the loop did not close within {BOUND:?}: it came as far as {step:?}"));
    Exit::Problem
}

async fn follow(facade: &Facade, stage: &Stage, story: &mut Story, workers: &[Pid]) -> Step {
    let mut step = Step::Fault;
    let until = story.injected_at + BOUND;
    while step < Step::Resolved && Instant::now() < until {
        story.tell(stage).await;
        let now = story.injected_at.elapsed();
        let told = |who: &str| stage.traffic.receiver().pager(who, COMPONENT);
        match step {
            Step::Fault if !told(FIRST).is_empty() => {
                story
                    .say(now, &format!("=> PAGED: {FIRST} is on call, and told: {}", told(FIRST).join(", ")));
                if let Some(GroupView { next: Some(next), .. }) = group(facade).await {
                    let whom = next.receivers.join(", ");
                    story.say(
                        now,
                        &format!("next, when nobody acknowledges: {} to {whom}", next.what.as_str()),
                    );
                }
                step = Step::Paged;
            }
            Step::Paged if !told(SECOND).is_empty() => {
                story.say(now, &format!("=> ESCALATED: {SECOND} is told: {}", told(SECOND).join(", ")));
                step = Step::Escalated;
            }
            Step::Escalated => {
                if let Some(view) = group(facade).await
                    && facade.acknowledge_group(&view.group.id, HELPER, "in the demo").await.is_ok()
                {
                    story.say(
                        now,
                        &format!("=> ACKNOWLEDGED by {HELPER}, who lets the workers go on (SIGCONT)"),
                    );
                    signal(workers, Signal::CONT);
                    step = Step::Acknowledged;
                }
            }
            Step::Acknowledged if [FIRST, SECOND].iter().all(|who| is_over(&told(who))) => {
                story.say(now, "=> RESOLVED: both are told of the end");
                step = Step::Resolved;
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
    story.tell(stage).await;
    step
}

fn is_over(told: &[String]) -> bool {
    told.last().is_some_and(|what| what == "alert.resolved")
}

/// The open group that tells of it.
async fn group(facade: &Facade) -> Option<GroupView> {
    let groups = facade.group_views().await.ok()?;
    let is_it = |view: &GroupView| {
        let is_open = view.group.ended_at.is_none();
        is_open && view.group.members.values().any(|member| member.component == COMPONENT)
    };
    groups.into_iter().find(is_it)
}

/// Children that the supervisor has not waited for: the ids are still their own.
fn workers(stage: &Stage) -> Vec<Pid> {
    let slots = stage.service.supervisor.as_ref().map(|supervisor| supervisor.list()).unwrap_or_default();
    let pid = |pid: u32| Pid::from_raw(i32::try_from(pid).ok()?);
    slots.into_iter().filter_map(|slot| slot.pid.and_then(pid)).collect()
}

fn signal(workers: &[Pid], signal: Signal) -> bool {
    let sent = workers.iter().map(|pid| kill_process(*pid, signal).is_ok()).collect::<Vec<_>>();
    !sent.is_empty() && sent.iter().all(|is_sent| *is_sent)
}
