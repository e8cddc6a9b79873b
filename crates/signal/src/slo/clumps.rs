//! How failures come together in health: learned, so that what one cause does is not taken for what many do.
//!
//! Fano's factor: the variance of the number of failures in a window of time, over its mean. It is 1 where failures are independent, about
//! n where each cause fails n runs, and about 2 where who fails tries again once within the window. Dividing what is seen by one's own
//! dispersion is what a quasi-Poisson model does (McCullagh and Nelder 1989, 6.2).
//!
//! A window takes one and a half times as long as an outage has to last. One in which there was an outage is left out: an outage is no
//! clump, and the next one must not be found later for it.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::Slot;

/// How many windows with failures are remembered, about.
const REMEMBERED: f32 = 32.0;
/// In lengths of an outage.
const WINDOW: f32 = 1.5;
/// Failures that came alone, before any was seen.
const ALONE: f32 = 4.0;
/// Below this it is chance.
const CHANCE: f64 = 1.15;
/// For each failure more that comes with another, so many times more are needed in a row.
const EACH: f64 = 0.6;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Clumps {
    /// The open window: its first run, its length, and what came in it.
    at: Micros,
    for_s: f32,
    bad: f32,
    is_empty: bool,
    /// Of closed ones, fading: how many, their failures, and the sum of the squares of these.
    windows: f32,
    failures: f32,
    squares: f32,
}

impl Clumps {
    /// A success came: the window may end, and the next begins with it. `span`: how long an outage has to last, if that is known.
    pub(super) fn pass(&mut self, at: Micros, span: Option<Duration>) {
        let Some(span) = span else { return };
        if at.since(self.at).as_secs_f32() < self.for_s {
            return;
        }
        if !self.is_empty {
            let keep = if self.bad > 0.0 { 1.0 - 1.0 / REMEMBERED } else { 1.0 };
            self.windows = self.windows * keep + 1.0;
            self.failures = self.failures * keep + self.bad;
            self.squares = self.squares * keep + self.bad * self.bad;
        }
        (self.at, self.for_s) = (at, span.as_secs_f32() * WINDOW);
        (self.bad, self.is_empty) = (0.0, true);
    }

    pub(super) fn add(&mut self, slot: &Slot) {
        self.bad += slot.bad as f32;
        self.is_empty = false;
    }

    /// There was an outage in the open window.
    pub(super) fn drop_window(&mut self) {
        (self.bad, self.is_empty, self.for_s) = (0.0, true, 0.0);
    }

    /// How many times as many failures are needed in a row: 1 where they come alone.
    pub(super) fn more(&self) -> f64 {
        let mean = self.failures / self.windows.max(1.0);
        let fano = f64::from((self.squares + ALONE) / (self.failures + ALONE) - mean);
        1.0 + EACH * (fano - CHANCE).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(40);
    const WINDOWS: i64 = 600;

    /// How many times as many failures are needed after windows in which failures came so.
    fn after(failures: impl Fn(i64) -> u32) -> f64 {
        let mut clumps = Clumps::default();
        for window in 0..WINDOWS {
            let at = Micros(window * 60_000_000);
            clumps.pass(at, Some(SPAN));
            clumps.add(&Slot { at, good: 10, bad: failures(window) });
        }
        clumps.more()
    }

    #[test]
    fn what_comes_together_counts_for_less_and_what_comes_alone_does_not() {
        let lone = after(|window| u32::from(window % 4 == 0));
        let (pairs, clumps) = (after(|window| 2 * u32::from(window % 8 == 0)), |of: u32| {
            after(move |window| of * u32::from(window % (4 * i64::from(of)) == 0))
        });
        assert_eq!((lone, after(|_| 0)), (1.0, 1.0));
        assert!(
            lone < pairs && pairs < clumps(5) && clumps(5) < clumps(20),
            "{pairs} {} {}",
            clumps(5),
            clumps(20)
        );
    }

    #[test]
    fn an_outage_is_no_clump() {
        let mut clumps = Clumps::default();
        for window in 0..WINDOWS {
            let at = Micros(window * 60_000_000);
            clumps.pass(at, Some(SPAN));
            let is_outage = window % 100 == 50;
            clumps.add(&Slot { at, good: 10, bad: if is_outage { 500 } else { u32::from(window % 4 == 0) } });
            if is_outage {
                clumps.drop_window();
            }
        }
        assert_eq!(clumps.more(), 1.0);
    }
}
