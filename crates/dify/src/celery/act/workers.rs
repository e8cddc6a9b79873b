//! Actions that are sent to workers by remote control.

use std::time::Duration;

use mainstay_base::Micros;
use serde_json::{Value, json};

use super::{Action, Done, Parts, Plan, Refused, Terms, Undo, consumers, step, word};
use crate::celery::{
    Answer, Observer, Peek, Seen, Worker,
    remote::{self, Question},
};

/// How long to wait for the worker's word.
const REPLY_WAIT: Duration = Duration::from_secs(3);
/// Nobody grows a pool by more at once.
const MAX_GROWTH: u32 = 256;

pub(super) fn plan(seen: &Seen, action: &Action, terms: &Terms) -> Result<Parts, Refused> {
    let (method, arguments, destination) = command(action);
    let to = destination.map_or_else(|| "every worker".to_owned(), |worker| worker[0].clone());
    let sends = format!("{method} {arguments}");
    let (changes, undo, warnings) = match action {
        Action::GrowPool { worker, by } => {
            let (answer, concurrency) = pool(seen, worker, *by)?;
            let changes = format!(
                "{worker} works on {} tasks at a time, not {concurrency}",
                concurrency + u64::from(*by)
            );
            let warning = format!("each may hold a database connection; it has {} now", answer.active.len());
            // By the number that its pool goes on telling, none may seem to be left.
            let force = if u64::from(*by) >= concurrency { " --force" } else { "" };
            let undo =
                Undo::By(format!("mainstay queue act shrink-pool {} --by {by}{force} --yes", word(worker)));
            (changes, undo, [vec![warning], untold(answer, concurrency)].concat())
        }
        Action::ShrinkPool { worker, by } => {
            let (answer, concurrency) = pool(seen, worker, *by)?;
            if u64::from(*by) >= concurrency && !terms.force {
                let why = format!("{worker} has {concurrency} places by its own word; none would be left");
                return Err(Refused::unless_forced(why, "shrink it by less, or shut it down"));
            }
            let changes = format!(
                "{worker} works on {} tasks at a time, not {concurrency}",
                concurrency.saturating_sub(u64::from(*by))
            );
            let undo = Undo::By(format!("mainstay queue act grow-pool {} --by {by} --yes", word(worker)));
            (changes, undo, untold(answer, concurrency))
        }
        Action::Autoscale { worker, max, min } => {
            let answer = answering(seen, worker)?;
            if min > max || *max == 0 || *max > MAX_GROWTH {
                return Err(Refused::because(
                    format!("{min} to {max} is no range"),
                    format!("give min ≤ max, and max between 1 and {MAX_GROWTH}"),
                ));
            }
            let Some((old_max, old_min)) = answer.autoscale else {
                let why = format!("{worker} was not started with --autoscale");
                return Err(Refused::because(why, "grow its pool instead, or set CELERY_AUTO_SCALE=true"));
            };
            let undo = format!(
                "mainstay queue act autoscale {} --max {old_max} --min {old_min} --yes",
                word(worker)
            );
            (
                format!("{worker} keeps {min} to {max} places, not {old_min} to {old_max}"),
                Undo::By(undo),
                Vec::new(),
            )
        }
        Action::AddConsumer { queue, worker } => {
            if !seen.queues.iter().any(|known| known.name == *queue) && !terms.force {
                let why = format!("there is no queue `{queue}`");
                return Err(Refused::unless_forced(why, "see mainstay queue list"));
            }
            let held = seen.queues.iter().find(|known| known.name == *queue);
            let mut peeks = held.into_iter().flat_map(|queue| queue.oldest.iter().chain(&queue.newest));
            if let Some(Peek::Broken { name, .. }) = peeks.find(|peek| peek.ends_worker())
                && !terms.force
            {
                let why = format!("{queue} holds a message that ends the worker that takes it");
                let next = format!(
                    "take it out first: mainstay queue act purge {} --message {name} --yes",
                    word(queue)
                );
                return Err(Refused::unless_forced(why, next));
            }
            if let Some(worker) = worker {
                answering(seen, worker)?;
            }
            let now = consumers(seen, queue);
            let wanted = |name: &&str| worker.as_deref().is_none_or(|worker| worker == *name);
            let all = now.iter().filter(|name| wanted(name)).count();
            if all > 0 && worker.is_some() {
                return Err(Refused::because(format!("{to} consumes {queue} already"), "nothing is to do"));
            }
            let mut warnings = vec!["lost when the worker restarts: add it to CELERY_QUEUES too".to_owned()];
            if queue == "trigger_refresh_publisher" {
                warnings.push("what has piled up here runs at once; purge it first".to_owned());
            }
            let target =
                worker.as_deref().map_or_else(String::new, |worker| format!(" --worker {}", word(worker)));
            // Nobody had it before, so that nobody has it after.
            let force = if now.is_empty() { " --force" } else { "" };
            let undo = format!("mainstay queue act cancel-consumer {}{target}{force} --yes", word(queue));
            (format!("{to} takes from {queue}"), Undo::By(undo), warnings)
        }
        Action::CancelConsumer { queue, worker } => {
            let now = consumers(seen, queue);
            let left =
                now.iter().filter(|name| worker.as_deref().is_some_and(|worker| worker != **name)).count();
            if now.is_empty() || worker.as_deref().is_some_and(|worker| !now.contains(&worker)) {
                return Err(Refused::because(
                    format!("{to} does not consume {queue}"),
                    "see mainstay queue workers",
                ));
            }
            if left == 0 && !terms.force {
                let why = format!("nobody else consumes {queue}: its messages would lie");
                return Err(Refused::unless_forced(why, "add another consumer first"));
            }
            let target =
                worker.as_deref().map_or_else(String::new, |worker| format!(" --worker {}", word(worker)));
            let undo = format!("mainstay queue act add-consumer {}{target} --yes", word(queue));
            let warning = "undone when the worker restarts: its CELERY_QUEUES decides then".to_owned();
            (format!("{to} takes nothing more from {queue}"), Undo::By(undo), vec![warning])
        }
        Action::RateLimit { task, rate, worker } => {
            if !is_rate(rate) {
                return Err(Refused::because(
                    format!("`{rate}` is no rate"),
                    "give it as 10/m, 2/s, 100/h or 0",
                ));
            }
            if let Some(worker) = worker {
                answering(seen, worker)?;
            }
            let target =
                worker.as_deref().map_or_else(String::new, |worker| format!(" --worker {}", word(worker)));
            let (before, mixed) = rate_before(seen, task, worker.as_deref());
            let undo = Undo::By(format!(
                "mainstay queue act rate-limit {} {}{target} --yes",
                word(task),
                word(&before)
            ));
            let mut warnings = vec!["the limit is for each worker, and lost when it restarts".to_owned()];
            if mixed {
                warnings.push(
                    "the workers have different limits now; the undo takes it off all of them".to_owned(),
                );
            }
            if before != NO_RATE {
                warnings.push(format!(
                    "what a worker took already goes on at the old rate, {before}; shut it down to have it given back"
                ));
            }
            (format!("{to} starts {task} no faster than {rate}"), undo, warnings)
        }
        Action::Revoke { task_id, terminate } => {
            let held = holders(seen, task_id);
            let mut warnings = Vec::new();
            if held.is_empty() {
                warnings.push(
                    "no worker has it now: it is passed over when it comes, while these workers live"
                        .to_owned(),
                );
            }
            if *terminate {
                warnings.push(
                    "Dify does not hear of it: a run or document stays as it is in the database".to_owned(),
                );
            }
            let why = if *terminate {
                "a task that was ended is not begun again"
            } else {
                "a worker does not unlearn it"
            };
            let place = if held.is_empty() { "nobody".to_owned() } else { held.join(", ") };
            (
                format!("task {task_id} is passed over; held by {place}"),
                Undo::Irreversible(why.to_owned()),
                warnings,
            )
        }
        Action::Shutdown { worker } => {
            let answer = answering(seen, worker)?;
            let alone =
                answer.queues.iter().flatten().filter(|queue| consumers(seen, queue) == [worker.as_str()]);
            let alone: Vec<&str> = alone.map(String::as_str).collect();
            if !alone.is_empty() && !terms.force {
                let why = format!("nobody else consumes {}", alone.join(", "));
                return Err(Refused::unless_forced(why, "start another worker first"));
            }
            let why = "only what started its container starts it again".to_owned();
            let warning = format!("it ends after the {} tasks that it runs", answer.active.len());
            (format!("{worker} takes no more tasks and ends"), Undo::Irreversible(why), vec![warning])
        }
        _ => return Err(Refused::because("this is not sent to workers", "")),
    };
    Ok((vec![step(sends, to, changes)], undo, warnings))
}

