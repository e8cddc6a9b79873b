//! When a backlog will be gone, from watching its length: arrival and service rates, and a drain forecast with an
//! interval.
//!
//! The model: while a backlog stands, every place works, so tasks leave at a rate μ that does not depend on the length,
//! and come at a rate λ. The length is then a random walk with drift −(μ − λ) = −d and variance σ² a second, and the time
//! to empty from a length L has the mean L/d and the variance σ²L/d³ (first passage of a Brownian motion with drift; Cox
//! and Miller 1965, 5.7). The drift is measured as what the length lost over the window, which is its maximum-likelihood
//! estimate, with the variance σ²/W. σ² comes from the changes between readings.
//!
//! What this assumes, honestly: that rates of the next while are those of the window. A batch that somebody uploads, a
//! worker that dies or a day that ends breaks it; the window is therefore the shortest that is precise enough, and
//! the forecast is made anew at every reading. It says so when nothing can be said.

use std::{collections::VecDeque, time::Duration};

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

/// Readings kept; when there are more, every second one is dropped.
const MAX_READINGS: usize = 480;
/// Nothing older counts.
const LONGEST_WINDOW: Duration = Duration::from_secs(2 * 3_600);
/// Nothing shorter is a window.
const SHORTEST_WINDOW: Duration = Duration::from_secs(60);
const FEWEST_READINGS: usize = 6;
/// A window whose drift is known to this relative error is long enough.
const PRECISE: f64 = 0.05;
/// A forecast whose relative error is larger gives no time.
const WORTHLESS: f64 = 0.5;
/// The interval holds the truth nine times of ten, if the model holds.
const NINE_OF_TEN: f64 = 1.645;

/// What was seen of a queue at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub at: Micros,
    pub waiting: u64,
    /// Tasks taken from the queue since any fixed time, where that is known.
    pub taken: Option<u64>,
}

/// The readings of one queue, in bounded memory.
#[derive(Clone, Debug, Default)]
pub struct History {
    readings: VecDeque<Reading>,
}

/// Rates over a window, in tasks a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub over_s: f64,
    /// How much the queue shrinks; negative when it grows. With its standard error.
    pub drain: f64,
    pub drain_error: f64,
    /// Where it is known what was taken: what came, and what went.
    pub arrivals: Option<f64>,
    pub service: Option<f64>,
    /// σ² a second of the length.
    variance: f64,
}

/// When the queue will be empty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Drain {
    Empty,
    /// Not watched for long enough.
    TooSoon,
    /// It grows, or stands; by so many tasks a second.
    Growing {
        per_s: f64,
    },
    /// It shrinks, by too little to tell when it ends; not before this.
    Uncertain {
        not_before_s: f64,
    },
    /// Within nine of ten: between `earliest_s` and `latest_s` (`None`: open).
    Within {
        expected_s: f64,
        earliest_s: f64,
        latest_s: Option<f64>,
    },
}

impl History {
    pub fn push(&mut self, reading: Reading) {
        // A clock that went back makes the past worthless.
        if self.readings.back().is_some_and(|last| reading.at <= last.at) {
            self.readings.clear();
        }
        // A backlog begins when the queue was empty last; how it came about is not how it goes on.
        if reading.waiting == 0 || self.readings.back().is_some_and(|last| last.waiting == 0) {
            self.readings.clear();
        }
        self.readings.push_back(reading);
        while self.readings.front().is_some_and(|first| reading.at.since(first.at) > LONGEST_WINDOW) {
            self.readings.pop_front();
        }
        if self.readings.len() > MAX_READINGS {
            let mut number = 0_usize;
            self.readings.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
        }
    }

    /// Over the shortest window that is precise enough, or the longest there is.
    pub fn rates(&self) -> Option<Rates> {
        let last = *self.readings.back()?;
        let mut longest = None;
        let mut window = SHORTEST_WINDOW;
        while window <= LONGEST_WINDOW * 2 {
            let from = self.readings.partition_point(|reading| last.at.since(reading.at) > window);
            if let Some(rates) = rates(self.readings.range(from..)) {
                longest = Some(rates);
                if rates.drain_error <= PRECISE * rates.drain.abs() {
                    break;
                }
            }
            window *= 2;
        }
        longest
    }

    pub fn drain(&self) -> Drain {
        let Some(last) = self.readings.back() else { return Drain::TooSoon };
        if last.waiting == 0 {
            return Drain::Empty;
        }
        self.rates().map_or(Drain::TooSoon, |rates| drain(last.waiting, &rates))
    }
}

fn rates<'a>(readings: impl ExactSizeIterator<Item = &'a Reading> + Clone) -> Option<Rates> {
    if readings.len() < FEWEST_READINGS {
        return None;
    }
    let first = readings.clone().next()?;
    let last = readings.clone().last()?;
    let over_s = last.at.since(first.at).as_secs_f64();
    if over_s < SHORTEST_WINDOW.as_secs_f64() * 0.9 {
        return None;
    }
    let drain = (first.waiting as f64 - last.waiting as f64) / over_s;
    let pairs = readings.clone().zip(readings.clone().skip(1));
    // Each change minus its mean, squared, over the time that it took.
    let (mut squares, mut count) = (0.0, 0.0);
    for (before, after) in pairs {
        let took_s = after.at.since(before.at).as_secs_f64();
        let change = before.waiting as f64 - after.waiting as f64 - drain * took_s;
        squares += change * change / took_s;
        count += 1.0;
    }
    let variance = squares / (count - 1.0_f64).max(1.0);
    let taken = first.taken.zip(last.taken).and_then(|(first, last)| last.checked_sub(first));
    let service = taken.map(|taken| taken as f64 / over_s);
    Some(Rates {
        over_s,
        drain,
        drain_error: (variance / over_s).sqrt(),
        arrivals: service.map(|service| (service - drain).max(0.0)),
        service,
        variance,
    })
}

fn drain(waiting: u64, rates: &Rates) -> Drain {
    let Rates { over_s, drain, variance, .. } = *rates;
    if drain <= 0.0 {
        return Drain::Growing { per_s: -drain };
    }
    let expected_s = waiting as f64 / drain;
    // Relative error of the time: of the walk that is still to come, and of the drift that was measured.
    let error = variance.sqrt() / drain * (1.0 / expected_s + 1.0 / over_s).sqrt();
    let earliest_s = expected_s / (1.0 + NINE_OF_TEN * error);
    if error > WORTHLESS {
        return Drain::Uncertain { not_before_s: earliest_s };
    }
    let latest_s = Some(1.0 - NINE_OF_TEN * error).filter(|left| *left > 0.1).map(|left| expected_s / left);
    Drain::Within { expected_s, earliest_s, latest_s }
}

#[cfg(test)]
mod tests;
