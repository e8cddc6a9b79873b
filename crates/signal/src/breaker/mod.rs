//! A circuit breaker: leaves a target alone while it fails, and finds out when it is back.
//!
//! Opens when one of these holds:
//! * `consecutive` failures in a row;
//! * `failure_share` of the latest `min_calls` calls failed (forgotten after a pause of [`RECENT_WINDOWS`] windows), or of
//!   all calls of the window. The latest calls are looked at besides the window, because a second of trouble after ten
//!   busy seconds of health would hide in the window's share;
//! * `slow_share` of the window's calls were slow;
//! * silence: more than [`SILENT_CALLS`] calls were let through since anything was heard, for longer than twice the
//!   recent longest time to the first token. A stalled target fails its calls only at their time-out; this sees it
//!   before. Judged only where the shell calls [`Breaker::heard`].
//!
//! Open for `open_for`, doubled with each failed probe and each relapse up to `max_open`; then half-open: one call may try
//! it, and after a success `probes` at once. A probe without an end after `max_open` gives its place to another. As many
//! successes as `probes` close it; after a relapse (it opened again within [`RECENT_WINDOWS`] windows of
//! closing) twice, then four times as many, so that a target that fails every other call does not flap.
//!
//! After Nygard, *Release It!* (states), Resilience4j (failure and slow-call share), Envoy (consecutive failures).
//! Allocates nothing; about 300 bytes.

use std::time::Duration;

use mainstay_base::{Class, Micros, snapshot::Breaker as Settings, standing::BreakerState};

use judge::Verdict;
use probes::Probes;
use silence::Silence;
use window::{Recent, Window};

mod judge;
mod probes;
mod silence;
#[cfg(test)]
mod tests;
mod window;

pub use silence::SILENT_CALLS;
pub use window::Counts;

/// How many windows a breaker remembers: for the latest calls, and for a relapse.
pub const RECENT_WINDOWS: u32 = 6;
/// Successes that close a breaker are doubled at most so often.
const MAX_RELAPSES: u32 = 2;
const MAX_DOUBLINGS: u32 = 16;

/// One target's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    since: Micros,
    /// Grows with each change of state: what was let through in an earlier one says nothing about this one.
    epoch: u32,
    window: Window,
    recent: Recent,
    in_a_row: u32,
    silence: Silence,
    doublings: u32,
    relapses: u32,
    closed_before: bool,
    opens: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Micros, was_silent: bool },
    HalfOpen { probes: Probes, good: u32 },
}

/// Whether a call may go to the target. Goes back to [`Breaker::settle`], once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Pass { epoch: u32 },
    Probe { epoch: u32, started: Micros },
    Refused { until: Micros },
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Good {
        first_token: Duration,
    },
    /// Classes that say nothing about the target count as [`End::Unused`].
    Bad(Class),
    /// Never sent, cancelled, or given up by the caller: says nothing.
    Unused,
}

impl Breaker {
    pub fn new(settings: Settings) -> Breaker {
        Breaker {
            settings,
            state: State::Closed,
            since: Micros::default(),
            epoch: 0,
            window: Window::new(settings.window),
            recent: Recent::default(),
            in_a_row: 0,
            silence: Silence::default(),
            doublings: 0,
            relapses: 0,
            closed_before: false,
            opens: 0,
        }
    }

    /// Asks for one call. What is admitted must be settled.
    pub fn ask(&mut self, now: Micros) -> Admission {
        match &mut self.state {
            State::Closed => {
                if self.silence.ask(now) {
                    return Admission::Refused { until: self.open(now, true) };
                }
                Admission::Pass { epoch: self.epoch }
            }
            State::Open { until, .. } if now < *until => Admission::Refused { until: *until },
            State::Open { .. } => {
                self.enter(State::HalfOpen { probes: Probes::default(), good: 0 }, now);
                self.ask_probe(now)
            }
            State::HalfOpen { .. } => self.ask_probe(now),
        }
    }

    fn ask_probe(&mut self, now: Micros) -> Admission {
        let (at_once, patience) = (self.probes_at_once(), self.probe_patience());
        let State::HalfOpen { probes, .. } = &mut self.state else {
            return Admission::Refused { until: now };
        };
        match probes.start(now, at_once, patience) {
            Ok(started) => Admission::Probe { epoch: self.epoch, started },
            Err(until) => Admission::Refused { until },
        }
    }

    /// Asks for a last resort: nobody else is left. A free probe if there is one; else it passes beside the breaker,
    /// and only its success is heard.
    pub fn insist(&mut self, now: Micros) -> Admission {
        match self.ask(now) {
            Admission::Refused { .. } => Admission::Pass { epoch: self.epoch },
            admitted => admitted,
        }
    }

    /// The target gave a first token for an admitted call that is still under way.
    pub fn heard(&mut self, first_token: Duration) {
        self.silence.heard(first_token);
        if let State::Open { until, was_silent: true } = &mut self.state {
            *until = (*until).min(self.since);
        }
    }

