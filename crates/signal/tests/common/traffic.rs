//! Traffic from a seed: runs and failures in ticks of a second, in shapes that are seen around LLM workflows.

use std::{cmp::Reverse, collections::BinaryHeap, f64::consts::TAU};

use mainstay_signal::simulate::Chance;

/// Grain of what is drawn.
pub(crate) const TICK_S: u64 = 1;
const HOUR_S: f64 = 3_600.0;
const DAY_S: f64 = 86_400.0;

/// How many runs come, at `per_hour` in the mean of busy times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    Steady,
    /// A sine over the day, down to a fiftieth.
    Diurnal,
    /// As diurnal, a fifth at weekends.
    Weekly,
    /// Nobody works from 20:00 to 08:00: half a run an hour.
    Office,
    /// Ten times as much for two minutes, every half hour in the mean.
    Bursty,
    /// A tenth during the day, and an hour's worth ×20 within 20 minutes from midnight on.
    Midnight,
    /// Another rate, from a quarter to four times, every six hours in the mean.
    Steps,
}

/// How runs fail. In the mean over the whole time it is the share that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failing {
    Independent,
    /// A cause fails so many runs, so many seconds apart.
    Clumps(u32, f64),
    /// From one to twenty runs a cause.
    AnyClumps,
    /// One clump of half the failures of the day at 03:00, one a second; the others are independent.
    Nightly,
    /// The share is drawn anew every hour, with a coefficient of variation of 0.7 (gamma, shape 2).
    Wandering,
    /// As that, of 1.0 (shape 1).
    WanderingWide,
    /// From a tenth of the share to 1.9 times.
    Drift,
    /// What failed is tried again after so many seconds in the mean and fails again, up to five times.
    Retries(f64),
    /// Everything fails for fifteen seconds.
    Blips,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) per_hour: f64,
    pub(crate) pace: Pace,
    pub(crate) failing: Failing,
    /// Of the runs, as many are told late: after the detectors that eat in order have gone on.
    pub(crate) late: f64,
}

const fn shape(name: &'static str, per_hour: f64, pace: Pace, failing: Failing) -> Shape {
    Shape { name, per_hour, pace, failing, late: 0.0 }
}

/// All that the promise is held against.
pub(crate) const SHAPES: [Shape; 30] = [
    shape("steady 1/h", 1.0, Pace::Steady, Failing::Independent),
    shape("steady 10/h", 10.0, Pace::Steady, Failing::Independent),
    shape("steady 60/h", 60.0, Pace::Steady, Failing::Independent),
    shape("steady 300/h", 300.0, Pace::Steady, Failing::Independent),
    shape("steady 600/h", 600.0, Pace::Steady, Failing::Independent),
    shape("steady 2,000/h", 2_000.0, Pace::Steady, Failing::Independent),
    shape("steady 10,000/h", 10_000.0, Pace::Steady, Failing::Independent),
    shape("diurnal 300/h", 300.0, Pace::Diurnal, Failing::Independent),
    shape("weekly 1,000/h", 1_000.0, Pace::Weekly, Failing::Independent),
    shape("office 200/h, idle nights", 200.0, Pace::Office, Failing::Independent),
    shape("bursty 60/h", 60.0, Pace::Bursty, Failing::Independent),
    shape("batch at midnight 100/h", 100.0, Pace::Midnight, Failing::Independent),
    shape("steps 300/h", 300.0, Pace::Steps, Failing::Independent),
    shape("clumps of 3, 60/h", 60.0, Pace::Steady, Failing::Clumps(3, 1.2)),
    shape("clumps of 5, 60/h", 60.0, Pace::Steady, Failing::Clumps(5, 1.2)),
    shape("clumps of 5, 600/h", 600.0, Pace::Steady, Failing::Clumps(5, 1.2)),
    shape("clumps of 4 over 30 s, 300/h", 300.0, Pace::Steady, Failing::Clumps(4, 8.0)),
    shape("clumps of 20, 300/h", 300.0, Pace::Steady, Failing::Clumps(20, 1.2)),
    shape("clumps of 1 to 20, weekly 500/h", 500.0, Pace::Weekly, Failing::AnyClumps),
    shape("clumps of 5, office 60/h", 60.0, Pace::Office, Failing::Clumps(5, 1.2)),
    shape("a clump every night, 60/h", 60.0, Pace::Steady, Failing::Nightly),
    shape("a clump every night, office 300/h", 300.0, Pace::Office, Failing::Nightly),
    shape("wandering share 60/h", 60.0, Pace::Steady, Failing::Wandering),
    shape("wandering share 600/h", 600.0, Pace::Steady, Failing::Wandering),
    shape("wandering wide, 2,000/h", 2_000.0, Pace::Diurnal, Failing::WanderingWide),
    shape("drift 300/h", 300.0, Pace::Diurnal, Failing::Drift),
    shape("retries after 10 s, 60/h", 60.0, Pace::Steady, Failing::Retries(10.0)),
    shape("retries after 40 s, diurnal 300/h", 300.0, Pace::Diurnal, Failing::Retries(40.0)),
    shape("blips of 15 s, 600/h", 600.0, Pace::Steady, Failing::Blips),
    Shape {
        late: 0.2,
        ..shape("late fifth, clumps of 3, 300/h", 300.0, Pace::Steady, Failing::Clumps(3, 1.2))
    },
];

