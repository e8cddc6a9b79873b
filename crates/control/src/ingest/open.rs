//! What was not at its end when it was read: looked at again by its id, until it ends or is gone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_dify::{db::Id, read::Source};
use mainstay_store::model::{DifyItem, DifyListed};

use super::{Ingest, IngestError, Round, step::Kind};

/// Looked at in one round, those that waited longest first.
const LOOKS: u32 = 200;
/// After so long nobody waits for its end any more.
const GIVEN_UP: Duration = Duration::from_secs(7 * 24 * 3600);

impl Ingest {
    pub(super) async fn open<T: Kind>(
        &mut self,
        source: Source<'_>,
        now: Micros,
    ) -> Result<Round, IngestError> {
        let mut round = Round { is_caught_up: true, ..Round::default() };
        let kind = T::track(self).kind;
        let due = self.store.dify().due(&self.options.source, kind, now, LOOKS).await?;
        if due.is_empty() {
            return Ok(round);
        }
        let ids: Vec<Id> = due.iter().filter_map(|item| item.id.parse().ok()).collect();
        let rows = source.by_ids::<T>(&ids).await?;
        let there: HashSet<Id> = rows.iter().map(T::id).collect();
        let read = rows.len() as u64;
        let (items, more) = T::items(rows, self, source, now).await?;
        let mut items: HashMap<String, DifyItem> =
            items.into_iter().map(|item| (item.id.clone(), item)).collect();
        let mut kept = Vec::with_capacity(due.len());
        for old in due {
            let is_there = old.id.parse().is_ok_and(|id| there.contains(&id));
            match items.remove(&old.id) {
                Some(item) if item.look_at.is_none() || now.since(old.created_at) < GIVEN_UP => {
                    kept.push(item)
                }
                _ => kept.push(closed(old, if is_there { "abandoned" } else { "gone" })),
            }
        }
        round.is_caught_up = kept.len() < LOOKS as usize;
        let counted = self.keep::<T>(kept).await?.counted;
        Ok(Round { rows: read + more, counted, ..round })
    }
}

/// It is neither looked at again nor counted.
fn closed(old: DifyListed, status: &str) -> DifyItem {
    let DifyListed { id, created_at, app_id, class, body, .. } = old;
    DifyItem {
        id,
        created_at,
        app_id,
        status: status.to_owned(),
        class,
        look_at: None,
        body,
        adds: Vec::new(),
    }
}
