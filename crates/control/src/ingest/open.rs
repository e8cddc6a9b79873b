//! What was not at its end when it was read: looked at again by its id, until it ends or is gone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_dify::{db::Id, read::Source, signature::Class};
use mainstay_store::model::{DifyAdd, DifyItem, DifyListed, DifySeries};
use serde_json::Value;

use super::{
    Ingest, IngestError, Round,
    step::{Kind, label},
};

/// Looked at in one round, those that waited longest first.
const LOOKS: u32 = 200;
/// After so long nobody waits for its end any more.
const GIVEN_UP: Duration = Duration::from_secs(7 * 24 * 3600);
/// The same of a run that is said to be running: its worker is gone. At least three times as long as a run may take.
const RUN_GIVEN_UP: Duration = Duration::from_secs(24 * 3600);
const RUNNING: &str = "running";

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
                Some(item) if item.look_at.is_none() => kept.push(item),
                Some(item) => {
                    let patience = patience(kind, &item.status, self.options.longest_run);
                    if now.since(old.created_at) < patience {
                        kept.push(item);
                        continue;
                    }
                    let is_run = kind == "run" && item.status == RUNNING;
                    let add = is_run.then(|| self.abandoned(&item, now));
                    kept.push(closed(old, "abandoned", add));
                }
                None => kept.push(closed(old, if is_there { "abandoned" } else { "gone" }, None)),
            }
        }
        round.is_caught_up = kept.len() < LOOKS as usize;
        let counted = self.keep::<T>(kept).await?.counted;
        Ok(Round { rows: read + more, counted, ..round })
    }
}

impl Ingest {
    /// A run that never ends failed, when it was given up.
    fn abandoned(&mut self, run: &DifyItem, now: Micros) -> DifyAdd {
        let body: Value = serde_json::from_str(&run.body).unwrap_or_default();
        let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let app = run.app_id.parse().unwrap_or_default();
        let series = self.series.of(DifySeries {
            kind: "run".to_owned(),
            app_id: run.app_id.clone(),
            mode: self.apps.mode(app, &word("kind")),
            origin: label(&word("origin")),
            version: label(&word("version")),
            status: "abandoned".to_owned(),
            class: Class::Worker.as_str().to_owned(),
            ..DifySeries::default()
        });
        DifyAdd {
            series,
            at: now,
            took_us: None,
            wait_us: None,
            tokens: 0,
            input_tokens: 0,
            output_tokens: 0,
            price_nanos: 0,
        }
    }
}

/// How long after its begin the end of something is waited for.
fn patience(kind: &str, status: &str, longest_run: Duration) -> Duration {
    match (kind, status) {
        ("run", RUNNING) => RUN_GIVEN_UP.max(longest_run.saturating_mul(3)),
        // It may wait for a person.
        _ => GIVEN_UP,
    }
}

/// It is not looked at again, and counted as `add` says.
fn closed(old: DifyListed, status: &str, add: Option<DifyAdd>) -> DifyItem {
    let DifyListed { id, created_at, app_id, class, body, .. } = old;
    DifyItem {
        id,
        created_at,
        app_id,
        status: status.to_owned(),
        class,
        look_at: None,
        body,
        adds: add.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_never_ends_is_given_up_after_a_day_and_one_that_waits_for_a_person_after_a_week() {
        let (minutes, day) = (Duration::from_secs(1_200), RUN_GIVEN_UP);
        assert_eq!(patience("run", RUNNING, minutes), day);
        assert_eq!(patience("run", RUNNING, day), 3 * day);
        assert_eq!(patience("run", "paused", minutes), GIVEN_UP);
        assert_eq!(patience("message", "normal", minutes), GIVEN_UP);
    }
}
