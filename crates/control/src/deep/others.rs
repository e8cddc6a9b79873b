//! Of several processes one looks, and the others show what it saw: a lease says which, and the store carries what is told.

use std::{future::Future, time::Duration};

use mainstay_base::Micros;
use mainstay_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tracing::info;

use super::turn::Told;
use crate::{
    doctor::SchemaFacts,
    lease::{Lease, Terms},
};

const TERMS: Terms = Terms { lasts: Duration::from_secs(6), renew_every: Duration::from_secs(2) };
/// Under which what was seen is kept.
const NAME: &str = "looks";
/// What is older says nothing of now.
const KEPT: Duration = Duration::from_secs(3_600);
/// What was seen is told no more often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Between two questions for what another has told, and for the lease.
const HEAR_EVERY: Duration = Duration::from_secs(1);
/// A store that takes longer is away. Looks wait for it so long.
const ANSWER: Duration = Duration::from_secs(2);
/// Who has heard nothing of the store for so long looks for itself: a look too many is better than none.
const BLIND: Duration = Duration::from_secs(10);

/// This process among those that may look at one Dify.
pub(super) struct Others {
    store: Store,
    /// What the deployment is called.
    source: String,
    me: String,
    lease: Lease,
    looks: bool,
    began_at: Instant,
    reached_at: Option<Instant>,
    asked_at: Option<Instant>,
    told_at: Option<Instant>,
    /// When what was heard last was told.
    heard: Option<Micros>,
}

/// What one process tells all others.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) by: String,
    pub(super) turns: Vec<Told>,
    pub(super) schema: Option<SchemaFacts>,
}

/// What changed about who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Looks,
    /// From now on; what others told is to be taken first.
    Begins,
    /// Another looks now.
    Ends,
    Hears,
    /// Another looks, and it is too soon to ask what it saw.
    Waits,
}

impl Others {
    pub(super) fn new(store: Store, source: &str, me: &str) -> Others {
        Others {
            lease: Lease::new(store.clone(), format!("dify-looks:{source}"), me.to_owned(), TERMS),
            store,
            source: source.to_owned(),
            me: me.to_owned(),
            looks: false,
            began_at: Instant::now(),
            reached_at: None,
            asked_at: None,
            told_at: None,
            heard: None,
        }
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Whether this process looks now.
    pub(super) async fn part(&mut self) -> Part {
        let is_due = self.looks || self.asked_at.is_none_or(|at| at.elapsed() >= HEAR_EVERY);
        if !is_due {
            return Part::Waits;
        }
        self.asked_at = Some(Instant::now());
        let looks = match in_time(self.lease.hold()).await {
            Some(is_mine) => {
                self.reached_at = Some(Instant::now());
                is_mine
            }
            // Who looked goes on: nobody can be told to take it over.
            None => self.looks || self.reached_at.unwrap_or(self.began_at).elapsed() >= BLIND,
        };
        let part = match (self.looks, looks) {
            (true, true) => Part::Looks,
            (false, true) => Part::Begins,
            (true, false) => Part::Ends,
            (false, false) => Part::Hears,
        };
        if part == Part::Begins {
            info!(dify = %self.source, "this process looks at Dify from now on");
        }
        self.looks = looks;
        part
    }

    /// What was told since the last time; `None`: nothing new.
    pub(super) async fn hear(&mut self) -> Option<Seen> {
        let states = in_time(self.store.dify().states(&self.source, NAME, KEPT)).await?;
        let state = states.into_iter().find(|state| state.name == NAME)?;
        if self.heard == Some(state.at) {
            return None;
        }
        self.heard = Some(state.at);
        // Of another version, in words that this one does not know: what is looked at anew is known soon.
        serde_json::from_str(&state.body).ok()
    }

    /// Whether enough time has gone by since others were told.
    pub(super) fn may_tell(&self) -> bool {
        self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY)
    }

    /// Whether it was kept.
    pub(super) async fn tell(&mut self, seen: &Seen) -> bool {
        self.told_at = Some(Instant::now());
        let Ok(body) = serde_json::to_string(seen) else { return false };
        in_time(self.store.dify().put_state(&self.source, NAME, body)).await.is_some()
    }

    pub(super) async fn leave(&mut self) {
        let _ = timeout(ANSWER, self.lease.release()).await;
    }
}

/// `None`: the store is away. It has a component of its own, which says so.
async fn in_time<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    timeout(ANSWER, asked).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use mainstay_base::Clock;
    use mainstay_store::Options;

    use super::*;

    fn options(folder: &tempfile::TempDir) -> Options {
        Options { url: format!("sqlite:{}", folder.path().join("store.db").display()), clock: Clock::System }
    }

    async fn store(folder: &tempfile::TempDir) -> Store {
        Store::migrate(&options(folder)).await.unwrap();
        Store::open(options(folder)).await.unwrap()
    }

    fn seen(by: &str) -> Seen {
        Seen { by: by.to_owned(), turns: Vec::new(), schema: None }
    }

    #[tokio::test]
    async fn one_of_two_looks_and_the_other_goes_on_at_once_when_it_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let [mut one, mut two] = ["one", "two"].map(|me| Others::new(store.clone(), "dify", me));
        assert_eq!((one.part().await, two.part().await), (Part::Begins, Part::Hears));
        assert_eq!((one.part().await, two.part().await), (Part::Looks, Part::Waits));
        assert!(two.hear().await.is_none(), "nothing was told yet");
        assert!(one.may_tell() && one.tell(&seen("one")).await && !one.may_tell());
        assert_eq!(two.hear().await.map(|seen| seen.by), Some("one".to_owned()));
        assert!(two.hear().await.is_none(), "it was heard");
        one.leave().await;
        two.asked_at = None;
        assert_eq!(two.part().await, Part::Begins);
        one.asked_at = None;
        assert_eq!(one.part().await, Part::Ends);
    }

    #[tokio::test]
    async fn each_dify_is_looked_at_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let mut one = Others::new(store.clone(), "dify", "one");
        let mut two = Others::new(store, "staging", "two");
        assert_eq!((one.part().await, two.part().await), (Part::Begins, Part::Begins));
        assert!(one.tell(&seen("one")).await);
        assert!(two.hear().await.is_none());
    }

    #[tokio::test]
    async fn who_hears_nothing_of_the_store_looks_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        drop(store(&folder).await);
        // Attached and not verified: every call fails.
        let mut one = Others::new(Store::attach(options(&folder)).unwrap(), "dify", "one");
        assert_eq!(one.part().await, Part::Hears);
        assert!(one.hear().await.is_none());
        one.began_at -= BLIND;
        one.asked_at = None;
        assert_eq!(one.part().await, Part::Begins);
        assert_eq!(one.part().await, Part::Looks, "and goes on");
        assert!(!one.tell(&seen("one")).await);
    }
}
