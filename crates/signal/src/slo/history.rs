//! What an objective would have done on its own history: when it would have paged, which detectors are to be believed, and how
//! soon it would have seen an outage.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{
    Counts, Detector, Detectors, Judge, Objective, Page, Series, Settings, Slot,
    burn::{RULES, Rule, Seen},
    look::decide,
};

/// A page was worth it when its trouble cost this share of the period's budget, or half of the runs for [`WORTH_FOR`].
const WORTH_BUDGET: f64 = 0.02;
const WORTH_SHARE: f64 = 0.5;
const WORTH_FOR: Duration = Duration::from_secs(300);
/// Outages tried on a history, and for how long each may go unseen.
const TRIES: usize = 40;
const TRY_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Shares of failures tried for the smallest one that is seen in time.
const SHARES: [f64; 10] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0];
const SEEN_WITHIN: Duration = Duration::from_secs(3_600);

/// A page that would have been.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paged {
    pub by: Detector,
    /// When the trouble began, when the page came, and when it was over. `None`: it goes on.
    pub since: Micros,
    pub at: Micros,
    pub until: Option<Micros>,
    /// What happened from the beginning of the trouble to its end.
    pub counts: Counts,
}

/// A detector on a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub pages: usize,
    /// Those that were not worth it.
    pub noise: usize,
}

/// Which detectors are to page, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub detectors: Detectors,
    pub burn: Tried,
    pub sequence: Tried,
    pub outage: Tried,
}

/// What is to be expected of an objective, by its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lint {
    pub days: f64,
    pub runs_an_hour: f64,
    /// Of what the history holds, in units of what is allowed.
    pub burn: f64,
    pub pages_a_month: f64,
    /// Those that were not worth it.
    pub false_pages_a_month: f64,
    /// The smallest share of failures that is seen within an hour, at least every second time.
    pub smallest_outage: Option<f64>,
    /// How long a total outage goes unseen. `None`: longer than a day, or nothing to try on.
    pub outage_p50: Option<Duration>,
    pub outage_p95: Option<Duration>,
    /// Rules that could never fire with the workbook's factor, and fire at a lower one here.
    pub capped: Vec<Rule>,
    /// Rules whose long window holds too few runs to prove anything, even if all fail.
    pub too_few_runs: Vec<Rule>,
}

/// When an objective would have paged. Slots in the order of time; ends within a second for a month of slots.
pub fn replay(slots: &[Slot], objective: &Objective, settings: &Settings) -> Vec<Paged> {
    let mut player = Player::default();
    slots.iter().for_each(|slot| player.play(slot, objective, settings));
    player.close()
}

/// Leaves out detectors that made noise on this history. If all did, the one that made the least stays.
pub fn choose(slots: &[Slot], objective: &Objective, settings: &Settings) -> Choice {
    const NONE: Detectors = Detectors { burn: false, sequence: false, outage: false };
    let budget = budget_of_period(slots, objective);
    let tried = |detectors: Detectors| {
        let paged = replay(slots, objective, &Settings { detectors, ..*settings });
        let noise = paged.iter().filter(|paged| !paged.was_worth_it(budget)).count();
        Tried { pages: paged.len(), noise }
    };
    let burn = tried(Detectors { burn: true, ..NONE });
    let sequence = tried(Detectors { sequence: true, ..NONE });
    let outage = tried(Detectors { outage: true, ..NONE });
    let least = burn.noise.min(sequence.noise).min(outage.noise);
    let allowed = (span(slots).as_secs_f64() / settings.quiet.as_secs_f64().max(1.0)).floor() as usize;
    let keep = |tried: Tried| tried.noise <= allowed.max(least);
    let detectors = Detectors { burn: keep(burn), sequence: keep(sequence), outage: keep(outage) };
    Choice { detectors, burn, sequence, outage }
}

/// What is to be expected of an objective; best of its last 30 days.
pub fn lint(slots: &[Slot], objective: &Objective, settings: &Settings) -> Lint {
    let days = (span(slots).as_secs_f64() / 86_400.0).max(1.0 / 24.0);
    let counts = total(slots);
    let budget = budget_of_period(slots, objective);
    let (paged, points) = replay_with_points(slots, objective, settings);
    let noise = paged.iter().filter(|paged| !paged.was_worth_it(budget)).count();
    let delays = |share: f64| -> Vec<Option<Duration>> {
        points.iter().map(|point| point.delay(slots, share, objective, settings)).collect()
    };
    let total_outage = delays(1.0);
    let is_seen = |share: &f64| {
        let seen = delays(*share).iter().flatten().filter(|delay| **delay <= SEEN_WITHIN).count();
        !points.is_empty() && seen * 2 >= points.len()
    };
    let runs_an_hour = counts.total as f64 / (days * 24.0);
    let too_few = |rule: &Rule| runs_an_hour * rule.long.as_secs_f64() / 3_600.0 < 3.0;
    Lint {
        days,
        runs_an_hour,
        burn: counts.burn(objective),
        pages_a_month: paged.len() as f64 * 30.0 / days,
        false_pages_a_month: noise as f64 * 30.0 / days,
        smallest_outage: SHARES.into_iter().find(is_seen),
        outage_p50: quantile(&total_outage, 0.5),
        outage_p95: quantile(&total_outage, 0.95),
        capped: RULES.into_iter().filter(|rule| rule.is_unreachable(objective)).collect(),
        too_few_runs: RULES.into_iter().filter(too_few).collect(),
    }
}

