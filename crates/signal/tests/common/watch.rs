//! Objectives watched over simulated traffic, as the driver would, with the classic rule beside.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_signal::{
    simulate::Chance,
    slo::{Counts, Detector, Fed, Judge, Objective, Series, Settings, Slot, look},
};

use super::traffic::{Shape, TICK_S, Tick, Traffic, exponential};

const START: Micros = Micros(1_790_035_200_000_000);
/// Every process takes what it counted to the store so often, and so long it is on the way.
const FLUSH_S: f64 = 1.0;
const WRITE_S: f64 = 0.2;
/// A look is at least this often, even while nothing fails.
const AT_LEAST_EVERY_TICKS: u64 = 300;
/// Pages of the classic rule that are so near each other are one.
const CLASSIC_QUIET_MIN: usize = 30;

pub(crate) fn objective(target: f64) -> Objective {
    Objective { target, period: Duration::from_secs(30 * 86_400), began: None }
}

/// What was seen of an objective.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) pages: Vec<(Micros, Detector)>,
    pub(crate) classic_pages: usize,
    pub(crate) counts: Counts,
}

/// A driver that looks as often as in production, at what was told by then: a second is told when the next one is over.
pub(crate) struct Watch {
    objective: Objective,
    settings: Settings,
    series: Series,
    judge: Judge,
    slots: Vec<Slot>,
    tick: u64,
    waiting: Tick,
    minute: Counts,
    told_late: Vec<(Micros, Counts)>,
    minutes: Vec<(u32, u32)>,
    failed: bool,
    is_on: bool,
    pub(crate) watched: Watched,
}

impl Watch {
    pub(crate) fn new(objective: Objective, settings: Settings) -> Watch {
        Watch {
            objective,
            settings,
            series: Series::default(),
            judge: Judge::default(),
            slots: Vec::new(),
            tick: 0,
            waiting: Tick::default(),
            minute: Counts::default(),
            told_late: Vec::new(),
            minutes: Vec::new(),
            failed: false,
            is_on: false,
            watched: Watched::default(),
        }
    }

    /// True: a page is on.
    pub(crate) fn tick(&mut self, tick: Tick) -> bool {
        let now = START + Duration::from_secs((self.tick + 1) * TICK_S);
        let told = std::mem::replace(&mut self.waiting, tick);
        if self.tick > 0 {
            self.count(START + Duration::from_secs((self.tick - 1) * TICK_S), told, now);
        }
        self.failed |= told.bad > 0;
        self.tick += 1;
        let is_time = self.tick.is_multiple_of(self.settings.every.as_secs() / TICK_S);
        let is_hot = self.failed || self.is_on || self.judge.is_hot();
        if (is_time && is_hot) || self.tick.is_multiple_of(AT_LEAST_EVERY_TICKS) {
            self.look(now);
            self.failed = false;
        }
        self.is_on
    }

    fn count(&mut self, at: Micros, tick: Tick, now: Micros) {
        if (self.tick - 1).is_multiple_of(60 / TICK_S) {
            self.minute = Counts::default();
            self.minutes.push((0, 0));
            // What was late is known a minute later, by the minute only.
            for (minute, counts) in self.told_late.drain(..) {
                self.series.set_minute(minute, counts, now);
            }
        }
        if tick == Tick::default() {
            return;
        }
        let counts = Counts::new(tick.good.into(), tick.bad.into());
        let late = Counts::new(tick.late_good.into(), tick.late_bad.into());
        self.watched.counts = self.watched.counts.plus(counts);
        self.minute = self.minute.plus(counts);
        let last = self.minutes.last_mut().unwrap();
        *last = (last.0 + tick.good + tick.bad, last.1 + tick.bad);
        let minute = Micros(at.0 - at.0.rem_euclid(60_000_000));
        self.series.set_minute(minute, self.minute, now);
        if late.total > 0 {
            self.told_late.retain(|(known, _)| *known != minute);
            self.told_late.push((minute, self.minute));
        }
        let (good, bad) = (tick.good - tick.late_good, tick.bad - tick.late_bad);
        let slot_at = Micros(at.0 - at.0.rem_euclid(self.settings.slot.as_micros() as i64));
        match self.slots.last_mut().filter(|slot| slot.at == slot_at) {
            Some(slot) => (slot.good, slot.bad) = (slot.good + good, slot.bad + bad),
            None if good + bad > 0 => self.slots.push(Slot { at: slot_at, good, bad }),
            None => {}
        }
    }

    fn look(&mut self, now: Micros) {
        let fed = Fed { series: &self.series, slots: &self.slots, heard: Some(now) };
        let looked = look(&fed, &mut self.judge, &self.objective, &self.settings, now);
        self.slots.retain(|slot| slot.at >= self.judge.next());
        if let Some(page) = looked.page.filter(|_| !self.is_on) {
            self.watched.pages.push((page.at, page.by));
        }
        self.is_on = looked.page.is_some();
    }

    pub(crate) fn end(mut self) -> Watched {
        self.watched.classic_pages = onsets(&classic(&self.minutes, self.objective.allowed()));
        self.watched
    }
}

/// Watches a shape while half of what is allowed fails.
pub(crate) fn quiet(shape: Shape, target: f64, days: u64, seed: u64, settings: Settings) -> Watched {
    let objective = objective(target);
    let mut traffic = Traffic::new(shape, objective.allowed() / 2.0, days as f64, seed);
    let mut watch = Watch::new(objective, settings);
    for _ in 0..days * 86_400 / TICK_S {
        watch.tick(traffic.next_tick());
    }
    watch.end()
}

