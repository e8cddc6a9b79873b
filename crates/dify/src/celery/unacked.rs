//! Messages that workers took and have not acknowledged.

use std::collections::BTreeMap;

use mainstay_base::Micros;
use mainstay_wire::celery;

use super::{
    keys, peek,
    peek::MAX_PEEK_BYTES,
    script,
    seen::{Peek, Unacked, UnackedMessage},
};
use crate::redis::{Error, Link, cmd};

/// So many of the oldest are looked at.
const MAX_LOOKED_AT: isize = 20;
const MAX_SUM_BYTES: usize = 1024 * 1024;

pub(super) async fn look(link: &mut Link) -> Result<Unacked, Error> {
    let index = link.key(keys::UNACKED_INDEX);
    let count: u64 = link.ask(cmd("ZCARD").arg(&index)).await?;
    if count == 0 {
        return Ok(Unacked::default());
    }
    let mut range = cmd("ZRANGE");
    range.arg(&index).arg(0).arg(MAX_LOOKED_AT - 1).arg("WITHSCORES");
    let tags: Vec<(String, f64)> = link.ask(&range).await?;
    let mut command = script::eval(script::PEEK_FIELDS, &link.key(keys::UNACKED));
    command.arg(MAX_PEEK_BYTES).arg(MAX_SUM_BYTES);
    for (tag, _) in &tags {
        command.arg(tag);
    }
    let found: Vec<(String, u64, Vec<u8>)> = link.ask(&command).await?;
    let mut found: BTreeMap<String, (u64, Vec<u8>)> =
        found.into_iter().map(|(tag, bytes, value)| (tag, (bytes, value))).collect();
    // One whose field is gone was acknowledged in between.
    let oldest = tags.into_iter().filter_map(|(tag, score)| {
        let (bytes, value) = found.remove(&tag)?;
        Some(read(tag, micros(score), bytes, &value))
    });
    Ok(Unacked { count, oldest: oldest.collect() })
}

fn read(tag: String, delivered_at: Micros, bytes: u64, value: &[u8]) -> UnackedMessage {
    if value.is_empty() && bytes > 0 {
        let message = Peek::TooLarge { bytes };
        return UnackedMessage { tag, delivered_at, queue: None, eta: None, message };
    }
    let parsed = celery::unacked(value);
    let known = parsed.as_ref().ok().map(|message| (message.routing_key.clone(), message.eta.clone()));
    let (queue, eta) = known.map_or((None, None), |(queue, eta)| (Some(queue), eta));
    UnackedMessage { tag, delivered_at, queue, eta, message: peek::of(parsed, value, bytes) }
}

/// Unix seconds as Python writes them.
pub(super) fn micros(seconds: f64) -> Micros {
    Micros((seconds * 1e6) as i64)
}
