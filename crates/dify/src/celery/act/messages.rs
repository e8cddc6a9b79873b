//! Actions on single messages and keys: each is one script, so that it happens whole or not at all.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_wire::celery::{NewTask, redelivered, unacked};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Action, Done, Parts, Plan, Refused, Terms, Undo, step};
use crate::{
    celery::{
        Answer, Observer, Peek, Seen, keys, script,
        tenant::{flag_key, list_key},
    },
    redis::{Link, cmd},
};

/// A message that was delivered a moment ago is on its way.
const YOUNGEST_REQUEUED: Duration = Duration::from_secs(60);
/// Dify itself takes slots away after this (`rate_limit.py`, `_REQUEST_MAX_ALIVE_TIME`), when the app is asked again.
const SLOT_LIVES: Duration = Duration::from_secs(600);
/// The flag of a workspace lives so long (`queue.py`, `DEFAULT_TASK_TTL`).
const FLAG_LIVES_S: u64 = 3_600;
/// Before a text that holds JSON (`queue.py`, `TASK_WRAPPER_PREFIX`).
const WRAPPER: &str = "__WRAPPER__:";
/// More slots than this are not read.
const MAX_SLOTS: usize = 10_000;

/// KEYS: `unacked`, `unacked_index`, the queue's list. ARGV: the tag, the field's value as it was seen, the message as it
/// goes back. Goes to the tail, as kombu's own restoring does, so that it is taken next.
const REQUEUE: &str = "
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('RPUSH', KEYS[3], ARGV[3])
return 1";

/// KEYS: the workspace's list, its flag. ARGV: the element as it was seen, the flag's seconds.
const TAKE_HEAD: &str = "
if redis.call('LINDEX', KEYS[1], -1) ~= ARGV[1] then return 0 end
redis.call('RPOP', KEYS[1])
redis.call('SETEX', KEYS[2], ARGV[2], 1)
return 1";

/// KEYS: the hash. ARGV: pairs of field and value as they were seen.
const CLEAR: &str = "
local cleared = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    cleared = cleared + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return cleared";

pub(super) async fn plan(
    observer: &mut Observer,
    seen: &Seen,
    action: &Action,
    terms: &Terms,
    now: Micros,
) -> Result<Parts, Refused> {
    match action {
        Action::Requeue { tag } => {
            let held = held(observer.link(), tag).await?;
            guard_requeue(seen, tag, &held, terms, now)?;
            let Held { task, id, queue, .. } = held;
            let steps = vec![
                step(
                    format!("HDEL unacked {tag}; ZREM unacked_index {tag}"),
                    "the broker",
                    "nobody holds it any more",
                ),
                step(
                    format!("RPUSH {queue}"),
                    "the broker",
                    format!("{task} {id} is taken next from {queue}"),
                ),
            ];
            let why =
                "once a worker took it, it runs; take it out of the queue before that by a purge".to_owned();
            Ok((steps, Undo::Irreversible(why), Vec::new()))
        }
        Action::Redispatch { kind, tenant } => {
            guard_redispatch(seen, tenant, terms)?;
            let head = head(observer.app_link()?, kind, tenant).await?;
            let (task, queue) = task_of(kind)?;
            let steps = vec![
                step(
                    format!("RPOP {}", list_key(kind, tenant)),
                    "the app's Redis",
                    format!("{} is off the list", head.text()),
                ),
                step(
                    format!("SETEX {} {FLAG_LIVES_S}", flag_key(kind, tenant)),
                    "the app's Redis",
                    "the workspace counts as busy",
                ),
                step(
                    format!("LPUSH {queue}"),
                    "the broker",
                    format!("{task} is queued; the rest of the list follows it"),
                ),
            ];
            let why = "indexing begins; a document can be disabled in Dify".to_owned();
            Ok((steps, Undo::Irreversible(why), Vec::new()))
        }
        Action::ClearSlots { app } => {
            let stale = stale_slots(observer.app_link()?, app, now).await?;
            if stale.is_empty() {
                let why = format!("app {app} has no slot older than {} s", SLOT_LIVES.as_secs());
                return Err(Refused::because(why, "nothing is to do"));
            }
            let key = slots_key(app);
            let changes = format!(
                "{} slots of requests that began over {} s ago are free",
                stale.len(),
                SLOT_LIVES.as_secs()
            );
            let why = "the requests have ended; a slot that is missed is not refused anything".to_owned();
            Ok((
                vec![step(format!("HDEL {key}"), "the app's Redis", changes)],
                Undo::Irreversible(why),
                Vec::new(),
            ))
        }
        _ => Err(Refused::because("this is not about messages", "")),
    }
}

