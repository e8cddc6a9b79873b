//! Some messages of a queue, from both ends.

use std::collections::BTreeSet;

use mainstay_wire::celery::Message;

use super::{about::about, keys, script, seen::Peek};
use crate::redis::{Error, Link};

/// A larger message is measured and left where it is.
pub const MAX_PEEK_BYTES: usize = 256 * 1024;
/// All messages of one look at one queue.
const MAX_SUM_BYTES: usize = 1024 * 1024;

/// The oldest and the newest messages of a list, up to `each` of either; none twice.
pub(super) async fn ends(
    link: &mut Link,
    queue: &str,
    step: u8,
    length: u64,
    each: usize,
) -> Result<(Vec<Peek>, Vec<Peek>), Error> {
    let each = u64::try_from(each).unwrap_or(u64::MAX);
    let old = each.min(length);
    let new = each.min(length - old);
    let mut command = script::eval(script::PEEK, &link.key(&keys::list(queue, step)));
    command.arg(MAX_PEEK_BYTES).arg(MAX_SUM_BYTES);
    // Producers push at the head, workers take from the tail.
    let old_indices = (1..=old).map(|place| -i64::try_from(place).unwrap_or(i64::MAX));
    let new_indices = (0..new).map(|place| i64::try_from(place).unwrap_or(i64::MAX));
    for index in old_indices.chain(new_indices) {
        command.arg(index);
    }
    let found: Vec<(u64, Vec<u8>)> = link.ask(&command).await?;
    let mut peeks = found.into_iter().map(|(bytes, element)| read(bytes, &element));
    let oldest: Vec<Peek> = peeks.by_ref().take(usize::try_from(old).unwrap_or(usize::MAX)).collect();
    // The queue may have moved between measuring it and looking.
    let known: BTreeSet<String> = oldest.iter().filter_map(|peek| peek.id().map(str::to_owned)).collect();
    let newest = peeks.filter(|peek| peek.id().is_none_or(|id| !known.contains(id))).collect();
    Ok((oldest, newest))
}

fn read(bytes: u64, element: &[u8]) -> Peek {
    if element.is_empty() && bytes > 0 {
        return Peek::TooLarge { bytes };
    }
    match Message::parse(element) {
        Ok(message) => of(message, bytes),
        Err(broken) => Peek::Broken { why: broken.to_string(), bytes },
    }
}

/// A message whose body cannot be read would be thrown away by the worker that takes it.
pub(super) fn of(message: Message, bytes: u64) -> Peek {
    let Message { id, task, redelivered, body, .. } = message;
    match body {
        Ok(body) => Peek::Task { id, task, about: about(&body.args, &body.kwargs), redelivered, bytes },
        Err(broken) => Peek::Broken { why: format!("task {task} {id}: {broken}"), bytes },
    }
}
