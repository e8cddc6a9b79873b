//! How many tasks a worker works on at a time.

use super::{Planned, answering};
use crate::celery::{
    Answer, Seen,
    act::{Refused, Terms, Undo, word},
};

/// Nobody grows a pool by more at once.
const MAX_GROWTH: u32 = 256;

pub(super) fn grow(seen: &Seen, worker: &str, by: u32) -> Planned {
    let (answer, concurrency) = pool(seen, worker, by)?;
    let changes =
        format!("{worker} works on {} tasks at a time, not {concurrency}", concurrency + u64::from(by));
    let warning = format!("each may hold a database connection; it has {} now", answer.active.len());
    // By the number that its pool goes on telling, none may seem to be left.
    let force = if u64::from(by) >= concurrency { " --force" } else { "" };
    let undo = Undo::By(format!("mainstay queue act shrink-pool {} --by {by}{force} --yes", word(worker)));
    Ok((changes, undo, [vec![warning], untold(answer, concurrency)].concat()))
}

pub(super) fn shrink(seen: &Seen, worker: &str, by: u32, terms: &Terms) -> Planned {
    let (answer, concurrency) = pool(seen, worker, by)?;
    if u64::from(by) >= concurrency && !terms.force {
        let why = format!("{worker} has {concurrency} places by its own word; none would be left");
        return Err(Refused::unless_forced(why, "shrink it by less, or shut it down"));
    }
    let changes = format!(
        "{worker} works on {} tasks at a time, not {concurrency}",
        concurrency.saturating_sub(u64::from(by))
    );
    let undo = Undo::By(format!("mainstay queue act grow-pool {} --by {by} --yes", word(worker)));
    Ok((changes, undo, untold(answer, concurrency)))
}

pub(super) fn autoscale(seen: &Seen, worker: &str, min: u32, max: u32) -> Planned {
    let answer = answering(seen, worker)?;
    if min > max || max == 0 || max > MAX_GROWTH {
        return Err(Refused::because(
            format!("{min} to {max} is no range"),
            format!("give min ≤ max, and max between 1 and {MAX_GROWTH}"),
        ));
    }
    let Some((old_max, old_min)) = answer.autoscale else {
        let why = format!("{worker} was not started with --autoscale");
        return Err(Refused::because(why, "grow its pool instead, or set CELERY_AUTO_SCALE=true"));
    };
    let undo = format!("mainstay queue act autoscale {} --max {old_max} --min {old_min} --yes", word(worker));
    Ok((
        format!("{worker} keeps {min} to {max} places, not {old_min} to {old_max}"),
        Undo::By(undo),
        Vec::new(),
    ))
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
