//! What an attempt's end means: for the record, for the money, for the caller.

use std::time::Duration;

use mainstay_base::{Class, Usd};
use mainstay_signal::keys;
use mainstay_wire::llm::Usage;

use super::{Course, Failed, Flying, Won};
use crate::path::{
    execute::model::{
        attempt::{self, Answered, Missed, Outcome},
        order::Order,
    },
    failure::{Failure, FromProvider, Reason},
    normalize::model::tokens,
    price,
};

impl Course<'_> {
    /// Books the end of an attempt. A proved stream is still under way: its end is booked by who delivers it.
    pub(super) fn ended(&mut self, flying: Flying, outcome: Outcome) -> Result<Won, Failed> {
        let Flying { index, attempted, worst, estimate } = flying;
        let Outcome { status, first_byte, result } = outcome;
        let began_at = self.record.attempted(attempted).map_or(0, |attempt| attempt.started_us);
        if let Some(attempt) = self.record.attempted(attempted) {
            attempt.status = status;
            attempt.first_byte_us = first_byte.map(micros);
        }
        self.reserved = self.reserved - worst;
        match result {
            Ok(answered) => {
                match &answered {
                    Answered::Stream(streamed) => {
                        // Who delivers it notes all of its cost.
                        self.note(Usd::ZERO - estimate.unwrap_or_default());
                        let first_token_at = streamed.proved.first_token_at;
                        let since = first_token_at
                            .map(|at| self.record.at_us(at.into_std()).saturating_sub(began_at));
                        if let Some(attempt) = self.record.attempted(attempted) {
                            attempt.first_token_us = since;
                        }
                    }
                    Answered::Whole(whole) => {
                        let usage = whole.usage.unwrap_or_else(|| estimated(self.order, whole.quarters));
                        self.book(flying, Some(&usage), None);
                    }
                }
                self.spent += estimate.unwrap_or_default();
                Ok(Won { index, attempted, answered })
            }
            Err(mut missed) => {
                missed.hide_keys(&self.order.target(index).provider);
                let estimate = || attempt::estimated(&self.order.asked);
                let told = missed.usage.as_deref().copied();
                let usage = told.or_else(|| missed.may_be_billed(status).then(estimate));
                self.book(flying, usage.as_ref(), Some(missed.class));
                if let Some(attempt) = self.record.attempted(attempted) {
                    attempt.error = Some(missed.internal.clone());
                    attempt.is_callers_haste = missed.is_callers_haste;
                }
                Err(Failed { index, status, missed })
            }
        }
    }

    pub(super) fn book(&mut self, flying: Flying, usage: Option<&Usage>, class: Option<Class>) {
        let known = self.order.target(flying.index).price.as_ref();
        let cost = known.map(|price| usage.map_or(Usd::ZERO, |usage| price::cost(price, usage)));
        self.note(cost.unwrap_or_default() - flying.estimate.unwrap_or_default());
        if class.is_some() {
            self.spent += cost.unwrap_or_default();
        }
        if let Some(attempt) = self.record.end_attempt(flying.attempted, class) {
            attempt.cost = cost;
            attempt.input_tokens = usage.map(|usage| usage.input);
            attempt.output_tokens = usage.map(|usage| usage.output);
            attempt.is_cost_estimated = cost.is_some() && usage.is_some_and(|usage| usage.is_estimated);
        }
    }

    pub(super) fn note(&self, more: Usd) {
        if let Some(permit) = self.permit.filter(|_| more != Usd::ZERO) {
            permit.note(more);
        }
    }

    /// The call's failure is that of its last attempt, in words that the caller may read.
    pub(super) fn failure(&self, failed: Failed) -> Failure {
        let Failed { index, status, missed } = failed;
        let Missed { class, told, internal, usage: _, is_callers_haste: _ } = missed;
        let provider = &self.order.target(index).provider;
        let internal = format!("{}: {internal}", provider.name);
        if class == Class::TotalTimeout && self.order.bounds.is_over() {
            return Failure::new(Reason::DeadlineOver, internal);
        }
        // Nobody configured this name: the caller chose it.
        let name = &self.order.asked.name;
        if class == Class::ModelMissing && !self.order.snapshot.model.models.contains_key(name) {
            return Failure::new(Reason::ModelUnknown { model: name.clone() }, internal);
        }
        if let (Class::NotConvertible, Some(told)) = (class, &told) {
            let why = &told.message;
            let message = format!("No provider of this model takes this call as it is: {why}.");
            let failed = FromProvider::not_convertible(why, message);
            return Failure::new(Reason::Provider(Box::new(failed)), internal);
        }
        let mut failed = FromProvider { status, ..FromProvider::wordless(class, None) };
        if let Some(told) = told {
            // A limited key is back then, and the next call goes out, whatever the provider named.
            let back = keys::rest(class, told.retry_after).filter(|_| class == Class::RateLimited);
            (failed.message, failed.retry_after) = (Some(told.message), back.or(told.retry_after));
            let is_same = self.order.passes(self.order.target(index), self.said.is_some());
            if let Some(blamed) = told.blamed.filter(|_| is_same) {
                (failed.param, failed.code) = (blamed.param, blamed.code);
            }
        }
        Failure::new(Reason::Provider(Box::new(failed)), internal)
    }
}

/// The usage of an answer whose provider told none.
pub(super) fn estimated(order: &Order, quarters: u64) -> Usage {
    Usage { output: tokens::of_quarters(quarters), ..attempt::estimated(&order.asked) }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