pub(super) async fn perform(observer: &mut Observer, plan: &Plan, now: Micros) -> Result<Done, Refused> {
    let (method, arguments, destination) = command(&plan.action);
    let is_goodbye = matches!(plan.action, Action::Shutdown { .. });
    let question = Question { method, arguments };
    let destination = destination.as_ref().map(|workers| workers.as_slice());
    // A worker that is told to end does not answer.
    let wait = if is_goodbye { Duration::from_millis(200) } else { REPLY_WAIT };
    let round = remote::ask(observer.link(), &[question], destination, wait, now).await?;
    let replies = round.replies.into_iter().next().unwrap_or_default();
    if let Some(reply) = replies.iter().find(|reply| reply.refusal().is_some()) {
        let said = reply.refusal().unwrap_or_default().to_owned();
        return Err(Refused::ByWorker { worker: reply.worker.clone(), said });
    }
    if replies.is_empty() && !is_goodbye {
        return Err(Refused::NobodyAnswered);
    }
    let words = |value: &Value| {
        value.get("ok").and_then(Value::as_str).map_or_else(|| value.to_string(), str::to_owned)
    };
    Ok(Done {
        text: plan.steps.iter().map(|step| step.changes.as_str()).collect::<Vec<_>>().join("; "),
        undo: plan.undo.clone(),
        said: replies.into_iter().map(|reply| (reply.worker, words(&reply.value))).collect(),
        file: None,
    })
}

