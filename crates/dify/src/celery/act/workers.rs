//! Actions that are sent to workers by remote control.

mod consumer;
mod pool;

use std::time::Duration;

use mainstay_base::Micros;
use serde_json::{Value, json};

use super::{Action, Done, Parts, Plan, Refused, Terms, Undo, consumers, step, word};
use crate::celery::{
    Answer, Observer, Seen, Worker,
    remote::{self, Question},
};

/// How long to wait for the worker's word.
const REPLY_WAIT: Duration = Duration::from_secs(3);
/// What it changes, what takes it back, and what to know before.
type Planned = Result<(String, Undo, Vec<String>), Refused>;

pub(super) fn plan(seen: &Seen, action: &Action, terms: &Terms) -> Result<Parts, Refused> {
    let (method, arguments, destination) = command(action);
    let to = destination.map_or_else(|| "every worker".to_owned(), |worker| worker[0].clone());
    let sends = format!("{method} {arguments}");
    let (changes, undo, warnings) = match action {
        Action::GrowPool { worker, by } => pool::grow(seen, worker, *by)?,
        Action::ShrinkPool { worker, by } => pool::shrink(seen, worker, *by, terms)?,
        Action::Autoscale { worker, max, min } => pool::autoscale(seen, worker, *min, *max)?,
        Action::AddConsumer { queue, worker } => {
            consumer::add_consumer(seen, queue, worker.as_deref(), &to, terms)?
        }
        Action::CancelConsumer { queue, worker } => {
            consumer::cancel_consumer(seen, queue, worker.as_deref(), &to, terms)?
        }
        Action::RateLimit { task, rate, worker } => rate_limit(seen, task, rate, worker.as_deref(), &to)?,
        Action::Revoke { task_id, terminate } => revoke(seen, task_id, *terminate),
        Action::Shutdown { worker } => shut_down(seen, worker, terms)?,
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

fn rate_limit(seen: &Seen, task: &str, rate: &str, worker: Option<&str>, to: &str) -> Planned {
    if !is_rate(rate) {
        return Err(Refused::because(format!("`{rate}` is no rate"), "give it as 10/m, 2/s, 100/h or 0"));
    }
    if let Some(worker) = worker {
        answering(seen, worker)?;
    }
    let target = only(worker);
    let (before, mixed) = rate_before(seen, task, worker);
    let undo =
        Undo::By(format!("mainstay queue act rate-limit {} {}{target} --yes", word(task), word(&before)));
    let mut warnings = vec!["the limit is for each worker, and lost when it restarts".to_owned()];
    if mixed {
        warnings.push("the workers have different limits now; the undo takes it off all of them".to_owned());
    }
    if before != NO_RATE {
        warnings.push(format!(
            "what a worker took already goes on at the old rate, {before}; shut it down to have it given back"
        ));
    }
    Ok((format!("{to} starts {task} no faster than {rate}"), undo, warnings))
}

fn revoke(seen: &Seen, task_id: &str, terminate: bool) -> (String, Undo, Vec<String>) {
    let held = holders(seen, task_id);
    let mut warnings = Vec::new();
    if held.is_empty() {
        warnings.push(
            "no worker has it now: it is passed over when it comes, while these workers live".to_owned(),
        );
    }
    if terminate {
        warnings
            .push("Dify does not hear of it: a run or document stays as it is in the database".to_owned());
    }
    let why =
        if terminate { "a task that was ended is not begun again" } else { "a worker does not unlearn it" };
    let place = if held.is_empty() { "nobody".to_owned() } else { held.join(", ") };
    (format!("task {task_id} is passed over; held by {place}"), Undo::Irreversible(why.to_owned()), warnings)
}

fn shut_down(seen: &Seen, worker: &str, terms: &Terms) -> Planned {
    let answer = answering(seen, worker)?;
    let alone = answer.queues.iter().flatten().filter(|queue| consumers(seen, queue) == [worker]);
    let alone: Vec<&str> = alone.map(String::as_str).collect();
    if !alone.is_empty() && !terms.force {
        let why = format!("nobody else consumes {}", alone.join(", "));
        return Err(Refused::unless_forced(why, "start another worker first"));
    }
    let why = "only what started its container starts it again".to_owned();
    let warning = format!("it ends after the {} tasks that it runs", answer.active.len());
    Ok((format!("{worker} takes no more tasks and ends"), Undo::Irreversible(why), vec![warning]))
}

/// The option that says which worker alone.
fn only(worker: Option<&str>) -> String {
    worker.map_or_else(String::new, |worker| format!(" --worker {}", word(worker)))
}
