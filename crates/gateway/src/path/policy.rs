//! Stage 3 and 5, two gates of one module: `admit` decides before anything is sent, `check` vets what came back.
//!
//! A [`Permit`] has private fields and is made only here, so nothing is dispatched that was not admitted. It settles
//! once: by [`Permit::settle`] from a complete answer, or when dropped, from what was noted so far.

use std::{borrow::Cow, sync::Arc};

use mainstay_base::{Record, Usd};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    bootstrap::{Caller, Context},
    execute::Answer,
    failure::Failure,
    normalize::{Ask, Asked, Call},
    telemetry::Told,
};

mod keys;
mod ledger;
mod paths;

pub(crate) use keys::may_ask;
pub(crate) use ledger::{Held, Ledger};

/// The right to have one call answered.
pub(crate) struct Permit {
    ledger: Arc<Ledger>,
    _slot: OwnedSemaphorePermit,
    /// What a virtual key with limits gave for the call.
    share: Option<keys::Share>,
    is_settled: bool,
}

/// Stage 3: may this call be made now?
pub(crate) async fn admit(context: &Context, call: &Call) -> Result<Permit, Failure> {
    paths::check_method(call.method())?;
    paths::check_path(call.path())?;
    let ledger = context.gateway.ledger();
    let slot = ledger.slot()?;
    let share = match (call, &context.caller) {
        (Call::Model(call), Caller::Model(key)) => match &call.ask {
            Ask::Model(asked) => share(context, key, asked).await?,
            Ask::List | Ask::Describe { .. } => None,
        },
        _ => None,
    };
    ledger.count_admitted();
    Ok(Permit { ledger: ledger.clone(), _slot: slot, share, is_settled: false })
}

async fn share(
    context: &Context,
    key: &mainstay_base::snapshot::ModelKey,
    asked: &Asked,
) -> Result<Option<keys::Share>, Failure> {
    keys::check_model(&context.snapshot.model, key, &asked.name)?;
    context.gateway.ledger().keys.share(&context.snapshot, key, asked).await
}

/// An answer that was vetted, with the permit it will settle at its end.
pub(crate) struct Checked {
    pub(crate) answer: Answer,
    pub(crate) permit: Permit,
}

/// Stage 5: may this answer go out? Today every answer may; the permit travels on to the answer's last byte, where
/// it settles from real usage.
pub(crate) fn check(_context: &Context, permit: Permit, answer: Answer) -> Result<Checked, Failure> {
    Ok(Checked { answer, permit })
}

impl Permit {
    /// Adds what an attempt cost, or takes an estimate of it back. A permit that is dropped unsettled charges what was noted.
    pub(crate) fn note(&self, spent: Usd) {
        if let Some(reservation) = self.reservation() {
            reservation.note(spent);
        }
    }

    /// Whether the key's budget covers `worst` for the whole call, over all its attempts; reserves more if it must, and
    /// waits for nobody. Always true without a budget.
    pub(crate) fn covers(&self, worst: Usd) -> bool {
        self.reservation().is_none_or(|reservation| reservation.covers(worst))
    }

    /// When the key's budget is whole again; `None` without a budget.
    pub(crate) fn budget_turns_in(&self) -> Option<std::time::Duration> {
        Some(self.reservation()?.turns_in())
    }

    /// The answer is complete and all that it used is known: what the whole call cost (`None`: what was noted), and
    /// the tokens of all its attempts.
    pub(crate) fn settle(mut self, spent: Option<Usd>, tokens: u64) {
        self.is_settled = true;
        if let Some(share) = self.share.take() {
            share.settle(spent, tokens);
        }
    }

    fn reservation(&self) -> Option<&crate::allowance::Reservation> {
        self.share.as_ref()?.reservation()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.ledger.count_settled(!self.is_settled);
    }
}

impl Told for Permit {
    fn told(&self, _record: &mut Record) -> Cow<'static, str> {
        Cow::Borrowed(match &self.share {
            None => "the path is served and a slot was free",
            Some(share) if share.reservation().is_none() => {
                "a slot was free and the key is within its limits"
            }
            Some(_) => "a slot was free, the key is within its limits and what the call may cost is reserved",
        })
    }
}

impl Told for Checked {
    fn told(&self, _record: &mut Record) -> Cow<'static, str> {
        Cow::Borrowed(match self.answer.is_event_stream() {
            true => "the answer streams; the permit settles with its last event",
            false => "the answer is whole; the permit settles with its last byte",
        })
    }
}
