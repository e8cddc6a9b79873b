//! Verdicts about queues: without a consumer, not taken from, saturated, growing, broken messages, held messages, stale
//! lists of workspaces.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::celery::{Answer, Peek, Queue, Seen, TenantList, UnackedMessage, Worker, act::word};

use super::{Bench, ages::Ages, worded, workers::consumes};

/// A queue that Dify fills by default and nobody reads in releases 1.10 to 1.13.
const REFRESH: &str = "trigger_refresh_publisher";
/// From here on it is a storm when somebody reads it.
const STORM: u64 = 500;
/// So many held messages are enough to say so; more of the unacknowledged are not looked at.
const MOST_HELD: u64 = 20;
/// A growth is one when it is so many times its standard error.
const SURE: f64 = 4.0;

pub(super) fn judge(bench: &mut Bench<'_>, seen: &Seen, ages: &BTreeMap<String, Ages>) {
    for queue in seen.queues.iter().filter(|queue| queue.length() > 0) {
        let Some(ages) = ages.get(&queue.name) else { continue };
        broken(bench, queue);
        let consumers: Vec<&Worker> =
            seen.workers.iter().filter(|worker| consumes(worker, &queue.name)).collect();
        if consumers.is_empty() {
            no_consumer(bench, seen, queue, ages);
            continue;
        }
        let answers: Vec<(&Worker, &Answer)> = consumers
            .iter()
            .filter(|worker| worker.silent_rounds == 0)
            .filter_map(|worker| Some((*worker, worker.answer.as_ref()?)))
            .collect();
        if !takes_nothing(bench, seen, queue, ages, &answers) {
            saturated(bench, queue, ages, &answers);
        }
    }
    held_by_nobody(bench, seen);
    stale_lists(bench, seen);
}

/// Queues that pile up without harm to anybody for a long time.
pub(super) fn is_bulk(queue: &str) -> bool {
    queue == REFRESH || queue == "monitor"
}

fn no_consumer(bench: &mut Bench<'_>, seen: &Seen, queue: &Queue, ages: &Ages) {
    let nobody_at_all = !seen.workers.iter().any(|worker| worker.answer.is_some() && !worker.said_goodbye);
    let stands = bench.stands_for(format!("no-consumer {}", queue.name), bench.limits.no_consumer);
    // Without any worker there is one verdict, and not one for each queue.
    if seen.asked_at.is_none() || !stands || nobody_at_all {
        return;
    }
    let name = &queue.name;
    let length = queue.length();
    let evidence = vec![
        Evidence::new(format!("LLEN {name}"), length.to_string()),
        Evidence::new("active_queues", format!("no worker names {name}")),
    ];
    let subject = subject(queue);
    if name == REFRESH {
        bench.find(Finding {
            id: "trigger-refresh-backlog".to_owned(),
            severity: if length >= STORM { Severity::Warning } else { Severity::Note },
            component: format!("queue:{name}"),
            subject,
            what: format!("{length} messages lie in {name}, and one more comes each minute"),
            cause: "Dify 1.10 to 1.13 fills this queue and starts no consumer; the next release runs all of it at once".to_owned(),
            remedy: format!("before an upgrade: mainstay queue act purge {} --yes", word(name)),
            evidence,
        });
        return;
    }
    let oldest = ages
        .oldest(bench.now)
        .map_or_else(String::new, |(age, _)| format!(", the oldest for {} at least", worded(age)));
    let severity = if is_bulk(name) { Severity::Note } else { Severity::Critical };
    bench.find(Finding {
        id: "S18".to_owned(),
        severity,
        component: format!("queue:{name}"),
        subject,
        what: format!("{length} messages wait in {name}{oldest}, and no worker consumes it"),
        cause: "the list of queues of the workers lacks it; each release of Dify adds some".to_owned(),
        remedy: format!(
            "add {name} to CELERY_QUEUES of a worker; at once: mainstay queue act add-consumer {} --yes",
            word(name)
        ),
        evidence,
    });
}