    /// Books the end of what [`Breaker::ask`] or [`Breaker::insist`] admitted.
    pub fn settle(&mut self, admission: Admission, end: End, now: Micros) {
        let verdict = self.verdict(end);
        match admission {
            Admission::Refused { .. } => {}
            Admission::Pass { epoch } => {
                self.listen(end);
                if let Some(verdict) = verdict {
                    self.settle_passed(epoch, verdict, now);
                }
            }
            Admission::Probe { epoch, started } => {
                if epoch == self.epoch {
                    self.settle_probe(started, verdict, now);
                }
            }
        }
    }

    /// A call that was settled already failed after all, as a stream that is cut after its first token. It says nothing
    /// about silence any more.
    pub fn settle_again(&mut self, admission: Admission, class: Class, now: Micros) {
        let Some(verdict) = self.verdict(End::Bad(class)) else { return };
        match admission {
            Admission::Pass { epoch } => self.settle_passed(epoch, verdict, now),
            Admission::Probe { epoch, .. } if epoch == self.epoch => {
                self.count(verdict, now);
                self.reopen(now);
            }
            Admission::Probe { .. } | Admission::Refused { .. } => {}
        }
    }

    fn settle_passed(&mut self, epoch: u32, verdict: Verdict, now: Micros) {
        match &mut self.state {
            State::Closed if epoch == self.epoch => {
                self.count(verdict, now);
                if self.is_failing(verdict, now) {
                    self.open(now, false);
                }
            }
            // A call that insisted came back well: no reason to wait with the probe.
            State::Open { until, .. } if epoch == self.epoch && verdict == Verdict::Good => *until = now,
            _ => {}
        }
    }

    fn settle_probe(&mut self, started: Micros, verdict: Option<Verdict>, now: Micros) {
        if let Some(verdict) = verdict {
            self.count(verdict, now);
        }
        let needed = self.settings.probes.max(1) << self.relapses;
        let State::HalfOpen { probes, good } = &mut self.state else { return };
        let was_waited_for = probes.end(started);
        match verdict {
            Some(Verdict::Good) => {
                *good += 1;
                if *good >= needed {
                    self.close(now);
                }
            }
            // What was given up as hanging began long ago, perhaps before the target came back.
            Some(Verdict::Bad | Verdict::Slow) if was_waited_for => self.reopen(now),
            _ => {}
        }
    }

    /// A probe failed.
    fn reopen(&mut self, now: Micros) {
        self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        let until = now + self.open_for();
        self.enter(State::Open { until, was_silent: false }, now);
    }

    fn open(&mut self, now: Micros, was_silent: bool) -> Micros {
        let is_relapse = self.closed_before && now.since(self.since) < self.memory();
        if is_relapse {
            self.relapses = (self.relapses + 1).min(MAX_RELAPSES);
            self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        } else {
            (self.relapses, self.doublings) = (0, 0);
        }
        self.opens += 1;
        let until = now + self.open_for();
        self.enter(State::Open { until, was_silent }, now);
        until
    }

    fn close(&mut self, now: Micros) {
        self.closed_before = true;
        self.window.clear();
        self.recent = Recent::default();
        self.in_a_row = 0;
        self.enter(State::Closed, now);
    }

    fn enter(&mut self, state: State, now: Micros) {
        self.state = state;
        self.since = now;
        self.epoch = self.epoch.wrapping_add(1);
        self.silence.start_over();
    }

    /// How long the past counts.
    fn memory(&self) -> Duration {
        self.settings.window.saturating_mul(RECENT_WINDOWS)
    }

    fn open_for(&self) -> Duration {
        let doubled = self.settings.open_for.saturating_mul(1 << self.doublings);
        doubled.min(self.settings.max_open.max(self.settings.open_for))
    }

    /// One goes ahead alone; more follow when a target has shown itself well.
    fn probes_at_once(&self) -> u32 {
        match self.state {
            State::HalfOpen { good, .. } if good > 0 => self.settings.probes,
            _ => 1,
        }
    }

    /// After so long a probe without an end gives its place to another.
    fn probe_patience(&self) -> Duration {
        self.settings.max_open.max(self.settings.open_for)
    }

    /// Takes new settings and keeps what is known.
    pub fn reconfigure(&mut self, settings: Settings) {
        if settings.window != self.settings.window {
            self.window = Window::new(settings.window);
        }
        self.settings = settings;
    }

    /// When the next call would be let through; `None`: now.
    pub fn refused_until(&self, now: Micros) -> Option<Micros> {
        match &self.state {
            State::Closed => None,
            State::Open { until, .. } => (now < *until).then_some(*until),
            State::HalfOpen { probes, .. } => {
                probes.full_until(now, self.probes_at_once(), self.probe_patience())
            }
        }
    }

    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Since when it is in this state.
    pub fn since(&self) -> Micros {
        self.since
    }

    /// The calls of the window.
    pub fn counts(&self, now: Micros) -> Counts {
        self.window.counts(now)
    }

    /// How often it went from closed to open.
    pub fn opens(&self) -> u64 {
        self.opens
    }
}