pub(super) async fn perform(observer: &mut Observer, plan: &Plan, now: Micros) -> Result<Done, Refused> {
    let text = match &plan.action {
        Action::Requeue { tag } => requeue(observer.link(), tag).await?,
        Action::Redispatch { kind, tenant } => redispatch(observer, kind, tenant).await?,
        Action::ClearSlots { app } => clear_slots(observer.app_link()?, app, now).await?,
        _ => return Err(Refused::because("this is not about messages", "")),
    };
    Ok(Done { text, undo: plan.undo.clone(), said: Vec::new(), file: None })
}

async fn requeue(link: &mut Link, tag: &str) -> Result<String, Refused> {
    let held = held(link, tag).await?;
    let message = redelivered(&held.value).map_err(|broken| unreadable(tag, broken.to_string()))?;
    let mut command = cmd("EVAL");
    command.arg(REQUEUE).arg(3);
    command.arg(link.key(keys::UNACKED)).arg(link.key(keys::UNACKED_INDEX)).arg(link.key(&held.list));
    command.arg(tag).arg(held.value).arg(message);
    let moved: u64 = link.ask(&command).await?;
    if moved == 0 {
        return Err(Refused::because(format!("{tag} was acknowledged in between"), "nothing was changed"));
    }
    Ok(format!("{} {} is at the tail of {}", held.task, held.id, held.queue))
}

/// A field of `unacked`, with what is needed to give it back.
struct Held {
    value: Vec<u8>,
    id: String,
    task: String,
    queue: String,
    list: String,
    eta: Option<String>,
}

async fn held(link: &mut Link, tag: &str) -> Result<Held, Refused> {
    let mut command = script::eval(script::PEEK_FIELDS, &link.key(keys::UNACKED));
    let largest = mainstay_wire::celery::MAX_MESSAGE_BYTES;
    command.arg(largest).arg(largest).arg(tag);
    let found: Vec<(String, u64, Vec<u8>)> = link.ask(&command).await?;
    let Some((_, bytes, value)) = found.into_iter().next() else {
        let why = format!("no message is held under {tag}");
        return Err(Refused::because(why, "see mainstay queue list --json, unacked"));
    };
    if value.is_empty() && bytes > 0 {
        return Err(unreadable(tag, format!("it has {bytes} bytes")));
    }
    let message = unacked(&value).map_err(|broken| unreadable(tag, broken.to_string()))?;
    if !message.exchange.is_empty() && message.exchange != message.routing_key {
        return Err(unreadable(tag, format!("it came through the exchange {}", message.exchange)));
    }
    let step = keys::PRIORITY_STEPS.into_iter().rev().find(|step| *step <= message.priority).unwrap_or(0);
    Ok(Held {
        list: keys::list(&message.routing_key, step),
        queue: message.routing_key,
        id: message.id,
        task: message.task,
        eta: message.eta,
        value,
    })
}

fn unreadable(tag: &str, why: String) -> Refused {
    Refused::because(
        format!("message {tag} cannot be given back: {why}"),
        "Celery gives it back after its visibility timeout, an hour",
    )
}

