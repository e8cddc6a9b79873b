//! Verdicts about workers with a free place that do not take what waits: broken, or held back by a rate limit.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::celery::{Answer, Peek, Queue, RateLimit, Seen, UnackedMessage, Worker, act::word};

use super::{Bench, ages::Ages, queues::subject, worded};

/// So many held messages are enough to say so; more of the unacknowledged are not looked at.
const MOST_HELD: u64 = 20;

/// The same message stays next while a consumer has a free place. Says whether that is so.
pub(super) fn takes_nothing(
    bench: &mut Bench<'_>,
    seen: &Seen,
    queue: &Queue,
    ages: &Ages,
    answers: &[(&Worker, &Answer)],
) -> bool {
    let Some(since) = ages.tail_since() else { return false };
    let free = answers
        .iter()
        .find(|(_, answer)| answer.concurrency.is_some_and(|places| (answer.active.len() as u64) < places));
    let Some((worker, answer)) = free else { return false };
    // A place was free at the last answers, all of them.
    let stood = bench.stands(format!("takes-nothing {} {}", queue.name, worker.name));
    let waited = bench.now.since(since);
    if waited < bench.limits.takes_nothing || stood < bench.limits.takes_nothing {
        return false;
    }
    if let Some((limit, held)) = held_back(seen, worker, answer) {
        rate_limited(bench, queue, worker, limit, held, waited);
        return true;
    }
    let (name, places) = (&queue.name, answer.concurrency.unwrap_or(0));
    bench.find(Finding {
        id: "worker-takes-nothing".to_owned(),
        severity: Severity::Critical,
        component: format!("worker:{}", worker.name),
        subject: Subject { worker: Some(worker.name.clone()), ..subject(queue) },
        what: format!(
            "worker {} answers and takes nothing from {name}: {} wait, none was taken for {}",
            worker.name,
            queue.length(),
            worded(waited)
        ),
        cause: "its connection that takes messages is broken while the one for control lives".to_owned(),
        remedy: format!(
            "mainstay queue act shutdown {} --yes, and see that it starts again",
            word(&worker.name)
        ),
        evidence: vec![
            Evidence::new(format!("LINDEX {name} -1"), queue.tail().and_then(Peek::id).unwrap_or_default()),
            Evidence::new("active", format!("{} of {places} places are taken", answer.active.len())),
        ],
    });
    true
}

/// The limit by which a worker holds all that it may take ahead, and how many those are: it takes nothing more of any task
/// then. They are in no answer of it, and not acknowledged.
fn held_back<'a>(seen: &Seen, worker: &'a Worker, answer: &Answer) -> Option<(&'a RateLimit, u64)> {
    let told: BTreeSet<&str> = answer.held().map(|task| task.id.as_str()).collect();
    let limit = |message: &UnackedMessage| {
        let is_told = message.message.id().is_none_or(|id| told.contains(id));
        worker.may_hold_back(message.message.task()?, Some(message.delivered_at)).filter(|_| !is_told)
    };
    let held: Vec<&RateLimit> = seen.unacked.oldest.iter().filter_map(limit).collect();
    let wanted = answer.prefetch.filter(|prefetch| *prefetch > 0)?.min(MOST_HELD);
    let holds = (held.len() + answer.reserved.len() + answer.active.len()) as u64;
    held.first().filter(|_| holds >= wanted).map(|limit| (*limit, held.len() as u64))
}

fn rate_limited(
    bench: &mut Bench<'_>,
    queue: &Queue,
    worker: &Worker,
    limit: &RateLimit,
    held: u64,
    waited: Duration,
) {
    let (name, RateLimit { task, rate, lifted_at }) = (&queue.name, limit);
    let shutdown = format!("mainstay queue act shutdown {} --yes", word(&worker.name));
    let (cause, remedy) = if lifted_at.is_none() {
        let lift =
            format!("mainstay queue act rate-limit {} 0 --worker {} --yes", word(task), word(&worker.name));
        let cause = format!("it starts {task} no faster than {rate}, and holds as many as it may take ahead");
        (cause, format!("{lift}; what it holds goes on at the old rate, unless it is given back: {shutdown}"))
    } else {
        let cause = format!("the limit {rate} was taken off, and what it took before goes on at that rate");
        (cause, format!("{shutdown}, which gives back what it holds; see that it starts again"))
    };
    bench.find(Finding {
        id: "rate-limited".to_owned(),
        severity: Severity::Warning,
        component: format!("worker:{}", worker.name),
        subject: Subject { worker: Some(worker.name.clone()), ..subject(queue) },
        what: format!(
            "worker {} holds {held} tasks back by a rate limit: {} wait in {name}, none was taken for {}",
            worker.name,
            queue.length(),
            worded(waited)
        ),
        cause,
        remedy,
        evidence: vec![
            Evidence::new("registered", format!("{task} [rate_limit={rate}]")),
            Evidence::new("ZRANGE unacked_index 0 19", format!("{held} of {task} that no answer tells of")),
        ],
    });
}
