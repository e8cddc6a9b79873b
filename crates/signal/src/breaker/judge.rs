//! What the end of a call says of its target.

use mainstay_base::{Class, Micros};

use super::{Breaker, Counts, End};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Slow,
    Bad,
}

impl Breaker {
    pub(super) fn count(&mut self, verdict: Verdict, now: Micros) {
        let is_bad = verdict == Verdict::Bad;
        self.window.add(now, is_bad, verdict == Verdict::Slow);
        self.recent.add(is_bad, now, self.memory());
        self.in_a_row = if is_bad { self.in_a_row.saturating_add(1) } else { 0 };
    }

    pub(super) fn is_failing(&mut self, latest: Verdict, now: Micros) -> bool {
        let settings = &self.settings;
        let Counts { calls, failures, slow } = self.window.counts(now);
        let many = settings.min_calls.max(1);
        let share = |part: u32, of: u32| f64::from(part) / f64::from(of.max(1));
        match latest {
            Verdict::Good => false,
            Verdict::Slow => calls >= many && share(slow, calls) >= settings.slow_share,
            Verdict::Bad => {
                let latest_failures = self.recent.failures(many);
                (settings.consecutive > 0 && self.in_a_row >= settings.consecutive)
                    || (calls >= many && share(failures, calls) >= settings.failure_share)
                    || latest_failures.is_some_and(|failures| share(failures, many) >= settings.failure_share)
            }
        }
    }

    pub(super) fn verdict(&self, end: End) -> Option<Verdict> {
        match end {
            End::Good { first_token } if first_token > self.settings.slow_call => Some(Verdict::Slow),
            End::Good { .. } => Some(Verdict::Good),
            End::Bad(class) if class.counts_against_target() => Some(Verdict::Bad),
            End::Bad(_) | End::Unused => None,
        }
    }

    /// What an end says about silence, besides what it says about health.
    pub(super) fn listen(&mut self, end: End) {
        let End::Bad(class) = end else {
            return if end == End::Unused { self.silence.forget_one() } else { self.silence.start_over() };
        };
        match class {
            // Nothing was heard: that is what silence is.
            Class::HedgeLost
            | Class::ConnectTimeout
            | Class::FirstByteTimeout
            | Class::FirstTokenTimeout
            | Class::TotalTimeout => {}
            // Failures are judged by their number.
            class if class.counts_against_target() => self.silence.forget_one(),
            Class::CallerGone | Class::NotConvertible => self.silence.forget_one(),
            _ => self.silence.start_over(),
        }
    }
}