/// The same message stays next while a consumer has a free place. Says whether that is so.
fn takes_nothing(
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
    let prefetch = answer.prefetch.unwrap_or(0);
    // What a rate limit holds back is in no answer of a worker: it was given to one and is not acknowledged.
    let untold = || {
        let told =
            |id: &str| answers.iter().any(|(_, answer)| answer.reserved.iter().any(|task| task.id == id));
        let of_it = seen.unacked.oldest.iter().filter(|message| message.queue.as_ref() == Some(&queue.name));
        of_it.map(|message| &message.message).filter(move |message| !message.id().is_some_and(told))
    };
    let holds = (answer.reserved.len() + untold().count()) as u64;
    let held = prefetch > 0 && holds >= prefetch.min(MOST_HELD);
    let cause = if held {
        "the tasks that it took are held back, as by a rate limit"
    } else {
        "its connection that takes messages is broken while the one for control lives"
    };
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
        cause: cause.to_owned(),
        remedy: if held {
            format!(
                "mainstay queue act rate-limit {} 0 --yes",
                answer
                    .reserved
                    .first()
                    .map(|task| task.task.as_str())
                    .or_else(|| untold().find_map(Peek::task))
                    .map_or("TASK".into(), word)
            )
        } else {
            format!("mainstay queue act shutdown {} --yes, and see that it starts again", word(&worker.name))
        },
        evidence: vec![
            Evidence::new(format!("LINDEX {name} -1"), queue.tail().and_then(Peek::id).unwrap_or_default()),
            Evidence::new("active", format!("{} of {places} places are taken", answer.active.len())),
        ],
    });
    true
}

/// All places are taken, and more comes than goes.
fn saturated(bench: &mut Bench<'_>, queue: &Queue, ages: &Ages, answers: &[(&Worker, &Answer)]) {
    let places: u64 = answers.iter().filter_map(|(_, answer)| answer.concurrency).sum();
    let active: u64 = answers.iter().map(|(_, answer)| answer.active.len() as u64).sum();
    let Some(rates) = ages.history.rates() else { return };
    let grows = rates.drain < -SURE * rates.drain_error;
    // What is there would take this long if nothing more came.
    let wait_s = rates
        .service
        .filter(|service| *service > 0.0)
        .map_or(f64::MAX, |service| queue.length() as f64 / service);
    let is_long = wait_s >= bench.limits.long_wait.as_secs_f64() && queue.length() > places;
    let is_full = !answers.is_empty() && places > 0 && active >= places;
    if !(grows && is_long && is_full) {
        return;
    }
    if !bench.stands_for(format!("saturated {}", queue.name), bench.limits.saturated) {
        return;
    }
    let name = &queue.name;
    let wait = if wait_s == f64::MAX {
        "nothing leaves it".to_owned()
    } else {
        format!("the last one waits about {:.0} s", wait_s)
    };
    let id = match name.as_str() {
        "workflow_based_app_execution" => "S22",
        "ops_trace" => "S84",
        _ => "queue-saturated",
    };
    bench.find(Finding {
        id: id.to_owned(),
        severity: if name == "ops_trace" { Severity::Warning } else { Severity::Critical },
        component: format!("queue:{name}"),
        subject: subject(queue),
        what: format!("{name} grows by {:.1} a minute: {} wait, {wait}", -rates.drain * 60.0, queue.length()),
        cause: format!("all {places} places of its workers are taken"),
        remedy: format!("more places (CELERY_WORKER_AMOUNT, or mainstay queue act grow-pool), or a worker of its own for {name}"),
        evidence: vec![
            Evidence::new(format!("LLEN {name}, over {:.0} s", rates.over_s), format!("{:+.2} a second", -rates.drain)),
            Evidence::new("active", format!("{active} of {places} places")),
        ],
    });
}

fn broken(bench: &mut Bench<'_>, queue: &Queue) {
    let bad = queue.oldest.iter().chain(&queue.newest).find_map(|peek| match peek {
        Peek::Broken { why, bytes } => {
            Some(("broken-message", format!("a message of {bytes} bytes that no worker can read: {why}")))
        }
        Peek::TooLarge { bytes } => Some(("large-message", format!("a message of {bytes} bytes"))),
        Peek::Task { .. } => None,
    });
    let Some((id, what)) = bad else { return };
    bench.find(Finding {
        id: id.to_owned(),
        severity: Severity::Warning,
        component: format!("queue:{}", queue.name),
        subject: Subject { queue: Some(queue.name.clone()), ..Subject::default() },
        what: format!("{} holds {what}", queue.name),
        cause:
            "something that is not Dify writes into this Redis database, or a payload went into a queue whole"
                .to_owned(),
        remedy: format!(
            "write the queue to a file and look: mainstay queue act purge {} --yes, then import what is good",
            word(&queue.name)
        ),
        evidence: vec![Evidence::new(format!("LRANGE {} 0 7", queue.name), what)],
    });
}

