//! Backlogs simulated task by task, and what was foretold of each.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use mainstay_base::Micros;

use super::{Drain, History, MAX_READINGS, Reading};
use crate::simulate::Chance;

/// A backlog as Dify has them: a batch was uploaded, or a worker was away, and now `places` work on it while more comes.
///
/// The traffic that the promise is for: Poisson arrivals at a steady rate of up to 60 % of what the places can do; task
/// times lognormal with a coefficient of variation between 0.3 and 1.2; watched every 5 s for 15 to 30 minutes, in which
/// some hundred tasks at least were done; a rest that takes 10 to 60 minutes more.
struct Backlog {
    places: usize,
    task_s: f64,
    variation: f64,
    load: f64,
    watched_s: f64,
    rest_s: f64,
}

impl Backlog {
    fn draw(chance: &mut Chance) -> Backlog {
        let mut between = |low: f64, high: f64| low + (high - low) * chance.draw();
        let rate = between(0.4, 4.0);
        let places = between(2.0, 17.0).floor();
        Backlog {
            places: places as usize,
            task_s: places / rate,
            variation: between(0.3, 1.2),
            load: between(0.0, 0.6),
            watched_s: between(900.0, 1_800.0),
            rest_s: between(600.0, 3_600.0),
        }
    }

    /// The readings of the watch, and how long the rest really took from the last one.
    fn play(&self, chance: &mut Chance) -> Option<(History, f64)> {
        let service = self.places as f64 / self.task_s;
        let arrivals = service * self.load;
        let begin = ((service - arrivals) * (self.watched_s + self.rest_s)) as u64;
        let (mut waiting, mut taken, mut now) = (begin, 0_u64, 0.0_f64);
        let mut busy = BinaryHeap::new();
        let nanos = |seconds: f64| (seconds * 1e9) as u64;
        for _ in 0..self.places {
            // In the midst of their tasks.
            let part = chance.draw();
            busy.push(Reverse(nanos(self.time(chance) * part)));
        }
        let mut history = History::default();
        let mut next_arrival = wait(chance, arrivals);
        let mut next_reading = 0.0;
        while waiting > 0 {
            let Reverse(end) = busy.peek().copied()?;
            let next_end = end as f64 / 1e9;
            now = next_end.min(next_arrival).min(if now < self.watched_s { next_reading } else { f64::MAX });
            if now == next_end {
                busy.pop();
                waiting -= 1;
                taken += 1;
                busy.push(Reverse(nanos(now + self.time(chance))));
            } else if now == next_arrival {
                waiting += 1;
                next_arrival = now + wait(chance, arrivals);
            } else {
                history.push(Reading { at: Micros((now * 1e6) as i64), waiting, taken: Some(taken) });
                next_reading = now + 5.0;
            }
        }
        (now > self.watched_s).then_some((history, now - self.watched_s))
    }

    /// Lognormal with the mean and the coefficient of variation.
    fn time(&self, chance: &mut Chance) -> f64 {
        let sigma2 = (1.0 + self.variation * self.variation).ln();
        let (one, two) = (chance.draw().max(1e-12), chance.draw());
        let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
        self.task_s * (sigma2.sqrt() * normal - sigma2 / 2.0).exp()
    }
}

fn wait(chance: &mut Chance, rate: f64) -> f64 {
    if rate <= 0.0 { f64::MAX } else { -chance.draw().max(1e-12).ln() / rate }
}

/// Of all backlogs: the share that was foretold within 20 %, and the share whose interval held the truth.
fn shares(foretell: impl Fn(&History) -> Drain) -> (f64, f64) {
    let mut chance = Chance::new(11);
    let (mut all, mut close, mut held) = (0.0, 0.0, 0.0);
    while all < 200.0 {
        let backlog = Backlog::draw(&mut chance);
        let Some((history, took_s)) = backlog.play(&mut chance) else { continue };
        all += 1.0;
        if let Drain::Within { expected_s, earliest_s, latest_s } = foretell(&history) {
            close += f64::from(u8::from((expected_s / took_s - 1.0).abs() <= 0.2));
            held +=
                f64::from(u8::from(earliest_s <= took_s && latest_s.is_none_or(|latest| took_s <= latest)));
        }
    }
    (close / all, held / all)
}

#[test]
fn nine_of_ten_backlogs_are_foretold_within_a_fifth() {
    let (close, held) = shares(History::drain);
    assert!(close >= 0.9, "{close} were within 20 %");
    assert!(held >= 0.85, "{held} of the intervals held the truth");
    // The broken twin forgets that more comes while it works.
    let forgets = |history: &History| {
        let (last, service) =
            (history.readings.back().unwrap().waiting, history.rates().unwrap().service.unwrap());
        let expected_s = last as f64 / service;
        Drain::Within { expected_s, earliest_s: expected_s, latest_s: Some(expected_s) }
    };
    let (close, _) = shares(forgets);
    assert!(close < 0.6, "{close} were within 20 % although arrivals were forgotten");
}

fn history(lengths: impl IntoIterator<Item = u64>) -> History {
    let mut history = History::default();
    for (number, waiting) in lengths.into_iter().enumerate() {
        let at = Micros(1_000_000) + Duration::from_secs(10) * u32::try_from(number).unwrap();
        history.push(Reading { at, waiting, taken: None });
    }
    history
}

#[test]
fn what_cannot_be_foretold_is_said() {
    assert_eq!(history([]).drain(), Drain::TooSoon);
    assert_eq!(history([5, 4, 3]).drain(), Drain::TooSoon);
    assert_eq!(history([5, 0]).drain(), Drain::Empty);
    assert_eq!(history((0..20).map(|n| 10 + n)).drain(), Drain::Growing { per_s: 0.1 });
    let Drain::Within { expected_s, earliest_s, latest_s } = history((0..50).map(|n| 1_000 - 10 * n)).drain()
    else {
        panic!("a steady one is certain")
    };
    assert_eq!((expected_s, earliest_s, latest_s), (510.0, 510.0, Some(510.0)));
    let noisy = (0..50).map(|n| 1_000 - n + if n % 2 == 0 { 300 } else { 0 });
    assert!(matches!(history(noisy).drain(), Drain::Growing { .. } | Drain::Uncertain { .. }));
}

#[test]
fn the_past_before_an_empty_queue_does_not_count_and_memory_is_bounded() {
    let rates =
        history((0..20).map(|n| n * 100).chain([0]).chain((0..20).map(|n| 400 - 10 * n))).rates().unwrap();
    assert_eq!((rates.drain, rates.over_s), (1.0, 60.0), "nothing but the last minute is needed");
    let long = history((0..5_000).map(|n| 100_000 - 10 * n));
    assert!(long.readings.len() <= MAX_READINGS);
    assert_eq!(long.rates().unwrap().drain, 1.0);
}