/// Runs of a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) good: u32,
    pub(crate) bad: u32,
    /// Of these, what is told late.
    pub(crate) late_good: u32,
    pub(crate) late_bad: u32,
}

/// Draws the ticks of a shape, one after the other, from midnight on.
pub(crate) struct Traffic {
    shape: Shape,
    share: f64,
    days: f64,
    chance: Chance,
    tick: u64,
    /// Seconds at which runs fail that were decided on before.
    planned: BinaryHeap<Reverse<u64>>,
    /// Until when it is busier, or the rate or share that is drawn is valid.
    until_s: f64,
    factor: f64,
    share_until_s: f64,
    share_factor: f64,
    blip_until_s: f64,
}

impl Traffic {
    /// `share` of the runs fail, over `days`.
    pub(crate) fn new(shape: Shape, share: f64, days: f64, seed: u64) -> Traffic {
        Traffic {
            shape,
            share,
            days,
            chance: Chance::new(seed),
            tick: 0,
            planned: BinaryHeap::new(),
            until_s: 0.0,
            factor: 1.0,
            share_until_s: 0.0,
            share_factor: 1.0,
            blip_until_s: 0.0,
        }
    }

    pub(crate) fn next_tick(&mut self) -> Tick {
        let at_s = (self.tick * TICK_S) as f64;
        self.tick += 1;
        let runs = self.rate(at_s) * TICK_S as f64 / HOUR_S;
        let mut tick = self.fail(at_s, runs);
        while self.planned.peek().is_some_and(|Reverse(due)| *due < self.tick * TICK_S) {
            self.planned.pop();
            tick.bad += 1;
        }
        if self.shape.late > 0.0 {
            tick.late_good = binomial(&mut self.chance, tick.good, self.shape.late);
            tick.late_bad = binomial(&mut self.chance, tick.bad, self.shape.late);
        }
        tick
    }

    fn rate(&mut self, at_s: f64) -> f64 {
        let per_hour = self.shape.per_hour;
        let hour = (at_s % DAY_S) / HOUR_S;
        let wave = || (0.51 - 0.49 * (TAU * hour / 24.0).cos()) * 2.0;
        match self.shape.pace {
            Pace::Steady => per_hour,
            Pace::Diurnal => per_hour * wave(),
            Pace::Weekly if (at_s / DAY_S) as u64 % 7 >= 5 => per_hour * wave() / 5.0,
            Pace::Weekly => per_hour * wave(),
            Pace::Office if (8.0..20.0).contains(&hour) => per_hour,
            Pace::Office => 0.5,
            Pace::Midnight if hour < 1.0 / 3.0 => per_hour * 20.0,
            Pace::Midnight => per_hour / 10.0,
            Pace::Bursty => {
                if at_s >= self.until_s {
                    let busy = self.factor < 5.0;
                    self.factor = if busy { 10.0 } else { 1.0 };
                    let lasts_s = if busy { 120.0 } else { 1_800.0 };
                    self.until_s = at_s + exponential(&mut self.chance) * lasts_s;
                }
                per_hour * self.factor
            }
            Pace::Steps => {
                if at_s >= self.until_s {
                    self.factor = 4.0_f64.powf(self.chance.draw() * 2.0 - 1.0);
                    self.until_s = at_s + exponential(&mut self.chance) * 6.0 * HOUR_S;
                }
                per_hour * self.factor
            }
        }
    }

