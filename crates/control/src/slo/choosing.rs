//! Chooses which detectors page, by the last 30 days of each service level, a few at a time.
//!
//! One pass reads the 30 days once and replays [`TOGETHER`] of them beside the runtime; a pass begins [`EVERY`] at most, so that a
//! thousand have had their turn after 21 hours, and what is read and kept in memory at once is bounded. Who was not chosen for yet comes
//! first.

use std::{collections::HashMap, time::Duration};

use mainstay_base::Micros;
use mainstay_signal::slo::Choice;
use mainstay_store::{Store, StoreError};
use tokio::{task::JoinSet, time::Instant};
use tracing::{debug, warn};

use super::{document::Document, engine::Engine, history};

const PAST: Duration = Duration::from_secs(30 * 86_400);
const TOGETHER: usize = 8;
const EVERY: Duration = Duration::from_secs(600);
/// One is chosen for again.
const AGAIN: Duration = Duration::from_secs(86_400);
/// A process that has just begun to act has more to do.
const AFTER_START: Duration = Duration::from_secs(60);

/// A document by its name and revision, and who is to page for it.
type Chosen = Vec<(String, i64, Choice)>;

pub(super) struct Choosing {
    passes: JoinSet<Result<Chosen, StoreError>>,
    next_at: Instant,
    chosen_at: HashMap<String, Instant>,
}

impl Choosing {
    pub(super) fn new() -> Choosing {
        Choosing { passes: JoinSet::new(), next_at: Instant::now() + AFTER_START, chosen_at: HashMap::new() }
    }

    /// Takes what the last pass found, and begins the next when it is time.
    pub(super) fn go_on(&mut self, engine: &mut Engine, store: &Store, dify: Option<&str>, now: Micros) {
        while let Some(ended) = self.passes.try_join_next() {
            match ended {
                Ok(Ok(chosen)) => adopt(engine, chosen),
                Ok(Err(error)) => debug!(%error, "who pages could not be chosen; it is tried again"),
                Err(error) => warn!(%error, "choosing who pages ended badly"),
            }
        }
        let at = Instant::now();
        if at < self.next_at || !self.passes.is_empty() {
            return;
        }
        self.next_at = at + EVERY;
        let documents: Vec<(Document, i64)> = engine
            .all()
            .iter()
            .filter(|tracked| tracked.source.is_ok())
            .map(|tracked| (tracked.held.document.clone(), tracked.held.revision))
            .collect();
        let turn = self.turn(documents, at);
        if turn.is_empty() {
            return;
        }
        let (store, dify) = (store.clone(), dify.map(str::to_owned));
        self.passes.spawn(async move { pass(&store, dify.as_deref(), turn, now).await });
    }

    /// Whose turn it is; those that are gone are forgotten.
    fn turn(&mut self, documents: Vec<(Document, i64)>, at: Instant) -> Vec<(Document, i64)> {
        let before = std::mem::take(&mut self.chosen_at);
        let mut due = Vec::new();
        for (document, revision) in documents {
            match before.get(&document.name) {
                Some(chosen) => {
                    self.chosen_at.insert(document.name.clone(), *chosen);
                    if at.duration_since(*chosen) >= AGAIN {
                        due.push((Some(*chosen), document, revision));
                    }
                }
                None => due.push((None, document, revision)),
            }
        }
        due.sort_by_key(|(chosen, _, _)| *chosen);
        due.truncate(TOGETHER);
        let turn: Vec<(Document, i64)> =
            due.into_iter().map(|(_, document, revision)| (document, revision)).collect();
        self.chosen_at.extend(turn.iter().map(|(document, _)| (document.name.clone(), at)));
        turn
    }
}

async fn pass(
    store: &Store,
    dify: Option<&str>,
    turn: Vec<(Document, i64)>,
    now: Micros,
) -> Result<Chosen, StoreError> {
    let (documents, revisions): (Vec<Document>, Vec<i64>) = turn.into_iter().unzip();
    let choices = history::choices(store, dify, &documents, now - PAST, now).await?;
    let chosen = documents.into_iter().zip(revisions).zip(choices);
    Ok(chosen.map(|((document, revision), choice)| (document.name, revision, choice)).collect())
}

/// What was changed meanwhile waits for its next turn.
fn adopt(engine: &mut Engine, chosen: Chosen) {
    for (name, revision, choice) in chosen {
        let is_it = |held: &super::admin::Held| held.document.name == name && held.revision == revision;
        if let Some(tracked) = engine.all_mut().iter_mut().find(|tracked| is_it(&tracked.held)) {
            tracked.detectors = choice.detectors;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_has_a_turn_and_nobody_twice_a_day() {
        let many = |count: usize| -> Vec<(Document, i64)> {
            let document = super::super::defaults::documents().remove(0);
            (0..count)
                .map(|number| (Document { name: format!("s{number}"), ..document.clone() }, 1))
                .collect()
        };
        let mut choosing = Choosing::new();
        let at = Instant::now();
        let names = |turn: Vec<(Document, i64)>| -> Vec<String> {
            turn.into_iter().map(|(document, _)| document.name).collect()
        };
        let first = names(choosing.turn(many(10), at));
        let second = names(choosing.turn(many(10), at + EVERY));
        assert_eq!((first.len(), second.len()), (TOGETHER, 2));
        assert!(!second.iter().any(|name| first.contains(name)), "{first:?} {second:?}");
        assert_eq!(names(choosing.turn(many(10), at + EVERY * 2)), Vec::<String>::new());
        assert_eq!(names(choosing.turn(many(10), at + AGAIN)), first, "again after a day");
        choosing.turn(many(1), at + AGAIN);
        assert_eq!(choosing.chosen_at.len(), 1, "what is gone is forgotten");
    }
}
