//! Questions to workers over Redis ("pidbox"), and their answers.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_wire::celery::{Reply, Request};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    about::about,
    keys, script,
    seen::{Answer, Running},
    unacked::micros,
};
use crate::redis::{self, Error, Link, Pipeline, cmd, from_redis_value};

/// Replies fetched at once, and of one round.
const REPLIES_AT_ONCE: usize = 50;
const MAX_REPLIES: usize = 2_000;
const MAX_REPLY_BYTES: usize = 1024 * 1024;
/// How often the list of replies is looked at; a blocking wait would hold up the connection.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Tasks kept of one worker.
const MAX_TASKS: usize = 500;
/// Names of tasks kept of one worker.
const MAX_TASK_NAMES: usize = 300;
/// Reply addresses begin so. What a process that was killed left behind is known by it and taken away.
const REPLY_KEY: &str = "mainstay-";
/// An address of ours that is older belongs to nobody any more.
const ABANDONED_AFTER: Duration = Duration::from_secs(120);
/// More addresses than this are not looked through.
const MAX_SWEPT: usize = 10_000;

/// One question and its arguments.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) arguments: Value,
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// How many workers hold a connection for questions, answering or not.
    pub(super) listeners: u64,
    /// One for one with the questions.
    pub(super) replies: Vec<Vec<Reply>>,
    /// Answers too large to fetch.
    pub(super) too_large: usize,
}

