//! Some messages of a queue, from both ends.

use std::collections::BTreeSet;

use mainstay_wire::celery::{Broken, Message, fingerprint};

use super::{about::about, keys, script, seen::Peek};
use crate::redis::{Error, Link};

/// Messages fetched at once when one is looked for; together no more than so many times [`MAX_PEEK_BYTES`].
const FETCHED: i64 = 40;
/// From either end of a list, so many are looked through.
pub(super) const LOOKED_THROUGH: i64 = 1_000;

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

/// The message of this name, the one nearest to being taken; `None` when it is not among [`LOOKED_THROUGH`] at either end.
pub(super) async fn named(link: &mut Link, list: &str, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let places = (0..LOOKED_THROUGH).map(|place| -place - 1).chain(0..LOOKED_THROUGH);
    let places: Vec<i64> = places.collect();
    for some in places.chunks(FETCHED as usize) {
        let mut command = script::eval(script::PEEK, list);
        command.arg(MAX_PEEK_BYTES).arg(MAX_PEEK_BYTES as i64 * FETCHED);
        for place in some {
            command.arg(*place);
        }
        let found: Vec<(u64, Vec<u8>)> = link.ask(&command).await?;
        if found.is_empty() {
            break;
        }
        let is_it = |element: &Vec<u8>| !element.is_empty() && fingerprint(element) == name;
        if let Some((_, element)) = found.into_iter().find(|(_, element)| is_it(element)) {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

pub(super) fn read(bytes: u64, element: &[u8]) -> Peek {
    if element.is_empty() && bytes > 0 {
        return Peek::TooLarge { bytes };
    }
    of(Message::parse(element), element, bytes)
}

/// `element` is what was parsed, of so many bytes.
pub(super) fn of(parsed: Result<Message, Broken>, element: &[u8], bytes: u64) -> Peek {
    let (whose, broken) = match parsed {
        Err(broken) => (String::new(), broken),
        Ok(Message { id, task, redelivered, body, .. }) => match body {
            Ok(body) => {
                return Peek::Task { id, task, about: about(&body.args, &body.kwargs), redelivered, bytes };
            }
            Err(broken) => (format!("task {task} {id}: "), broken),
        },
    };
    Peek::Broken {
        name: fingerprint(element),
        why: format!("{whose}{broken}"),
        bytes,
        ends_worker: broken.ends_worker(),
    }
}