/// The method of remote control, its arguments, and whom it is for.
fn command(action: &Action) -> (&'static str, Value, Option<[String; 1]>) {
    let one = |worker: &String| Some([worker.clone()]);
    let some = |worker: &Option<String>| worker.clone().map(|worker| [worker]);
    match action {
        Action::GrowPool { worker, by } => ("pool_grow", json!({ "n": by }), one(worker)),
        Action::ShrinkPool { worker, by } => ("pool_shrink", json!({ "n": by }), one(worker)),
        Action::Autoscale { worker, max, min } => {
            ("autoscale", json!({ "max": max, "min": min }), one(worker))
        }
        Action::AddConsumer { queue, worker } => ("add_consumer", json!({ "queue": queue }), some(worker)),
        Action::CancelConsumer { queue, worker } => {
            ("cancel_consumer", json!({ "queue": queue }), some(worker))
        }
        Action::RateLimit { task, rate, worker } => {
            ("rate_limit", json!({ "task_name": task, "rate_limit": rate }), some(worker))
        }
        Action::Revoke { task_id, terminate } => {
            ("revoke", json!({ "task_id": task_id, "terminate": terminate, "signal": "SIGTERM" }), None)
        }
        Action::Shutdown { worker } => ("shutdown", json!({}), one(worker)),
        _ => ("", Value::Null, None),
    }
}

