//! Verdicts about workers: lost, wedged, taking nothing, too long at one task.

use std::time::Duration;

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::celery::{Answer, Running, Seen, Worker, act::word};

use super::{Bench, worded};

/// Tasks named in one finding.
const MAX_NAMED: usize = 3;

pub(super) fn judge(bench: &mut Bench<'_>, seen: &Seen) {
    for worker in &seen.workers {
        match &worker.answer {
            _ if worker.said_goodbye => {}
            Some(answer) if worker.silent_rounds == 0 => long_tasks(bench, worker, answer),
            _ => silent(bench, seen, worker),
        }
    }
    mute(bench, seen);
    nobody(bench, seen);
}

/// Whether it is to be believed that a worker consumes a queue: its last word said so.
pub(super) fn consumes(worker: &Worker, queue: &str) -> bool {
    let queues = worker.answer.as_ref().and_then(|answer| answer.queues.as_ref());
    !worker.said_goodbye && queues.is_some_and(|queues| queues.iter().any(|name| name == queue))
}

/// Answers and heartbeats both stopped. What holds its connection is stopped, what does not is gone.
fn silent(bench: &mut Bench<'_>, seen: &Seen, worker: &Worker) {
    let Some(since) = worker.silent_since else { return };
    let asked = seen.asked_at.is_some_and(|asked| asked >= since);
    let silent_for = bench.now.since(since);
    let heard = worker.heard.as_ref().map(|heard| bench.now.since(heard.at));
    let is_silent = asked
        && match heard {
            Some(ago) => ago > bench.limits.heartbeat && silent_for >= bench.limits.silent,
            None => worker.silent_rounds >= bench.limits.silent_rounds,
        };
    if !is_silent {
        return;
    }
    let answering =
        seen.workers.iter().filter(|worker| worker.answer.is_some() && worker.silent_rounds == 0).count();
    let is_connected = seen.listeners.is_some_and(|listeners| listeners > answering as u64);
    let held: Vec<&Running> = worker.answer.iter().flat_map(Answer::held).collect();
    let left = left_alone(seen, worker);
    let evidence = vec![
        Evidence::new(
            "PUBLISH /<db>.celery.pidbox, stats to every worker",
            format!(
                "{} listen, {answering} answer, {} is silent for {}",
                seen.listeners.unwrap_or(0),
                worker.name,
                worded(silent_for)
            ),
        ),
        Evidence::new(
            "PSUBSCRIBE /<db>.celeryev/worker.*",
            heard.map_or_else(|| "never heard".to_owned(), |ago| format!("last heard {} ago", worded(ago))),
        ),
    ];
    let subject = Subject {
        worker: Some(worker.name.clone()),
        queue: left.first().cloned(),
        task: held.first().map(|task| task.task.clone()),
        app: held.iter().find_map(|task| task.about.app.clone()),
        tenant: held.iter().find_map(|task| task.about.tenant.clone()),
        ..Subject::default()
    };
    let finding = match is_connected {
        true => wedged(worker, silent_for, &held, subject, evidence),
        false => lost(worker, &left, &held, subject, evidence),
    };
    bench.find(finding);
}

/// It holds its connection: it is stopped.
fn wedged(
    worker: &Worker,
    silent_for: Duration,
    held: &[&Running],
    subject: Subject,
    evidence: Vec<Evidence>,
) -> Finding {
    Finding {
        id: "worker-wedged".to_owned(),
        severity: Severity::Critical,
        component: format!("worker:{}", worker.name),
        subject,
        what: format!(
            "worker {} lives and does nothing: no heartbeat and no answer for {}",
            worker.name,
            worded(silent_for)
        ),
        cause: format!("its process is stopped, or one task holds it whole{}", named(held)),
        remedy: format!(
            "restart the container of {}; a pool of gevent is held by a task that computes",
            worker.name
        ),
        evidence,
    }
}

/// It holds no connection: it is gone.
fn lost(
    worker: &Worker,
    left: &[String],
    held: &[&Running],
    subject: Subject,
    evidence: Vec<Evidence>,
) -> Finding {
    Finding {
        id: "worker-lost".to_owned(),
        severity: if left.is_empty() { Severity::Warning } else { Severity::Critical },
        component: format!("worker:{}", worker.name),
        subject,
        what: format!("worker {} is gone without a goodbye{}", worker.name, unconsumed(left)),
        cause: format!(
            "it was killed, as by the kernel for memory, or lost its network; what it ran is not run again{}",
            named(held)
        ),
        remedy: format!(
            "start it again and look for its end: docker inspect, OOMKilled, exit 137 ({})",
            worker.name
        ),
        evidence,
    }
}

