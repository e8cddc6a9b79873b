//! One attempt, or two beside each other.

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use futures_util::future::{Either, select};
use mainstay_base::{Class, record::AttemptRole};
use tokio::time::timeout;

use super::{Course, Failed, Flying, Started, Won, books};
use crate::path::execute::model::attempt;

impl Course<'_> {
    /// One attempt, and a second one beside it when the first is slow. The first to be proved wins.
    pub(super) async fn race(&mut self, started: Started) -> Result<Won, Failed> {
        let (order, said) = (self.order, self.said);
        let Started { flying: first, mut taken, patience } = started;
        let hedge_after = self.hedge_after(first.index);
        let watched = hedge_after.map(|_| taken.flight.watch());
        let mut running = pin!(attempt::run(order, first.index, taken, patience, said));
        let (Some(hedge_after), Some(watched)) = (hedge_after, watched) else {
            let outcome = running.await;
            return self.ended(first, outcome);
        };
        if let Ok(outcome) = timeout(hedge_after, running.as_mut()).await {
            return self.ended(first, outcome);
        }
        let Some(Started { flying: second, mut taken, patience }) = self.take_hedge() else {
            let outcome = running.await;
            return self.ended(first, outcome);
        };
        let beside_watched = taken.flight.watch();
        let beside = Box::pin(attempt::run(order, second.index, taken, patience, said));
        let (ended, outcome, other, left, watched) = match select(running, beside).await {
            Either::Left((outcome, left)) => (first, outcome, second, Either::Right(left), beside_watched),
            Either::Right((outcome, left)) => (second, outcome, first, Either::Left(left), watched),
        };
        match self.ended(ended, outcome) {
            Ok(won) => {
                watched.has_lost.store(true, Ordering::Relaxed);
                drop(left);
                self.lost(other, watched.bytes.load(Ordering::Relaxed));
                Ok(won)
            }
            // One is still under way: the call is not lost.
            Err(_) => {
                let outcome = match left {
                    Either::Left(first) => first.await,
                    Either::Right(second) => second.await,
                };
                self.ended(other, outcome)
            }
        }
    }

    /// When a second attempt starts beside the first. `None`: never, or nothing is known of the target's times.
    fn hedge_after(&self, index: usize) -> Option<Duration> {
        let hedge = self.order.policy().hedge.as_ref()?;
        if self.queue.is_empty() || self.said.is_some() || !self.order.chain.budgets.hedge.lock().can_spend()
        {
            return None;
        }
        let target = &self.order.chain.places[index].target;
        let quantile = target.quantile(hedge.after_quantile, self.order.asked.streams)?;
        Some(quantile.max(hedge.at_least))
    }

    fn take_hedge(&mut self) -> Option<Started> {
        if !self.order.chain.budgets.hedge.lock().spend() {
            return None;
        }
        let (order, queue) = (self.order, self.queue.clone());
        // Maintenance is no time for extra calls.
        let started = self.take_next(AttemptRole::Hedge, |index| !order.chain.places[index].is_drained);
        if started.is_none() {
            // Who takes no hedge now may take the call when the first has failed.
            self.queue = queue;
            self.order.chain.budgets.hedge.lock().give_back();
        }
        started
    }

    /// A faster attempt won. What this one was sent is paid for, and what came of its answer.
    fn lost(&mut self, flying: Flying, bytes: u64) {
        self.reserved = self.reserved - flying.worst;
        let text = if self.order.asked.endpoint.writes_text() { bytes } else { 0 };
        let usage = books::estimated(self.order, text);
        self.book(flying, Some(&usage), Some(Class::HedgeLost));
        if let Some(attempt) = self.record.attempted(flying.attempted) {
            attempt.error = Some("another attempt was faster".to_owned());
        }
    }
}