/// Messages that a worker took which is not there any more. Celery gives them back after an hour only.
fn held_by_nobody(bench: &mut Bench<'_>, seen: &Seen) {
    let answering = seen.workers.iter().filter(|worker| worker.silent_rounds == 0);
    let held: BTreeSet<&str> = answering
        .filter_map(|worker| worker.answer.as_ref())
        .flat_map(|answer| answer.active.iter().chain(&answer.reserved))
        .map(|task| task.id.as_str())
        .collect();
    let mut stuck: Vec<&UnackedMessage> = Vec::new();
    for message in &seen.unacked.oldest {
        let is_held = message.message.id().is_none_or(|id| held.contains(id));
        if message.eta.is_some() || is_held {
            continue;
        }
        let stands = bench.stands_for(format!("unacked {}", message.tag), bench.limits.unacked / 2);
        if stands && bench.now.since(message.delivered_at) >= bench.limits.unacked {
            stuck.push(message);
        }
    }
    let Some(message) = stuck.first() else { return };
    let (queue, age) = (message.queue.clone(), bench.now.since(message.delivered_at));
    let more =
        if stuck.len() == 1 { String::new() } else { format!("; the same for {} more", stuck.len() - 1) };
    bench.find(Finding {
        id: "unacked-stuck".to_owned(),
        severity: Severity::Warning,
        component: queue.as_ref().map_or_else(|| "broker".to_owned(), |queue| format!("queue:{queue}")),
        subject: Subject { queue, task: message.message.task().map(str::to_owned), ..of(&message.message) },
        what: format!("a message was given to a worker {} ago, and no worker has it{more}", worded(age)),
        cause: "the worker that took it was killed before it began; Celery gives it back after an hour"
            .to_owned(),
        remedy: format!("mainstay queue act requeue {} --yes", word(&message.tag)),
        evidence: vec![Evidence::new(
            "ZRANGE unacked_index 0 19 WITHSCORES",
            format!("{} of {} ago", message.tag, worded(age)),
        )],
    });
}

/// Workspaces' lists that nobody takes from: no task of theirs runs or waits, so none will take the next.
fn stale_lists(bench: &mut Bench<'_>, seen: &Seen) {
    if seen.tenants.is_empty() {
        return;
    }
    let answers = seen.workers.iter().filter_map(|worker| worker.answer.as_ref());
    let held = answers.flat_map(|answer| answer.active.iter().chain(&answer.reserved));
    let mut busy: BTreeSet<&str> = held.filter_map(|task| task.about.tenant.as_deref()).collect();
    let peeks = seen.queues.iter().flat_map(|queue| queue.oldest.iter().chain(&queue.newest));
    busy.extend(peeks.filter_map(|peek| match peek {
        Peek::Task { about, .. } => about.tenant.as_deref(),
        Peek::Broken { .. } | Peek::TooLarge { .. } => None,
    }));
    // The length is part of the key: one that moves begins anew.
    let key = |list: &TenantList| format!("list {} {} {}", list.kind, list.tenant, list.waiting);
    let limit = bench.limits.tenant_list;
    let mut stale: Vec<&TenantList> = Vec::new();
    for list in seen.tenants.iter().filter(|list| !busy.contains(list.tenant.as_str())) {
        if bench.stands_for(key(list), limit) {
            stale.push(list);
        }
    }
    stale.sort_by_key(|list| std::cmp::Reverse(list.waiting));
    let Some(list) = stale.first() else { return };
    let flag = match (list.flag, list.flag_ttl_s) {
        (true, Some(ttl_s)) => format!("the flag says that one runs, for {ttl_s} s more"),
        (true, None) => "the flag says that one runs".to_owned(),
        (false, _) => "the flag has run out".to_owned(),
    };
    let more = if stale.len() == 1 {
        String::new()
    } else {
        format!("; the same for {} more workspaces", stale.len() - 1)
    };
    bench.find(Finding {
        id: "S19".to_owned(),
        severity: Severity::Critical,
        component: "queue:dataset".to_owned(),
        subject: Subject {
            tenant: Some(list.tenant.clone()),
            queue: Some("dataset".to_owned()),
            ..Subject::default()
        },
        what: format!(
            "{} batches of documents of workspace {} wait and none is worked on{more}",
            list.waiting, list.tenant
        ),
        cause: format!("the worker that had the last one died, so nobody takes the next; {flag}"),
        remedy: format!("mainstay queue act redispatch {} {} --yes", word(&list.kind), word(&list.tenant)),
        evidence: vec![Evidence::new(
            format!("LLEN tenant_self_{}_task_queue:{}", list.kind, list.tenant),
            list.waiting.to_string(),
        )],
    });
}

/// A queue and what is next in it.
fn subject(queue: &Queue) -> Subject {
    let next = queue.tail().map(of).unwrap_or_default();
    Subject {
        queue: Some(queue.name.clone()),
        task: queue.tail().and_then(Peek::task).map(str::to_owned),
        ..next
    }
}

fn of(peek: &Peek) -> Subject {
    match peek {
        Peek::Task { about, .. } => Subject {
            tenant: about.tenant.clone(),
            app: about.app.clone(),
            run: about.run.clone(),
            ..Subject::default()
        },
        Peek::Broken { .. } | Peek::TooLarge { .. } => Subject::default(),
    }
}
