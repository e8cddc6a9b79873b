//! Verdicts about queues: without a consumer, saturated, stale lists of workspaces; what is not taken and what messages
//! are like is in modules of their own.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::celery::{Answer, Peek, Queue, Seen, TenantList, Worker, act::word};

use super::{Bench, ages::Ages, messages, taking::takes_nothing, worded, workers::consumes};

/// A queue that Dify fills by default and nobody reads in releases 1.10 to 1.13.
const REFRESH: &str = "trigger_refresh_publisher";
/// From here on it is a storm when somebody reads it.
const STORM: u64 = 500;
/// A growth is one when it is so many times its standard error.
const SURE: f64 = 4.0;

pub(super) fn judge(bench: &mut Bench<'_>, seen: &Seen, ages: &BTreeMap<String, Ages>) {
    for queue in seen.queues.iter().filter(|queue| queue.length() > 0) {
        let Some(ages) = ages.get(&queue.name) else { continue };
        let consumers: Vec<&Worker> =
            seen.workers.iter().filter(|worker| consumes(worker, &queue.name)).collect();
        let ends_workers = messages::broken(bench, queue, !consumers.is_empty());
        if consumers.is_empty() {
            // Whoever consumes it would end: that message is to be out first.
            if !ends_workers {
                no_consumer(bench, seen, queue, ages);
            }
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
    messages::held_by_nobody(bench, seen);
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

/// Workspaces' lists that nobody takes from: no task of theirs runs or waits, so none will take the next.
fn stale_lists(bench: &mut Bench<'_>, seen: &Seen) {
    if seen.tenants.is_empty() {
        return;
    }
    let answers = seen.workers.iter().filter_map(|worker| worker.answer.as_ref());
    let held = answers.flat_map(Answer::held);
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
pub(super) fn subject(queue: &Queue) -> Subject {
    let next = queue.tail().map(of).unwrap_or_default();
    Subject {
        queue: Some(queue.name.clone()),
        task: queue.tail().and_then(Peek::task).map(str::to_owned),
        ..next
    }
}

pub(super) fn of(peek: &Peek) -> Subject {
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
