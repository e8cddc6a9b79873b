//! One queue over time: how old its messages are, how fast it moves.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_dify::celery::{Peek, Queue, Seen};
use mainstay_signal::forecast::{History, Reading};

/// Ids of messages kept with the time when they were new; when there are more, every second one is dropped.
const MAX_MARKS: usize = 256;
/// Names of tasks that were seen in it.
const MAX_TASKS: usize = 100;

#[derive(Clone, Debug, Default)]
pub(super) struct Ages {
    /// Messages and when they were first seen, in that order; and whether they may be older.
    marks: VecDeque<(String, Micros, bool)>,
    /// The message that is taken next, and since when it is.
    tail: Option<(Option<String>, Micros)>,
    /// When the tail was seen first anywhere in the queue, and whether it was there before that.
    oldest: Option<(Micros, bool)>,
    pub(super) history: History,
    /// Tasks that go to this queue, and how many of each are done; by worker, as each counts for itself.
    done: BTreeMap<(String, String), u64>,
    tasks: Vec<String>,
    taken: u64,
    was_empty: bool,
}

impl Ages {
    pub(super) fn take(&mut self, queue: &Queue, seen: &Seen) {
        let (now, waiting) = (seen.at, queue.length());
        self.count(queue, seen);
        self.history.push(Reading { at: now, waiting, taken: Some(self.taken) });
        if waiting == 0 {
            self.marks.clear();
            (self.tail, self.oldest) = (None, None);
            self.was_empty = true;
            return;
        }
        // Before anything was seen of it, everything in it may be old.
        let is_first = self.tail.is_none() && !self.was_empty;
        self.was_empty = false;
        self.mark(queue, now, is_first);
        // Not looked at this time: nothing is known to have stood still.
        let Some(tail) = queue.tail() else {
            self.tail = None;
            return;
        };
        let id = tail.id().map(str::to_owned);
        let is_same = self.tail.as_ref().is_some_and(|(before, _)| *before == id && id.is_some());
        if !is_same {
            let known = id.as_ref().and_then(|id| self.marks.iter().find(|(mark, ..)| mark == id));
            self.oldest = Some(known.map_or((now, true), |(_, since, at_least)| (*since, *at_least)));
            self.tail = Some((id, now));
        }
    }

    /// One that is first seen among the oldest of a long queue came at some time before; one that is first seen at the
    /// head, or in a queue that is seen whole, came since the last look.
    fn mark(&mut self, queue: &Queue, now: Micros, is_first: bool) {
        let is_whole = queue.length() <= (queue.oldest.len() + queue.newest.len()) as u64;
        let old = queue.oldest.iter().map(|peek| (peek, is_first || !is_whole));
        let new = queue.newest.iter().rev().map(|peek| (peek, is_first));
        for (peek, at_least) in old.chain(new) {
            let Some(id) = peek.id() else { continue };
            if !self.marks.iter().any(|(mark, ..)| mark == id) {
                self.marks.push_back((id.to_owned(), now, at_least));
            }
        }
        if self.marks.len() > MAX_MARKS {
            let mut number = 0_usize;
            self.marks.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
        }
    }

    /// Counts what workers did of this queue's tasks since the last look.
    fn count(&mut self, queue: &Queue, seen: &Seen) {
        for task in queue.oldest.iter().chain(&queue.newest).filter_map(Peek::task) {
            if self.tasks.len() < MAX_TASKS && !self.tasks.iter().any(|known| known == task) {
                self.tasks.push(task.to_owned());
            }
        }
        for worker in &seen.workers {
            for (task, count) in worker.answer.iter().flat_map(|answer| &answer.done) {
                if !self.tasks.contains(task) {
                    continue;
                }
                let before = self.done.insert((worker.name.clone(), task.clone()), *count);
                // Lower than before: the worker began anew.
                let more = before.map_or(0, |before| if *count >= before { count - before } else { *count });
                self.taken += more;
            }
        }
        self.done.retain(|(name, _), _| seen.workers.iter().any(|worker| worker.name == *name));
    }

    /// Since when the same message is next; `None`: nothing waits, or it cannot be told.
    pub(super) fn tail_since(&self) -> Option<Micros> {
        self.tail.as_ref().filter(|(id, _)| id.is_some()).map(|(_, since)| *since)
    }

    /// How long the oldest message waits, and whether it may be longer.
    pub(super) fn oldest(&self, now: Micros) -> Option<(Duration, bool)> {
        self.oldest.map(|(since, at_least)| (now.since(since), at_least))
    }
}