impl Paged {
    /// `budget`: failures that the period allows.
    fn was_worth_it(&self, budget: f64) -> bool {
        let lasted = self.until.map_or(Duration::MAX, |until| until.since(self.since));
        let is_outage = self.counts.share() >= WORTH_SHARE && lasted >= WORTH_FOR;
        is_outage || self.counts.bad() as f64 >= (WORTH_BUDGET * budget).max(3.0)
    }
}

/// Looks at a history as it would have been looked at: after each slot.
#[derive(Clone, Default)]
struct Player {
    series: Series,
    judge: Judge,
    minute: (Micros, Counts),
    last_bad: Micros,
    page: Option<Page>,
    paged: Vec<Paged>,
}

impl Player {
    fn play(&mut self, slot: &Slot, objective: &Objective, settings: &Settings) {
        let minute = Micros(slot.at.0.div_euclid(60_000_000).saturating_mul(60_000_000));
        let is_new_minute = minute != self.minute.0;
        if is_new_minute {
            self.minute = (minute, Counts::default());
        }
        self.minute.1 = self.minute.1.plus(Counts::new(u64::from(slot.good), u64::from(slot.bad)));
        let now = slot.at + settings.slot;
        self.series.set_minute(minute, self.minute.1, now);
        if slot.bad > 0 {
            self.last_bad = slot.at;
        }
        // Before this slot it was looked at, too: a row grows older while nothing comes.
        let silent = self.judge.is_hot() && slot.at > self.judge.next();
        let trouble = silent.then(|| self.judge.trouble(objective, settings, slot.at)).flatten();
        self.judge.eat(slot, objective, settings);
        let trouble = trouble.or_else(|| self.judge.trouble(objective, settings, now));
        // Rules by the minute are looked at once a minute, and only where they could fire or stop firing.
        let could_burn = settings.detectors.burn && slot.at.since(self.last_bad) <= RULES[1].short;
        let seen: [Seen; 2] = if could_burn && (slot.bad > 0 || is_new_minute || self.page.is_some()) {
            [0, 1].map(|rule: usize| RULES[rule].look(&self.series, objective, slot.at))
        } else {
            [Seen::default(); 2]
        };
        decide(&self.series, &mut self.judge, trouble, &seen, objective, settings, slot.at);
        match (self.page, self.judge.page) {
            (Some(page), None) => self.note(page, Some(slot.at)),
            (_, page) => self.page = page,
        }
    }

    fn note(&mut self, page: Page, until: Option<Micros>) {
        let Page { by, since, at, counts } = page;
        self.paged.push(Paged { by, since, at, until, counts });
        self.page = None;
    }

    fn close(mut self) -> Vec<Paged> {
        if let Some(page) = self.page {
            self.note(page, None);
        }
        self.paged
    }
}

/// A moment of a history at which an outage is tried.
struct Point {
    player: Player,
    next: usize,
}

impl Point {
    /// How long it takes until a page, if from now on `share` of the runs fail. `None`: too long.
    fn delay(
        &self,
        slots: &[Slot],
        share: f64,
        objective: &Objective,
        settings: &Settings,
    ) -> Option<Duration> {
        let mut player = self.player.clone();
        let began = slots.get(self.next)?.at;
        let mut due = 0.5;
        for slot in slots[self.next..].iter().take_while(|slot| slot.at.since(began) < TRY_FOR) {
            let runs = slot.good.saturating_add(slot.bad);
            due += f64::from(runs) * share;
            let bad = (due as u32).min(runs);
            due -= f64::from(bad);
            player.play(&Slot { at: slot.at, good: runs - bad, bad }, objective, settings);
            if player.page.is_some() {
                return Some(slot.at.since(began) + settings.slot + settings.every);
            }
        }
        None
    }
}

fn replay_with_points(
    slots: &[Slot],
    objective: &Objective,
    settings: &Settings,
) -> (Vec<Paged>, Vec<Point>) {
    let mut player = Player::default();
    let mut points = Vec::new();
    // Not in the first part, in which nothing is known yet.
    let every = slots.len().saturating_sub(slots.len() / 8).div_ceil(TRIES).max(1);
    for (index, slot) in slots.iter().enumerate() {
        if index >= slots.len() / 8 && index.is_multiple_of(every) && player.page.is_none() {
            points.push(Point { player: player.clone(), next: index });
        }
        player.play(slot, objective, settings);
    }
    (player.close(), points)
}

fn quantile(delays: &[Option<Duration>], q: f64) -> Option<Duration> {
    let mut sorted: Vec<Duration> = delays.iter().map(|delay| delay.unwrap_or(Duration::MAX)).collect();
    sorted.sort_unstable();
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().filter(|delay| *delay < Duration::MAX)
}

fn total(slots: &[Slot]) -> Counts {
    slots
        .iter()
        .fold(Counts::default(), |sum, slot| sum.plus(Counts::new(u64::from(slot.good), u64::from(slot.bad))))
}

fn span(slots: &[Slot]) -> Duration {
    slots.first().zip(slots.last()).map_or(Duration::ZERO, |(first, last)| last.at.since(first.at))
}

/// How many runs may fail in the period, by the traffic of the history.
fn budget_of_period(slots: &[Slot], objective: &Objective) -> f64 {
    let runs = total(slots).total as f64;
    runs * objective.allowed() * objective.period.as_secs_f64() / span(slots).as_secs_f64().max(3_600.0)
}