/// Asks, and collects until every listener answered everything or the wait is over. The address of the replies is taken
/// away again, also when the caller is cancelled.
pub(super) async fn ask(
    link: &mut Link,
    questions: &[Question<'_>],
    destination: Option<&[String]>,
    wait: Duration,
    now: Micros,
) -> Result<Round, Error> {
    let reply_key = format!("{REPLY_KEY}{}", Uuid::now_v7());
    let list = link.key(&keys::reply_list(&reply_key));
    let bindings = link.key(keys::REPLY_BINDINGS);
    let binding = keys::reply_binding(&reply_key);
    let mut clean = Pipeline::new();
    clean.cmd("SREM").arg(&bindings).arg(&binding).cmd("DEL").arg(&list);
    let clean = link.later(clean).await?;
    link.ask::<redis::Value>(cmd("SADD").arg(&bindings).arg(&binding)).await?;
    let tickets: Vec<String> = questions.iter().map(|_| Uuid::new_v4().to_string()).collect();
    let channel = link.key(&keys::control_channel(link.database()));
    let mut publish = Pipeline::new();
    for (question, ticket) in questions.iter().zip(&tickets) {
        let request = Request {
            method: question.method,
            arguments: question.arguments.clone(),
            destination,
            ticket,
            reply_key: &reply_key,
            expires_at: now.0 as f64 / 1e6 + wait.as_secs_f64(),
        };
        publish.cmd("PUBLISH").arg(&channel).arg(request.encode());
    }
    let mut round = Round { replies: questions.iter().map(|_| Vec::new()).collect(), ..Round::default() };
    for receivers in link.ask_all(&mut publish).await? {
        let receivers = from_redis_value::<u64>(receivers?).unwrap_or(0);
        round.listeners = round.listeners.max(receivers);
    }
    let per_question = match destination {
        Some(workers) => u64::try_from(workers.len()).unwrap_or(u64::MAX).min(round.listeners),
        None => round.listeners,
    };
    let wanted = usize::try_from(per_question).unwrap_or(MAX_REPLIES).saturating_mul(questions.len());
    collect(link, &list, &tickets, wanted.min(MAX_REPLIES), wait, &mut round).await?;
    clean.now().await?;
    Ok(round)
}

async fn collect(
    link: &mut Link,
    list: &str,
    tickets: &[String],
    wanted: usize,
    wait: Duration,
    round: &mut Round,
) -> Result<(), Error> {
    let until = Instant::now() + wait;
    let mut fetched = 0;
    while fetched < wanted {
        let mut pop = script::eval(script::POP_REPLIES, list);
        pop.arg(REPLIES_AT_ONCE).arg(MAX_REPLY_BYTES);
        let found: Vec<Vec<u8>> = link.ask(&pop).await?;
        fetched += found.len();
        if found.is_empty() {
            if Instant::now() >= until {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        for bytes in found {
            if bytes.is_empty() {
                round.too_large += 1;
                continue;
            }
            let Ok(reply) = Reply::parse(&bytes) else { continue };
            let place = tickets.iter().position(|ticket| reply.ticket.as_deref() == Some(ticket));
            if let Some(replies) = place.and_then(|place| round.replies.get_mut(place)) {
                replies.push(reply);
            }
        }
    }
    Ok(())
}

/// Takes away what processes of ours left behind that were killed while they waited for replies.
pub(super) async fn sweep(link: &mut Link, now: Micros) -> Result<(), Error> {
    let bindings = link.key(keys::REPLY_BINDINGS);
    let count: usize = link.ask(cmd("SCARD").arg(&bindings)).await?;
    if count == 0 || count > MAX_SWEPT {
        return Ok(());
    }
    let members: Vec<Vec<u8>> = link.ask(cmd("SMEMBERS").arg(&bindings)).await?;
    let mut clean = Pipeline::new();
    for member in members.iter().filter_map(|member| std::str::from_utf8(member).ok()) {
        let Some((key, _)) = member.split_once(keys::SEPARATOR) else { continue };
        if key.strip_prefix(REPLY_KEY).and_then(made_at).is_some_and(|made| now.since(made) > ABANDONED_AFTER)
        {
            clean.cmd("SREM").arg(&bindings).arg(member);
            clean.cmd("DEL").arg(link.key(&keys::reply_list(key)));
        }
        if clean.len() + 2 > redis::MAX_COMMANDS_AT_ONCE {
            break;
        }
    }
    link.ask_all(&mut clean).await.map(drop)
}

/// An id of version 7 begins with its time.
fn made_at(id: &str) -> Option<Micros> {
    let (seconds, nanos) = Uuid::parse_str(id).ok()?.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok().map(|seconds| Micros(seconds * 1_000_000 + i64::from(nanos) / 1_000))
}

/// Everything that is asked of workers to know how they are.
pub(super) fn inspection() -> [Question<'static>; 6] {
    ["stats", "active_queues", "active", "reserved", "scheduled", "registered"].map(|method| {
        let arguments = match method {
            "registered" => json!({ "taskinfoitems": ["rate_limit"] }),
            _ => json!({}),
        };
        Question { method, arguments }
    })
}

/// The answers of one round of [`inspection`], by worker. What a busy worker did not answer in time is as it was `before`.
pub(super) fn answers(
    round: Round,
    now: Micros,
    before: impl Fn(&str) -> Option<Answer>,
) -> BTreeMap<String, Answer> {
    let asked = round.replies.len();
    let mut answers: BTreeMap<String, (Answer, usize)> = BTreeMap::new();
    let mut replies = round.replies.into_iter();
    // Each takes one answer and says whether it was whole.
    let mut each = |take: fn(&mut Answer, &Value) -> bool| {
        for reply in replies.next().into_iter().flatten() {
            let (answer, whole) = match answers.entry(reply.worker) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let answer = Answer { at: now, ..before(new.key()).unwrap_or_default() };
                    new.insert((answer, 0))
                }
            };
            *whole += usize::from(take(answer, &reply.value));
        }
    };
    each(stats);
    each(|answer, value| {
        let said = queues(value);
        let is_said = said.is_some();
        answer.queues = said.or(answer.queues.take());
        is_said
    });
    each(|answer, value| tasks(&mut answer.active, value, |task| Some(task)));
    each(|answer, value| tasks(&mut answer.reserved, value, |task| Some(task)));
    each(|answer, value| tasks(&mut answer.scheduled, value, |waiting| waiting.get("request")));
    each(limits);
    let whole = answers.into_iter().map(|(worker, (answer, whole))| {
        let is_whole = whole == asked;
        (worker, Answer { is_whole, ..answer })
    });
    whole.collect()
}

fn stats(answer: &mut Answer, value: &Value) -> bool {
    let Some(done) = value.get("total").and_then(Value::as_object) else { return false };
    let implementation = value.pointer("/pool/implementation").and_then(Value::as_str);
    // `celery.concurrency.gevent:TaskPool`
    let pool = implementation.and_then(|name| name.split(':').next()?.rsplit('.').next());
    answer.pool = pool.map(|pool| if pool == "thread" { "threads" } else { pool }.to_owned());
    answer.concurrency = value.pointer("/pool/max-concurrency").and_then(Value::as_u64);
    answer.prefetch = value.get("prefetch_count").and_then(Value::as_u64);
    answer.uptime_s = value.get("uptime").and_then(Value::as_u64);
    let scale = |name: &str| value.get("autoscaler")?.get(name)?.as_u64();
    answer.autoscale = scale("max").zip(scale("min"));
    let done = done.iter().take(MAX_TASK_NAMES);
    answer.done = done.filter_map(|(task, count)| Some((task.clone(), count.as_u64()?))).collect();
    true
}

fn queues(value: &Value) -> Option<Vec<String>> {
    let names = value.as_array()?.iter().filter_map(|queue| queue.get("name")?.as_str());
    Some(names.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect())
}

/// Whether each of them could be read and kept.
fn tasks(kept: &mut Vec<Running>, value: &Value, task: fn(&Value) -> Option<&Value>) -> bool {
    let Some(all) = value.as_array() else { return false };
    let known = all.iter().take(MAX_TASKS).filter_map(|one| running(task(one)?.as_object()?));
    *kept = known.collect();
    kept.len() == all.len()
}

/// Each task by its name; one with a limit as `tasks.x [rate_limit=10/m]`.
fn limits(answer: &mut Answer, value: &Value) -> bool {
    let Some(names) = value.as_array() else { return false };
    let limited = names.iter().filter_map(Value::as_str).filter_map(|name| {
        let (task, rate) = name.strip_suffix(']')?.split_once(" [rate_limit=")?;
        let number = rate.split('/').next()?.parse::<f64>().ok()?;
        (number > 0.0).then(|| (task.to_owned(), rate.to_owned()))
    });
    answer.limits = limited.take(MAX_TASK_NAMES).collect();
    true
}

fn running(task: &Map<String, Value>) -> Option<Running> {
    let text = |name: &str| task.get(name).and_then(Value::as_str).map(str::to_owned);
    let args = task.get("args").and_then(Value::as_array).cloned().unwrap_or_default();
    let kwargs = task.get("kwargs").and_then(Value::as_object).cloned().unwrap_or_default();
    let queue = task.get("delivery_info").and_then(|delivery| delivery.get("routing_key")?.as_str());
    Some(Running {
        id: text("id")?,
        task: text("name").or_else(|| text("type"))?,
        queue: queue.map(str::to_owned),
        started_at: task.get("time_start").and_then(Value::as_f64).map(micros),
        about: about(&args, &kwargs),
    })
}