/// Queues that nobody else consumes.
fn left_alone(seen: &Seen, worker: &Worker) -> Vec<String> {
    let queues = worker.answer.iter().flat_map(|answer| answer.queues.iter().flatten());
    let others = |queue: &&String| {
        seen.workers
            .iter()
            .any(|other| other.name != worker.name && other.silent_rounds == 0 && consumes(other, queue))
    };
    queues.filter(|queue| !others(queue)).cloned().collect()
}

fn unconsumed(left: &[String]) -> String {
    match left {
        [] => String::new(),
        [queue] => format!("; nobody consumes {queue} any more"),
        [queue, rest @ ..] => format!("; nobody consumes {queue} and {} more queues any more", rest.len()),
    }
}

fn named(held: &[&Running]) -> String {
    if held.is_empty() {
        return String::new();
    }
    let names: Vec<String> =
        held.iter().take(MAX_NAMED).map(|task| format!("{} {}", task.task, task.id)).collect();
    format!("; it had {}", names.join(", "))
}

/// One task for longer than any run may take.
fn long_tasks(bench: &mut Bench<'_>, worker: &Worker, answer: &Answer) {
    let limit = bench.limits.longest_task;
    // The answer may be some seconds old; a task that ended since is not blamed longer than that.
    let too_long = |task: &&Running| task.started_at.is_some_and(|started| answer.at.since(started) > limit);
    let long: Vec<&Running> = answer.active.iter().filter(too_long).collect();
    let Some(first) = long.first() else { return };
    let all = answer.concurrency.is_some_and(|places| long.len() as u64 >= places);
    let took = first.started_at.map_or(limit, |started| bench.now.since(started));
    bench.find(Finding {
        id: "task-too-long".to_owned(),
        severity: if all { Severity::Critical } else { Severity::Warning },
        component: format!("worker:{}", worker.name),
        subject: Subject {
            worker: Some(worker.name.clone()),
            queue: first.queue.clone(),
            task: Some(first.task.clone()),
            app: first.about.app.clone(),
            tenant: first.about.tenant.clone(),
            run: first.about.run.clone(),
        },
        what: format!(
            "{} of {} places of {} are held for over {}",
            long.len(),
            answer.concurrency.unwrap_or(0),
            worker.name,
            worded(limit)
        ),
        cause: format!(
            "{} {} runs for {}: it waits for something that does not come",
            first.task,
            first.id,
            worded(took)
        ),
        remedy: format!("mainstay queue act revoke {} --terminate --yes", word(&first.id)),
        evidence: vec![Evidence::new("active", format!("{} since {}", first.id, worded(took)))],
    });
}

/// More hold a connection for questions than answer or are known: workers that were stuck before anybody looked.
fn mute(bench: &mut Bench<'_>, seen: &Seen) {
    let Some(listeners) = seen.listeners else { return };
    let known = seen.workers.iter().filter(|worker| !worker.said_goodbye).count() as u64;
    let mute = listeners.saturating_sub(known);
    if mute == 0 || !bench.stands_for("mute".to_owned(), bench.limits.silent * 2) {
        return;
    }
    bench.find(Finding {
        id: "worker-mute".to_owned(),
        severity: Severity::Critical,
        component: "worker".to_owned(),
        subject: Subject::default(),
        what: format!(
            "{mute} workers hold a connection to the broker and neither answer nor send heartbeats"
        ),
        cause: "their processes are stopped, or a task that computes holds them whole".to_owned(),
        remedy: "restart the worker containers that mainstay queue workers does not list".to_owned(),
        evidence: vec![Evidence::new(
            "PUBLISH /<db>.celery.pidbox",
            format!("{listeners} listen, {known} are known"),
        )],
    });
}

/// Messages wait, and there is no worker at all.
fn nobody(bench: &mut Bench<'_>, seen: &Seen) {
    let waiting: u64 = seen
        .queues
        .iter()
        .filter(|queue| !super::queues::is_bulk(&queue.name))
        .map(|queue| queue.length())
        .sum();
    let someone = seen.workers.iter().any(|worker| !worker.said_goodbye);
    if seen.asked_at.is_none() || seen.listeners.is_none() || someone || waiting == 0 {
        return;
    }
    if bench.stands_for("no-worker".to_owned(), bench.limits.no_consumer) {
        bench.find(Finding {
            id: "no-worker".to_owned(),
            severity: Severity::Critical,
            component: "worker".to_owned(),
            subject: Subject::default(),
            what: format!("{waiting} messages wait and there is no worker"),
            cause: "no process runs with MODE=worker, or it uses another broker".to_owned(),
            remedy: "start the worker with MODE=worker and the same CELERY_BROKER_URL".to_owned(),
            evidence: vec![Evidence::new("PUBLISH /<db>.celery.pidbox", "0 listen")],
        });
    }
}