    /// `runs`: how many come in this tick, in the mean.
    fn fail(&mut self, at_s: f64, runs: f64) -> Tick {
        let share = self.share;
        match self.shape.failing {
            Failing::Independent => self.draw(runs, share),
            Failing::Clumps(of, apart_s) => {
                self.plan_clumps(at_s, runs * share / f64::from(of), |_| (of, apart_s));
                self.draw(runs * (1.0 - share), 0.0)
            }
            Failing::AnyClumps => {
                self.plan_clumps(at_s, runs * share / 10.5, |chance| {
                    (1 + (chance.draw() * 20.0) as u32, 1.2)
                });
                self.draw(runs * (1.0 - share), 0.0)
            }
            Failing::Nightly => {
                if at_s % DAY_S == 3.0 * HOUR_S {
                    let a_day =
                        if self.shape.pace == Pace::Office { 0.5 } else { 1.0 } * 24.0 * self.shape.per_hour;
                    let of = poisson(&mut self.chance, a_day * share / 2.0);
                    (0..of).for_each(|number| self.planned.push(Reverse(at_s as u64 + u64::from(number))));
                }
                self.draw(runs, share / 2.0)
            }
            Failing::Wandering | Failing::WanderingWide => {
                if at_s >= self.share_until_s {
                    let of = if self.shape.failing == Failing::Wandering { 2 } else { 1 };
                    self.share_factor =
                        (0..of).map(|_| exponential(&mut self.chance)).sum::<f64>() / f64::from(of);
                    self.share_until_s = at_s + HOUR_S;
                }
                self.draw(runs, (share * self.share_factor).min(1.0))
            }
            Failing::Drift => self.draw(runs, share * (0.1 + 1.8 * at_s / DAY_S / self.days)),
            Failing::Retries(after_s) => {
                // Three and a half failures of each cause, in the mean.
                self.plan_retries(at_s, runs * share / 3.5, after_s);
                self.draw(runs * (1.0 - share), 0.0)
            }
            Failing::Blips => {
                // Never two within a minute: that would be one outage.
                let may = at_s >= self.blip_until_s + 60.0;
                let pause_s = 15.0 / share - 15.0 - 60.0;
                if may && self.chance.draw() < TICK_S as f64 / pause_s {
                    self.blip_until_s = at_s + 15.0;
                }
                self.draw(runs, f64::from(u8::from(at_s < self.blip_until_s)))
            }
        }
    }

    fn draw(&mut self, runs: f64, share: f64) -> Tick {
        let good = poisson(&mut self.chance, runs * (1.0 - share));
        let bad = poisson(&mut self.chance, runs * share);
        Tick { good, bad, ..Tick::default() }
    }

    fn plan_clumps(&mut self, at_s: f64, causes: f64, clump: impl Fn(&mut Chance) -> (u32, f64)) {
        for _ in 0..poisson(&mut self.chance, causes) {
            let began_s = at_s + self.chance.draw() * TICK_S as f64;
            let (of, apart_s) = clump(&mut self.chance);
            (0..of).for_each(|number| {
                self.planned.push(Reverse((began_s + f64::from(number) * apart_s) as u64))
            });
        }
    }

    fn plan_retries(&mut self, at_s: f64, causes: f64, after_s: f64) {
        for _ in 0..poisson(&mut self.chance, causes) {
            let mut due_s = at_s + self.chance.draw() * TICK_S as f64;
            self.planned.push(Reverse(due_s as u64));
            for _ in 0..(self.chance.draw() * 6.0) as u32 {
                due_s += exponential(&mut self.chance) * after_s;
                self.planned.push(Reverse(due_s as u64));
            }
        }
    }
}

pub(crate) fn exponential(chance: &mut Chance) -> f64 {
    -(1.0 - chance.draw()).ln()
}

pub(crate) fn poisson(chance: &mut Chance, mean: f64) -> u32 {
    if mean > 30.0 {
        // Normal: two draws (Box and Muller).
        let radius = (2.0 * exponential(chance)).sqrt();
        return (mean + mean.sqrt() * radius * (TAU * chance.draw()).cos()).round().max(0.0) as u32;
    }
    let mut product = chance.draw();
    // exp(-mean) is not below it: nothing, without working it out.
    if product <= 1.0 - mean {
        return 0;
    }
    let (least, mut count) = ((-mean).exp(), 0);
    while product > least {
        product *= chance.draw();
        count += 1;
    }
    count
}

fn binomial(chance: &mut Chance, of: u32, share: f64) -> u32 {
    (0..of).filter(|_| chance.draw() < share).count() as u32
}
