//! Whether a target that is asked has fallen silent: seen before the calls that wait for it time out.

use std::time::Duration;

use mainstay_base::Micros;

/// So many calls without a sign of life are never called silence.
pub const SILENT_CALLS: u32 = 12;
/// Shorter is never called silence.
const AT_LEAST: Duration = Duration::from_secs(1);
/// Silence is so many times the recent longest time to the first token.
const PATIENCE: u32 = 2;
/// With each first token the longest one recently seen fades by this part of it.
const FADE: u32 = 64;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// The recent longest time to the first token; `None`: nothing was ever heard, and nothing can be judged.
    longest: Option<Duration>,
    /// Calls let through since something was heard, and the first of them.
    unheard: u32,
    waiting_from: Micros,
}

impl Silence {
    /// Counts a call that wants to pass; `true`: the target is silent.
    pub(super) fn ask(&mut self, now: Micros) -> bool {
        if self.unheard == 0 {
            self.waiting_from = now;
        }
        self.unheard = self.unheard.saturating_add(1);
        let waits = now.since(self.waiting_from);
        let Some(longest) = self.longest else { return false };
        self.unheard > SILENT_CALLS && waits >= longest.saturating_mul(PATIENCE).max(AT_LEAST)
    }

    pub(super) fn heard(&mut self, first_token: Duration) {
        let faded = self.longest.map_or(Duration::ZERO, |longest| longest - longest / FADE);
        self.longest = Some(faded.max(first_token));
        self.unheard = 0;
    }

    /// A call went away unheard, which says nothing.
    pub(super) fn forget_one(&mut self) {
        self.unheard = self.unheard.saturating_sub(1);
    }

    pub(super) fn start_over(&mut self) {
        self.unheard = 0;
    }
}
