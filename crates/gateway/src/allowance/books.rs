//! The arithmetic of one key's money: pure, so that a seeded simulation can run any schedule of calls, answers of the
//! keeper's and crashes.

use std::time::Duration;

use mainstay_base::{
    Micros, Usd,
    snapshot::{KeyBudget, OnStoreGone},
};

use crate::ports::Gone;

/// A slice is so many-th of the limit.
pub(crate) const SLICES: i64 = 20;
/// After the keeper had nothing left, or was not there: how long it is not asked again.
pub(crate) const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Debts of more windows than this are written down as one.
const MAX_OWED_WINDOWS: usize = 8;

/// Why a call gets no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The window's limit is spent; the next one begins then.
    Spent { until: Micros },
    /// The keeper is gone and the key is closed without it.
    Unreachable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `leased` is zero when the keeper was gone.
    Reserved {
        window: Micros,
        leased: Usd,
    },
    Refused(Refused),
    /// The keeper has been asked: look again when it has answered.
    Wait,
}

/// What is to be asked of the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) window: Micros,
    pub(crate) limit: Usd,
    /// Zero: only what is owed is written down.
    pub(crate) wanted: Usd,
    pub(crate) owed: Vec<(Micros, Usd)>,
}

/// What the shell is to do after a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ToDo {
    pub(crate) give_back: Vec<(Micros, Usd)>,
    pub(crate) fill: Option<Fill>,
    /// Call [`Books::wake`] after [`ASK_AGAIN_AFTER`]: something is owed, and perhaps no call comes any more.
    pub(crate) wake_later: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keeper {
    #[default]
    There,
    /// It granted less than was asked for.
    Empty,
    Gone,
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    window: Micros,
    /// Of the window; another one by a reload begins another window.
    length_us: i64,
    limit: Usd,
    slice: Usd,
    /// Leased and not reserved; never negative.
    free: Usd,
    /// Spent and not leased, by window.
    owed: Vec<(Micros, Usd)>,
    /// What the calls need together that wait for the keeper's answer.
    waiting: Usd,
    keeper: Keeper,
    /// Not asked before then, when it was empty or gone.
    ask_again_at: Micros,
    is_filling: bool,
    will_wake: bool,
    to_do: ToDo,
}

impl Books {
    /// Puts `worst` aside for a call.
    pub(crate) fn reserve(&mut self, now: Micros, budget: &KeyBudget, worst: Usd) -> Step {
        self.turn(now, budget);
        let worst = worst.max(Usd::ZERO);
        if worst > self.limit && self.keeper != Keeper::Gone {
            // No window covers it, so nothing is leased for it, which others would lack.
            return Step::Refused(Refused::Spent { until: window_end(now, budget) });
        }
        let is_enough = self.free >= worst;
        if is_enough {
            self.free = self.free - worst;
        }
        let missing = if is_enough { Usd::ZERO } else { worst - self.free };
        self.ask(now, missing);
        let window = self.window;
        match (is_enough, self.keeper) {
            (true, _) => Step::Reserved { window, leased: worst },
            (false, Keeper::Gone) => match budget.when_store_gone {
                OnStoreGone::Open => Step::Reserved { window, leased: Usd::ZERO },
                OnStoreGone::Closed => Step::Refused(Refused::Unreachable),
            },
            (false, _) if self.is_filling => Step::Wait,
            (false, _) => Step::Refused(Refused::Spent { until: window_end(now, budget) }),
        }
    }

    /// A call begins to wait for this much, so that one answer of the keeper's serves all who wait.
    pub(crate) fn wait_for(&mut self, worst: Usd) {
        self.waiting += worst.max(Usd::ZERO);
    }

    /// It waits no more, whatever came of it.
    pub(crate) fn wait_over(&mut self, worst: Usd) {
        self.waiting = (self.waiting - worst.max(Usd::ZERO)).max(Usd::ZERO);
        self.shed();
    }

    /// What must be leased besides so that a call covers `worst`; `None`: it is not there.
    pub(crate) fn widen(
        &mut self,
        now: Micros,
        budget: &KeyBudget,
        window: Micros,
        leased: Usd,
        worst: Usd,
    ) -> Option<Usd> {
        self.turn(now, budget);
        let more = (worst - leased).max(Usd::ZERO);
        if more == Usd::ZERO {
            return Some(more);
        }
        if self.window == window {
            if self.free >= more {
                self.free = self.free - more;
                self.ask(now, Usd::ZERO);
                return Some(more);
            }
            if worst <= self.limit {
                // Too late for this attempt, and there for the call's next one.
                self.ask(now, more - self.free);
            }
        }
        let is_open = self.keeper == Keeper::Gone && budget.when_store_gone == OnStoreGone::Open;
        is_open.then_some(Usd::ZERO)
    }

    /// A call is over: what it did not spend is free again, what it spent beyond its lease is taken from what is free,
    /// and owed where there is not enough.
    /// `limit` is the one that it was leased under: what is left of a larger one is asked for again.
    pub(crate) fn settle(&mut self, now: Micros, window: Micros, limit: Usd, leased: Usd, spent: Usd) {
        let unused = (leased - spent).max(Usd::ZERO);
        let beyond = (spent - leased).max(Usd::ZERO);
        if window != self.window || limit > self.limit {
            self.give_back(window, unused);
            self.owe(window, beyond);
        } else {
            let from_free = beyond.min(self.free);
            self.free = self.free - from_free + unused;
            self.owe(window, beyond - from_free);
            self.shed();
        }
        self.pay(now);
    }