/// What a worker said that is there and answers.
fn answering<'a>(seen: &'a Seen, name: &str) -> Result<&'a Answer, Refused> {
    let worker = seen.workers.iter().find(|worker| worker.name == name);
    match worker {
        Some(Worker { answer: Some(answer), silent_rounds: 0, .. }) => Ok(answer),
        Some(_) => Err(Refused::because(
            format!("{name} does not answer"),
            "it would not hear this either; see mainstay queue workers",
        )),
        None => {
            let names: Vec<&str> = seen.workers.iter().map(|worker| worker.name.as_str()).collect();
            let known = if names.is_empty() {
                "nobody answers".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            Err(Refused::because(
                format!("there is no worker `{name}`; {known}"),
                "see mainstay queue workers",
            ))
        }
    }
}

/// A pool that can change its size: gevent's, eventlet's and prefork's; Celery's threads and solo pools cannot.
fn pool<'a>(seen: &'a Seen, worker: &str, by: u32) -> Result<(&'a Answer, u64), Refused> {
    let answer = answering(seen, worker)?;
    if by == 0 || by > MAX_GROWTH {
        return Err(Refused::because(format!("by {by} is no change"), format!("give 1 to {MAX_GROWTH}")));
    }
    let pool = answer.pool.as_deref().unwrap_or("unknown");
    if !["gevent", "eventlet", "prefork"].contains(&pool) {
        let why = format!("the pool of {worker} is {pool}, which cannot change its size while it runs");
        return Err(Refused::because(why, "set CELERY_WORKER_AMOUNT and restart it"));
    }
    if answer.autoscale.is_some() {
        let why = format!("{worker} sizes its pool by itself");
        return Err(Refused::because(why, "change its range: mainstay queue act autoscale"));
    }
    let Some(concurrency) = answer.concurrency else {
        return Err(Refused::because(format!("{worker} does not say how many places it has"), "see its log"));
    };
    Ok((answer, concurrency))
}

/// Celery's gevent pool (5.5.3) changes its size and goes on telling the one that it began with.
fn untold(answer: &Answer, concurrency: u64) -> Vec<String> {
    if answer.pool.as_deref() == Some("prefork") {
        return Vec::new();
    }
    vec![format!("its stats go on saying {concurrency}; count its active tasks to see the new size")]
}

fn holders(seen: &Seen, task_id: &str) -> Vec<String> {
    let holds = |answer: &Answer| answer.held().any(|task| task.id == task_id);
    let holders = seen.workers.iter().filter(|worker| worker.answer.as_ref().is_some_and(holds));
    holders.map(|worker| worker.name.clone()).collect()
}

const NO_RATE: &str = "0";

/// The limit that the workers have now, and whether they differ.
fn rate_before(seen: &Seen, task: &str, worker: Option<&str>) -> (String, bool) {
    let answering = seen.workers.iter().filter(|there| there.silent_rounds == 0);
    let meant = answering.filter(|there| worker.is_none_or(|worker| worker == there.name));
    let rate = |answer: &Answer| {
        let limit = answer.limits.iter().find(|(name, _)| name == task);
        limit.map_or_else(|| NO_RATE.to_owned(), |(_, rate)| rate.clone())
    };
    let mut rates: Vec<String> = meant.filter_map(|there| there.answer.as_ref()).map(rate).collect();
    rates.sort();
    rates.dedup();
    match rates.as_slice() {
        [one] => (one.clone(), false),
        [] => (NO_RATE.to_owned(), false),
        _ => (NO_RATE.to_owned(), true),
    }
}

/// `10/m`, `2/s`, `100/h`, `3`, `0`.
fn is_rate(rate: &str) -> bool {
    let (number, unit) = rate.split_once('/').unwrap_or((rate, "s"));
    number.parse::<f64>().is_ok_and(|number| number.is_finite() && number >= 0.0)
        && ["s", "m", "h"].contains(&unit)
}
