//! One attempt, or two beside each other.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use mainstay_base::{Class, record::AttemptRole};
use tokio::time::timeout;

use super::{Course, Failed, Flying, Started, Won};
use crate::path::execute::model::attempt;

impl Course<'_> {
    /// One attempt, and a second one beside it when the first is slow. The first to be proved wins.
    pub(super) async fn race(&mut self, started: Started) -> Result<Won, Failed> {
        let (order, said) = (self.order, self.said);
        let Started { flying: first, taken, patience } = started;
        let hedge_after = self.hedge_after(first.index);
        let mut running = pin!(attempt::run(order, first.index, taken, patience, said));
        let Some(hedge_after) = hedge_after else {
            let outcome = running.await;
            return self.ended(first, outcome);
        };
        if let Ok(outcome) = timeout(hedge_after, running.as_mut()).await {
            return self.ended(first, outcome);
        }
        let Some(Started { flying: second, taken, patience }) = self.take_hedge() else {
            let outcome = running.await;
            return self.ended(first, outcome);
        };
        let beside = Box::pin(attempt::run(order, second.index, taken, patience, said));
        let (ended, outcome, other, left) = match select(running, beside).await {
            Either::Left((outcome, left)) => (first, outcome, second, Either::Right(left)),
            Either::Right((outcome, left)) => (second, outcome, first, Either::Left(left)),
        };
        match self.ended(ended, outcome) {
            Ok(won) => {
                drop(left);
                self.lost(other);
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
        let started = self.take_next(AttemptRole::Hedge, |_| true);
        if started.is_none() {
            self.order.chain.budgets.hedge.lock().give_back();
        }
        started
    }

    /// A faster attempt won. What this one was sent is paid for.
    fn lost(&mut self, flying: Flying) {
        self.reserved = self.reserved - flying.worst;
        self.spent += flying.estimate.unwrap_or_default();
        if let Some(attempt) = self.record.end_attempt(flying.attempted, Some(Class::HedgeLost)) {
            attempt.error = Some("another attempt was faster".to_owned());
        }
    }
}
