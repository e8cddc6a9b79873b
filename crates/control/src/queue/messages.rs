//! Verdicts about single messages: those that no worker can read, and those that no worker has any more.

use std::collections::BTreeSet;

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::celery::{Answer, Peek, Queue, Seen, UnackedMessage, Worker, act::word};

use super::{Bench, queues::of, worded};

/// The worst of the messages that were looked at. Says whether it ends the worker that takes it.
pub(super) fn broken(bench: &mut Bench<'_>, queue: &Queue, is_consumed: bool) -> bool {
    let peeks = || queue.oldest.iter().chain(&queue.newest);
    let worst = peeks().find(|peek| peek.ends_worker());
    let worst = worst.or_else(|| peeks().find(|peek| matches!(peek, Peek::Broken { .. })));
    let Some(worst) = worst.or_else(|| peeks().find(|peek| matches!(peek, Peek::TooLarge { .. }))) else {
        return false;
    };
    let more =
        peeks().filter(|peek| std::mem::discriminant(*peek) == std::mem::discriminant(worst)).count() - 1;
    let more = if more == 0 { String::new() } else { format!("; {more} more among those looked at") };
    let unconsumed = match worst.ends_worker() && !is_consumed {
        true => "; no worker consumes it, and none should before it is out",
        false => "",
    };
    let (name, queue_word) = (&queue.name, word(&queue.name));
    let foreign = "something that is not Dify writes into this Redis database";
    let (id, severity, what, cause, remedy) = match worst {
        Peek::Broken { name: message, why, bytes, ends_worker } => {
            let (severity, does, cause) = if *ends_worker {
                let cause =
                    format!("{foreign}; a worker that takes it ends, and with it every task that it runs");
                (Severity::Critical, "ends the worker that takes it", cause)
            } else {
                let cause =
                    format!("{foreign}, or a version of Dify that does not match; a worker throws it away");
                (Severity::Warning, "no worker can read", cause)
            };
            let take_out = format!(
                "take it out, into a file: mainstay queue act purge {queue_word} --message {} --yes",
                word(message)
            );
            (
                "broken-message",
                severity,
                format!("a message of {bytes} bytes that {does}: {why}"),
                cause,
                take_out,
            )
        }
        Peek::TooLarge { bytes } => (
            "large-message",
            Severity::Warning,
            format!("a message of {bytes} bytes"),
            format!("{foreign}, or a payload went into a queue whole"),
            format!(
                "write the queue to a file and look: mainstay queue act purge {queue_word} --yes, then import what is good"
            ),
        ),
        Peek::Task { .. } => return false,
    };
    bench.find(Finding {
        id: id.to_owned(),
        severity,
        component: format!("queue:{name}"),
        subject: Subject { queue: Some(name.clone()), ..Subject::default() },
        what: format!("{name} holds {what}{more}{unconsumed}"),
        cause,
        remedy,
        evidence: vec![Evidence::new(format!("LRANGE {name} -8 -1; LRANGE {name} 0 7"), what)],
    });
    worst.ends_worker()
}

/// Messages that a worker took which is not there any more. Celery gives them back after an hour only.
pub(super) fn held_by_nobody(bench: &mut Bench<'_>, seen: &Seen) {
    let answering: Vec<(&Worker, &Answer)> = seen
        .workers
        .iter()
        .filter(|worker| worker.silent_rounds == 0)
        .filter_map(|worker| Some((worker, worker.answer.as_ref()?)))
        .collect();
    // One that listens and does not answer, or does not tell all, may have it.
    let all_told = answering.iter().all(|(_, answer)| answer.is_whole)
        && seen.listeners.is_some_and(|listeners| listeners <= answering.len() as u64);
    let held: BTreeSet<&str> =
        answering.iter().flat_map(|(_, answer)| answer.held()).map(|task| task.id.as_str()).collect();
    let held_back = |message: &UnackedMessage| {
        let Some(task) = message.message.task() else { return false };
        answering.iter().any(|(worker, _)| worker.may_hold_back(task, Some(message.delivered_at)).is_some())
    };
    let mut stuck: Vec<&UnackedMessage> = Vec::new();
    for message in &seen.unacked.oldest {
        if message.message.id().is_none_or(|id| held.contains(id)) || held_back(message) {
            continue;
        }
        let stands = bench.stands_for(format!("unacked {}", message.tag), bench.limits.unacked / 2);
        if stands && all_told && bench.now.since(message.delivered_at) >= bench.limits.unacked {
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