fn guard_requeue(seen: &Seen, tag: &str, held: &Held, terms: &Terms, now: Micros) -> Result<(), Refused> {
    let answering = || {
        let alive = seen.workers.iter().filter(|worker| worker.silent_rounds == 0);
        alive.filter_map(|worker| Some((worker, worker.answer.as_ref()?)))
    };
    let has = |answer: &Answer| answer.held().any(|task| task.id == held.id);
    if let Some((worker, _)) = answering().find(|(_, answer)| has(answer)) {
        let when = held.eta.as_ref().map_or_else(String::new, |eta| format!(" at its time, {eta}"));
        let why = format!("{} has task {} and will run it{when}; it would run twice", worker.name, held.id);
        return Err(Refused::because(why, "shut that worker down first"));
    }
    let delivered = seen.unacked.oldest.iter().find(|message| message.tag == tag);
    let delivered_at = delivered.map(|message| message.delivered_at);
    if seen.listeners.is_none_or(|listeners| listeners > answering().count() as u64) && !terms.force {
        let why = "a worker that does not answer may hold it; it would run twice";
        return Err(Refused::unless_forced(why, "end the worker that does not answer"));
    }
    if let Some((worker, _)) = answering().find(|(_, answer)| !answer.is_whole)
        && !terms.force
    {
        let why = format!("{} did not tell all that it has; the task may run twice", worker.name);
        return Err(Refused::unless_forced(why, "try again"));
    }
    let limited =
        answering().find_map(|(worker, _)| Some((worker, worker.may_hold_back(&held.task, delivered_at)?)));
    if let Some((worker, limit)) = limited
        && !terms.force
    {
        let was = if limit.lifted_at.is_some() {
            "was taken off and holds on for what it took before"
        } else {
            "is on"
        };
        let why = format!(
            "{} may hold it back: the rate limit {} of {} {was}; it would run twice",
            worker.name, limit.rate, limit.task
        );
        return Err(Refused::unless_forced(why, "shut that worker down: it gives back what it holds"));
    }
    let unasked = answering().find(|(worker, _)| delivered_at.is_none_or(|at| worker.was_there_unasked(at)));
    if let Some((worker, _)) = unasked
        && !terms.force
    {
        let why = format!(
            "{} was there when it was delivered, and a rate limit that was taken off before it was asked may hold it back",
            worker.name
        );
        let next =
            "shut that worker down: it gives back what it holds; or ask an instance that watched it since";
        return Err(Refused::unless_forced(why, next));
    }
    if delivered_at.is_some_and(|at| now.since(at) < YOUNGEST_REQUEUED) && !terms.force {
        return Err(Refused::unless_forced("it was delivered less than a minute ago", "wait a minute"));
    }
    Ok(())
}

/// The next element of a workspace's list.
struct Head {
    element: Vec<u8>,
    kwargs: Map<String, Value>,
}

impl Head {
    fn text(&self) -> String {
        let documents = self.kwargs.get("document_ids").and_then(Value::as_array).map_or(0, Vec::len);
        format!("a task of {documents} documents")
    }
}

async fn head(link: &mut Link, kind: &str, tenant: &str) -> Result<Head, Refused> {
    task_of(kind)?;
    let mut command = script::eval(script::PEEK, &link.key(&list_key(kind, tenant)));
    let largest = mainstay_wire::celery::MAX_MESSAGE_BYTES;
    command.arg(largest).arg(largest).arg(-1);
    let found: Vec<(u64, Vec<u8>)> = link.ask(&command).await?;
    let Some((_, element)) = found.into_iter().next() else {
        return Err(Refused::because(
            format!("workspace {tenant} has nothing on its list"),
            "nothing is to do",
        ));
    };
    let text = std::str::from_utf8(&element).ok().and_then(|text| text.strip_prefix(WRAPPER));
    let object = text.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let kwargs = object.filter(|object| {
        let is_text = |name: &str| object.get(name).is_some_and(Value::is_string);
        is_text("tenant_id")
            && is_text("dataset_id")
            && object.get("document_ids").is_some_and(Value::is_array)
    });
    let Some(mut kwargs) = kwargs else {
        let why = "the head of the list is not a task of this version's form";
        return Err(Refused::because(why, "retry the documents in Dify"));
    };
    kwargs.retain(|name, _| ["tenant_id", "dataset_id", "document_ids"].contains(&name.as_str()));
    if kwargs.get("tenant_id").and_then(Value::as_str) != Some(tenant) {
        return Err(Refused::because(
            "the head of the list names another workspace",
            "retry the documents in Dify",
        ));
    }
    Ok(Head { element, kwargs })
}

/// What Dify itself sends for the next element, and where (`tasks/document_indexing_task.py`).
fn task_of(kind: &str) -> Result<(&'static str, &'static str), Refused> {
    match kind {
        "document_indexing" => Ok(("tasks.document_indexing_task.normal_document_indexing_task", "dataset")),
        "duplicate_document_indexing" => {
            Ok(("tasks.duplicate_document_indexing_task.normal_duplicate_document_indexing_task", "dataset"))
        }
        _ => Err(Refused::because(
            format!("lists of the kind `{kind}` are not re-dispatched"),
            "there are document_indexing and duplicate_document_indexing",
        )),
    }
}