/// Seconds until a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) ours: f64,
    pub(crate) classic: f64,
}

/// Steady traffic of which `healthy` of the allowed share fails for six hours, then `failing` of the runs. `None` of `ours` for longer
/// than `for_s`. The source tells what it saw `told_s` later, and the look comes at any time of its interval.
pub(crate) fn outage(
    target: f64,
    per_hour: f64,
    healthy: f64,
    failing: f64,
    for_s: f64,
    seed: u64,
    settings: Settings,
) -> Delay {
    let objective = objective(target);
    let mut chance = Chance::new(seed);
    let began_s = 6.0 * 3_600.0 + chance.draw() * 3_600.0;
    let mut events = Vec::new();
    let mut at_s = 0.0;
    while at_s < began_s + for_s {
        at_s += exponential(&mut chance) * 3_600.0 / per_hour;
        let share = if at_s < began_s { objective.allowed() * healthy } else { failing };
        events.push((at_s, chance.draw() < share));
    }
    let phases_s = (chance.draw() * settings.every.as_secs_f64(), chance.draw() * FLUSH_S);
    let ours = page_of(&events, began_s, phases_s, objective, settings);
    let minutes = ((began_s + for_s) / 60.0) as usize;
    let mut by_minute = vec![(0, 0); minutes];
    for (at_s, bad) in &events {
        if let Some(minute) = by_minute.get_mut((at_s / 60.0) as usize) {
            *minute = (minute.0 + 1, minute.1 + u32::from(*bad));
        }
    }
    let fires = classic(&by_minute, objective.allowed());
    let first = (began_s / 60.0) as usize;
    let classic = (first..minutes).find(|minute| fires[*minute]);
    Delay {
        ours: ours.unwrap_or(for_s),
        classic: classic.map_or(for_s, |minute| (minute + 1) as f64 * 60.0 - began_s),
    }
}

fn page_of(
    events: &[(f64, bool)],
    began_s: f64,
    (look_s, flush_s): (f64, f64),
    objective: Objective,
    settings: Settings,
) -> Option<f64> {
    let at = |s: f64| START + Duration::from_secs_f64(s);
    let (mut series, mut judge, mut slots) = (Series::default(), Judge::default(), Vec::<Slot>::new());
    let (mut minute, mut counts) = (-1.0, Counts::default());
    let mut next = 0;
    let mut now_s = look_s;
    let end_s = events.last()?.0;
    while now_s < end_s {
        let told_s = ((now_s - WRITE_S - flush_s) / FLUSH_S).floor() * FLUSH_S + flush_s;
        while events.get(next).is_some_and(|(event_s, _)| *event_s <= told_s) {
            let (event_s, bad) = events[next];
            next += 1;
            if (event_s / 60.0).floor() != minute {
                (minute, counts) = ((event_s / 60.0).floor(), Counts::default());
            }
            counts = counts.plus(Counts::new(u64::from(!bad), u64::from(bad)));
            series.set_minute(at(minute * 60.0), counts, at(now_s));
            let slot_s = settings.slot.as_secs_f64();
            let slot_at = at((event_s / slot_s).floor() * slot_s);
            match slots.last_mut().filter(|slot| slot.at == slot_at) {
                Some(slot) => {
                    (slot.good, slot.bad) = (slot.good + u32::from(!bad), slot.bad + u32::from(bad));
                }
                None => slots.push(Slot { at: slot_at, good: u32::from(!bad), bad: u32::from(bad) }),
            }
        }
        // Before the outage there is no hurry.
        if now_s >= began_s || now_s as u64 % 60 < 5 {
            let fed = Fed { series: &series, slots: &slots, heard: Some(at(now_s)) };
            let looked = look(&fed, &mut judge, &objective, &settings, at(now_s));
            slots.retain(|slot| slot.at >= judge.next());
            if now_s >= began_s && looked.page.is_some() {
                return Some(now_s - began_s);
            }
        }
        now_s += settings.every.as_secs_f64();
    }
    None
}

/// The page of the workbook as it is usually deployed: 14.4 over 1 h and 5 min, or 6 over 6 h and 30 min; by the minute.
pub(crate) fn classic(minutes: &[(u32, u32)], allowed: f64) -> Vec<bool> {
    let mut sums = vec![(0.0, 0.0)];
    for (runs, bad) in minutes {
        let last: (f64, f64) = sums[sums.len() - 1];
        sums.push((last.0 + f64::from(*runs), last.1 + f64::from(*bad)));
    }
    let burn = |end: usize, window: usize| {
        let (from, to) = (sums[end.saturating_sub(window)], sums[end]);
        if to.0 > from.0 { (to.1 - from.1) / (to.0 - from.0) / allowed } else { 0.0 }
    };
    let fires = |end: usize| {
        [(14.4, 60, 5), (6.0, 360, 30)]
            .iter()
            .any(|(factor, long, short)| burn(end, *long) > *factor && burn(end, *short) > *factor)
    };
    (1..=minutes.len()).map(fires).collect()
}

fn onsets(fires: &[bool]) -> usize {
    let mut last: Option<usize> = None;
    let mut count = 0;
    for minute in (0..fires.len()).filter(|minute| fires[*minute]) {
        count += usize::from(last.is_none_or(|last| minute - last > CLASSIC_QUIET_MIN));
        last = Some(minute);
    }
    count
}

/// The value below which the share `q` is.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * q).ceil() as usize).clamp(1, values.len()) - 1]
}
