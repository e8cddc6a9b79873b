//! Which queues a worker takes from.

use super::{Planned, answering, only};
use crate::celery::{
    Peek, Seen,
    act::{Refused, Terms, Undo, consumers, word},
};

pub(super) fn add_consumer(
    seen: &Seen,
    queue: &str,
    worker: Option<&str>,
    to: &str,
    terms: &Terms,
) -> Planned {
    if !seen.queues.iter().any(|known| known.name == queue) && !terms.force {
        let why = format!("there is no queue `{queue}`");
        return Err(Refused::unless_forced(why, "see mainstay queue list"));
    }
    let held = seen.queues.iter().find(|known| known.name == queue);
    let mut peeks = held.into_iter().flat_map(|queue| queue.oldest.iter().chain(&queue.newest));
    if let Some(Peek::Broken { name, .. }) = peeks.find(|peek| peek.ends_worker())
        && !terms.force
    {
        let why = format!("{queue} holds a message that ends the worker that takes it");
        let next =
            format!("take it out first: mainstay queue act purge {} --message {name} --yes", word(queue));
        return Err(Refused::unless_forced(why, next));
    }
    if let Some(worker) = worker {
        answering(seen, worker)?;
    }
    let now = consumers(seen, queue);
    let wanted = |name: &&str| worker.is_none_or(|worker| worker == *name);
    let all = now.iter().filter(|name| wanted(name)).count();
    if all > 0 && worker.is_some() {
        return Err(Refused::because(format!("{to} consumes {queue} already"), "nothing is to do"));
    }
    let mut warnings = vec!["lost when the worker restarts: add it to CELERY_QUEUES too".to_owned()];
    if queue == "trigger_refresh_publisher" {
        warnings.push("what has piled up here runs at once; purge it first".to_owned());
    }
    let target = only(worker);
    // Nobody had it before, so that nobody has it after.
    let force = if now.is_empty() { " --force" } else { "" };
    let undo = format!("mainstay queue act cancel-consumer {}{target}{force} --yes", word(queue));
    Ok((format!("{to} takes from {queue}"), Undo::By(undo), warnings))
}

pub(super) fn cancel_consumer(
    seen: &Seen,
    queue: &str,
    worker: Option<&str>,
    to: &str,
    terms: &Terms,
) -> Planned {
    let now = consumers(seen, queue);
    let left = now.iter().filter(|name| worker.is_some_and(|worker| worker != **name)).count();
    if now.is_empty() || worker.is_some_and(|worker| !now.contains(&worker)) {
        return Err(Refused::because(format!("{to} does not consume {queue}"), "see mainstay queue workers"));
    }
    if left == 0 && !terms.force {
        let why = format!("nobody else consumes {queue}: its messages would lie");
        return Err(Refused::unless_forced(why, "add another consumer first"));
    }
    let target = only(worker);
    let undo = format!("mainstay queue act add-consumer {}{target} --yes", word(queue));
    let warning = "undone when the worker restarts: its CELERY_QUEUES decides then".to_owned();
    Ok((format!("{to} takes nothing more from {queue}"), Undo::By(undo), vec![warning]))
}