    /// Others may need what this process has too much of.
    fn shed(&mut self) {
        let kept = self.slice.max(self.waiting);
        if self.free > kept + self.slice {
            let surplus = self.free - kept;
            self.free = kept;
            self.give_back(self.window, surplus);
        }
    }

    /// The time to wake has come.
    pub(crate) fn wake(&mut self, now: Micros) {
        self.will_wake = false;
        self.pay(now);
    }

    fn pay(&mut self, now: Micros) {
        if !self.owed.is_empty() {
            self.ask(now, Usd::ZERO);
        }
    }

    /// The keeper has answered: the first `paid` of what was owed are written down, and this much was granted.
    pub(crate) fn filled(&mut self, now: Micros, fill: Fill, paid: usize, granted: Result<Usd, Gone>) {
        self.is_filling = false;
        for (window, owed) in fill.owed.into_iter().skip(paid) {
            self.owe(window, owed);
        }
        let Ok(granted) = granted else {
            self.gone(now);
            return self.pay(now);
        };
        self.keeper = Keeper::There;
        if fill.window != self.window || fill.limit > self.limit {
            return self.give_back(fill.window, granted);
        }
        self.free += granted;
        if granted < fill.wanted {
            self.keeper = Keeper::Empty;
            self.ask_again_at = now + ASK_AGAIN_AFTER;
        }
    }

    /// The keeper did not answer in time.
    pub(crate) fn gone(&mut self, now: Micros) {
        self.keeper = Keeper::Gone;
        self.ask_again_at = now + ASK_AGAIN_AFTER;
    }

    /// The end: what is still free, to be given back.
    pub(crate) fn close(&mut self) -> Option<(Micros, Usd)> {
        let unused = std::mem::take(&mut self.free);
        (unused > Usd::ZERO).then_some((self.window, unused))
    }

    pub(crate) fn take_to_do(&mut self) -> ToDo {
        std::mem::take(&mut self.to_do)
    }

    /// Begins a new window when its time has come, and follows a budget that was changed by a reload.
    fn turn(&mut self, now: Micros, budget: &KeyBudget) {
        let limit = budget.limit.max(Usd::ZERO);
        let (window, length_us) = (window_start(now, budget), length(budget));
        // A clock that is set back a little stays in the window that it was in; one that had run far ahead is believed.
        let went_back = self.window.0.saturating_sub(window.0) > length_us;
        let has_turned = window > self.window || went_back || length_us != self.length_us;
        // What was leased under a larger limit is asked for again under the new one.
        let is_void = has_turned || limit < self.limit;
        if let Some((window, unused)) = is_void.then(|| self.close()).flatten() {
            self.give_back(window, unused);
        }
        self.limit = limit;
        self.slice = Usd((limit.0 / SLICES).max(1));
        if has_turned {
            (self.window, self.length_us) = (window, length_us);
            if self.keeper == Keeper::Empty {
                self.keeper = Keeper::There;
            }
        }
    }

    /// Asks the keeper for what is missing and a slice besides, unless it is being asked or better left alone.
    fn ask(&mut self, now: Micros, missing: Usd) {
        let missing = missing.max(self.waiting - self.free);
        let runs_low = self.free < Usd(self.slice.0 / 2) || missing > Usd::ZERO;
        // A clock that was set back must not make the pause longer.
        let is_pause_over = now >= self.ask_again_at || self.ask_again_at.since(now) > ASK_AGAIN_AFTER;
        let may_ask = self.keeper == Keeper::There || is_pause_over;
        if !may_ask && !self.owed.is_empty() && !self.will_wake {
            (self.will_wake, self.to_do.wake_later) = (true, true);
        }
        if self.is_filling || !may_ask || (!runs_low && self.owed.is_empty()) {
            return;
        }
        self.is_filling = true;
        let wanted = if runs_low { (missing + self.slice).min(self.limit.max(missing)) } else { Usd::ZERO };
        let owed = std::mem::take(&mut self.owed);
        self.to_do.fill = Some(Fill { window: self.window, limit: self.limit, wanted, owed });
    }

    fn owe(&mut self, window: Micros, amount: Usd) {
        if amount == Usd::ZERO {
            return;
        }
        let is_full = self.owed.len() >= MAX_OWED_WINDOWS;
        match self.owed.iter_mut().rev().find(|(of, _)| *of == window || is_full) {
            Some((_, owed)) => *owed += amount,
            None => self.owed.push((window, amount)),
        }
    }

    fn give_back(&mut self, window: Micros, unused: Usd) {
        if unused > Usd::ZERO {
            self.to_do.give_back.push((window, unused));
        }
    }
}

/// Windows begin at whole multiples of their length since 1970.
fn window_start(now: Micros, budget: &KeyBudget) -> Micros {
    Micros(now.0 - now.0.rem_euclid(length(budget)))
}

pub(crate) fn window_end(now: Micros, budget: &KeyBudget) -> Micros {
    Micros(window_start(now, budget).0.saturating_add(length(budget)))
}

fn length(budget: &KeyBudget) -> i64 {
    i64::try_from(budget.window.as_micros()).unwrap_or(i64::MAX).max(1)
}