fn guard_redispatch(seen: &Seen, tenant: &str, terms: &Terms) -> Result<(), Refused> {
    let is_theirs = |about: &crate::celery::About| about.tenant.as_deref() == Some(tenant);
    let running = seen.workers.iter().flat_map(|worker| worker.answer.iter());
    let running = running.flat_map(|answer| answer.active.iter().chain(&answer.reserved));
    if let Some(task) = running.into_iter().find(|task| is_theirs(&task.about)) {
        let why = format!("a task of this workspace runs, {}, and takes the next one itself", task.id);
        return Err(Refused::because(why, "let it finish"));
    }
    let waits = seen.queues.iter().filter(|queue| queue.name.contains("dataset")).find(|queue| {
        let peeks = queue.oldest.iter().chain(&queue.newest);
        peeks.into_iter().any(|peek| matches!(peek, Peek::Task { about, .. } if is_theirs(about)))
    });
    if let Some(queue) = waits {
        let why = format!("a task of this workspace waits in {} and takes the next one itself", queue.name);
        return Err(Refused::because(why, "see that the queue is consumed"));
    }
    let answered =
        seen.workers.iter().filter(|worker| worker.silent_rounds == 0 && worker.answer.is_some()).count();
    if seen.listeners.is_none_or(|listeners| listeners > answered as u64) && !terms.force {
        let why = "a worker that does not answer may run this workspace's task";
        return Err(Refused::unless_forced(why, "end the worker that does not answer"));
    }
    Ok(())
}

async fn redispatch(observer: &mut Observer, kind: &str, tenant: &str) -> Result<String, Refused> {
    let (task, queue) = task_of(kind)?;
    let app = observer.app_link()?;
    let head = head(app, kind, tenant).await?;
    let mut take = cmd("EVAL");
    take.arg(TAKE_HEAD).arg(2).arg(app.key(&list_key(kind, tenant))).arg(app.key(&flag_key(kind, tenant)));
    take.arg(&head.element).arg(FLAG_LIVES_S);
    if app.ask::<u64>(&take).await? == 0 {
        return Err(Refused::because(
            "the list moved in between: somebody works on it",
            "nothing was changed",
        ));
    }
    let (id, tag) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let message = NewTask { task, queue, id: &id, delivery_tag: &tag, kwargs: &head.kwargs }.encode();
    let link = observer.link();
    let pushed = link.ask::<u64>(cmd("LPUSH").arg(link.key(queue)).arg(message)).await;
    if let Err(error) = pushed {
        // Two servers cannot be changed at once: put it back where it was.
        let app = observer.app_link()?;
        app.ask::<u64>(cmd("RPUSH").arg(app.key(&list_key(kind, tenant))).arg(&head.element)).await?;
        return Err(error.into());
    }
    Ok(format!("{} of workspace {tenant} is task {id} in {queue}", head.text()))
}

fn slots_key(app: &str) -> String {
    format!("dify:rate_limit:{app}:active_requests")
}

/// Slots whose request began too long ago, with their values.
async fn stale_slots(link: &mut Link, app: &str, now: Micros) -> Result<Vec<(String, String)>, Refused> {
    let key = link.key(&slots_key(app));
    let count: usize = link.ask(cmd("HLEN").arg(&key)).await?;
    if count > MAX_SLOTS {
        let why = format!("app {app} has {count} slots; more than {MAX_SLOTS} are not read");
        return Err(Refused::because(why, format!("delete the key {key} while the app rests")));
    }
    let slots: Vec<(String, String)> = link.ask(cmd("HGETALL").arg(&key)).await?;
    let began = |value: &str| value.parse::<f64>().ok().map(|seconds| Micros((seconds * 1e6) as i64));
    let is_stale = |value: &str| began(value).is_some_and(|began| now.since(began) > SLOT_LIVES);
    Ok(slots.into_iter().filter(|(_, value)| is_stale(value)).collect())
}

async fn clear_slots(link: &mut Link, app: &str, now: Micros) -> Result<String, Refused> {
    let stale = stale_slots(link, app, now).await?;
    let mut clear = script::eval(CLEAR, &link.key(&slots_key(app)));
    for (request, began) in &stale {
        clear.arg(request).arg(began);
    }
    let cleared: u64 = link.ask(&clear).await?;
    Ok(format!("{cleared} slots of app {app} are free"))
}
