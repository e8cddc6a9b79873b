//! When every target is out of places, keys or grants: what is worth waiting for, and what is said if nothing is.

use std::time::Duration;

use mainstay_base::{Class, record::AttemptRole};
use tokio::time::{Instant, sleep, timeout};

use super::{Barred, Course, MAX_ROOM_WAIT, Started};
use crate::{
    path::{
        failure::{Failure, FromProvider, Reason},
        policy::Permit,
    },
    targets::Turned,
};

/// How long to wait before a full target is looked at again, should nobody tell.
const BUSY_LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What the caller is told whose ceiling nobody can hold.
const UNPRICED: &str = "Mainstay-Max-Cost needs a target with a price, and none of them has one";

/// Another call of the key may give back what it does not need by then.
const BUDGET_LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a call may wait for.
enum Room {
    Insist,
    After(Duration),
    Freed { index: usize, at_most: Duration },
}

impl Course<'_> {
    /// The first attempt. When every target is out of places, keys or grants, it waits a while for the first to be back.
    pub(super) async fn first(&mut self) -> Result<Started, Failure> {
        let all: Vec<usize> = self.queue.iter().copied().collect();
        let wait_until = Instant::now() + MAX_ROOM_WAIT.min(self.order.bounds.answer_left());
        loop {
            self.turned.clear();
            if let Some(started) = self.take_next(AttemptRole::First, |_| true) {
                return Ok(started);
            }
            let left = wait_until.saturating_duration_since(Instant::now());
            match self.room(left) {
                Some(Room::Insist) => self.insists = true,
                Some(Room::After(wait)) => sleep(wait).await,
                Some(Room::Freed { index, at_most }) => {
                    let freed = self.order.chain.places[index].target.freed.notified();
                    // Whether it was told or not, all are looked at again.
                    let _ = timeout(at_most, freed).await;
                }
                None => return Err(self.no_room()),
            }
            self.queue = all.iter().copied().collect();
        }
    }

    /// What is worth waiting for, if it comes within `left`.
    fn room(&self, left: Duration) -> Option<Room> {
        let now = self.order.gateway.targets().ticks.now();
        let mut soonest: Option<Duration> = None;
        let mut busy = None;
        for (index, barred) in &self.turned {
            match barred {
                Barred::Turned(Turned::BreakerOpen { .. }) if !self.insists => return Some(Room::Insist),
                Barred::Turned(Turned::Busy) => busy = busy.or(Some(*index)),
                Barred::Turned(turned) => {
                    let wait = turned.wait(now).filter(|wait| *wait < left);
                    soonest =
                        wait.map_or(soonest, |wait| Some(soonest.map_or(wait, |known| known.min(wait))));
                }
                Barred::TooDear | Barred::Unpriced | Barred::Spent | Barred::NoMore => {}
            }
        }
        match (busy, soonest) {
            (Some(index), soonest) if !left.is_zero() => {
                let at_most = soonest.unwrap_or(BUSY_LOOK_AGAIN).min(BUSY_LOOK_AGAIN).min(left);
                Some(Room::Freed { index, at_most })
            }
            (_, soonest) => soonest.map(Room::After),
        }
    }

    fn budget_turns_in(&self) -> Duration {
        self.permit.and_then(Permit::budget_turns_in).unwrap_or(BUDGET_LOOK_AGAIN)
    }

    /// Every target is out of something.
    fn no_room(&self) -> Failure {
        let now = self.order.gateway.targets().ticks.now();
        let why: Vec<String> = self
            .turned
            .iter()
            .map(|(index, barred)| format!("{}: {}", self.order.target(*index).provider.name, barred.words()))
            .collect();
        let internal =
            format!("no target of {} takes the call now: {}", self.order.chain.model.name, why.join("; "));
        let turned = || {
            self.turned.iter().filter_map(|(_, barred)| match barred {
                Barred::Turned(turned) => Some(*turned),
                Barred::TooDear | Barred::Unpriced | Barred::Spent | Barred::NoMore => None,
            })
        };
        let Some(first_back) = turned().min_by_key(|turned| turned.wait(now).unwrap_or(Duration::MAX)) else {
            let is_any = |what: fn(&Barred) -> bool| self.turned.iter().any(|(_, barred)| what(barred));
            let reason = match () {
                () if is_any(|barred| matches!(barred, Barred::Spent)) => {
                    Reason::BudgetSpent { retry_after: self.budget_turns_in() }
                }
                () if is_any(|barred| matches!(barred, Barred::TooDear)) => Reason::CostCeiling,
                () if is_any(|barred| matches!(barred, Barred::Unpriced)) => {
                    Reason::NoTargetFits { why: UNPRICED.to_owned() }
                }
                () => Reason::DeadlineOver,
            };
            return Failure::new(reason, internal);
        };
        let class = match first_back {
            Turned::Limited { .. } => Class::RateLimited,
            Turned::KeysRest { why, .. } => why,
            Turned::Busy | Turned::BreakerOpen { .. } | Turned::KeysTried => Class::Overloaded,
        };
        let failed = FromProvider::wordless(class, first_back.wait(now));
        Failure::new(Reason::Provider(Box::new(failed)), internal)
    }
}

impl Barred {
    fn words(self) -> &'static str {
        match self {
            Barred::Turned(Turned::Busy) => "all its places are taken",
            Barred::Turned(Turned::BreakerOpen { .. }) => "its breaker is open",
            Barred::Turned(Turned::Limited { .. }) => "its grant for this minute is used up",
            Barred::Turned(Turned::KeysRest { .. }) => "all its keys rest",
            Barred::Turned(Turned::KeysTried) => "all its keys were tried",
            Barred::TooDear => "the cost ceiling does not cover it",
            Barred::Unpriced => "it has no price, and the caller set a ceiling",
            Barred::Spent => "the budget of the key does not cover it",
            Barred::NoMore => "the call's attempts or time are used up",
        }
    }
}
