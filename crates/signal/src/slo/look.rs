//! One look at an objective: what its budget is, how it burns, whether that is worth a page, and whether it can be seen at all.

use std::time::Duration;

use mainstay_base::Micros;

use super::{
    Counts, Detector, Judge, Objective, Page, Series, Settings, Slot, Ticket,
    burn::{RULES, Rule, Seen},
    sequence,
};

/// A page ends when so many runs, in the shortest of these windows that holds them, failed no more than is taken for health.
const CALM_RUNS: u64 = 5;
const CALM_MINUTES: [u64; 8] = [5, 10, 20, 60, 180, 720, 1_440, 4_320];
/// So many runs did not come although their pace says that they should have; by chance that is rarer than once in 10⁸.
const MISSING_RUNS: f64 = 20.0;
/// A source that stands still for less is a store that is busy.
const SHORTEST_SILENCE: Duration = Duration::from_secs(15);
/// A time of day has traffic when so many runs came in it.
const USUAL_RUNS: u64 = 20;
/// Below this share of its budget an objective is at risk.
const AT_RISK: f64 = 0.25;
/// Fewer failures do not exhaust a budget: of ten runs one is ten percent.
const FEWEST_FAILURES: u64 = 3;

/// What a look is given.
#[derive(Clone, Copy, Debug)]
pub struct Fed<'a> {
    pub series: &'a Series,
    /// All slots from [`Judge::next`] on, in the order of time, with the one that has only begun. Empty ones may be missing.
    pub slots: &'a [Slot],
    /// When the sources said last what they saw, even if that was nothing. `None`: never.
    pub heard: Option<Micros>,
}

/// What a look tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    pub state: State,
    pub budget: Budget,
    /// In the order of [`RULES`].
    pub burns: [Burn; 4],
    /// On from its beginning until the trouble is over.
    pub page: Option<Page>,
    pub ticket: Option<Ticket>,
}

/// How an objective stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    /// Less than a quarter of the budget is left, or a page or ticket is on.
    AtRisk,
    Exhausted,
    /// Nothing can be said.
    Blind(Blind),
}

/// Why nothing can be said of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blind {
    /// No run was ever seen.
    NoData,
    /// The sources say nothing any more, since.
    Silent(Micros),
    /// The sources are there, and nothing comes at a time at which it always came; since.
    Vanished(Micros),
    /// The sources told more good runs than runs, last at.
    MoreGoodThanAll(Micros),
}

/// What may fail in the period, and what did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    pub counts: Counts,
    /// Share of the budget that is left; negative when more failed than may. `None`: there were no runs.
    pub left: Option<f64>,
}

/// A rule and what it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    pub rule: Rule,
    /// Of the long and the short window, in units of what is allowed.
    pub long: f64,
    pub short: f64,
    pub fires: bool,
}

/// Looks at an objective: eats the slots that are settled, tastes the others, and says how it stands.
pub fn look(
    fed: &Fed<'_>,
    judge: &mut Judge,
    objective: &Objective,
    settings: &Settings,
    now: Micros,
) -> Look {
    judge.mind_the_clock(now);
    let seen = RULES.map(|rule| rule.look(fed.series, objective, now));
    let trouble = eat(fed.slots, judge, objective, settings, now);
    decide(fed.series, judge, trouble, &seen, objective, settings, now);
    judge.ticket = ticket(&seen, judge.ticket, now);
    let budget = budget(fed.series, objective, now);
    Look {
        state: state(fed, judge, &budget, settings, now),
        budget,
        burns: std::array::from_fn(|index| burn(&RULES[index], &seen[index], objective)),
        page: judge.page,
        ticket: judge.ticket,
    }
}

/// Whether a page begins or ends.
pub(super) fn decide(
    series: &Series,
    judge: &mut Judge,
    trouble: Option<(Detector, Micros)>,
    seen: &[Seen],
    objective: &Objective,
    settings: &Settings,
    now: Micros,
) {
    let burning = settings.detectors.burn.then(|| burning(seen, now)).flatten();
    match (trouble.or(burning), judge.page) {
        (Some((by, since)), None) => {
            judge.page = Some(Page { by, since, at: now, counts: Counts::default() })
        }
        (_, Some(_)) if burning.is_none() && is_calm(series, judge, objective, now) => judge.calm(),
        _ => {}
    }
    if let Some(page) = &mut judge.page {
        page.counts = series.sum(page.since, end_of_minute(now));
    }
}

/// What the detectors of runs say after each slot. Those that may still grow are eaten by a copy.
fn eat(
    slots: &[Slot],
    judge: &mut Judge,
    objective: &Objective,
    settings: &Settings,
    now: Micros,
) -> Option<(Detector, Micros)> {
    let is_settled = |slot: &&Slot| slot.at + settings.slot + settings.settle <= now;
    let settled = slots.iter().take_while(is_settled).count();
    let mut trouble = None;
    for slot in &slots[..settled] {
        judge.eat(slot, objective, settings);
        trouble = trouble.or(judge.trouble(objective, settings, slot.at + settings.slot));
    }
    let mut tasting = judge.clone();
    // A slot that has not begun is somebody's wrong clock.
    for slot in slots[settled..].iter().take_while(|slot| slot.at <= now) {
        tasting.eat(slot, objective, settings);
        trouble = trouble.or(tasting.trouble(objective, settings, now));
    }
    // A row that goes on grows older while nothing comes.
    trouble.or_else(|| tasting.trouble(objective, settings, now))
}

fn burning(seen: &[Seen], now: Micros) -> Option<(Detector, Micros)> {
    let fires = RULES.iter().zip(seen).find(|(rule, seen)| rule.pages && seen.fires);
    fires.map(|(rule, _)| (Detector::Burn, now - rule.long))
}

/// The latest runs fail no more than in health.
fn is_calm(series: &Series, judge: &Judge, objective: &Objective, now: Micros) -> bool {
    let until = end_of_minute(now);
    let windows = CALM_MINUTES.map(|minutes| Duration::from_secs(minutes * 60));
    let latest = windows
        .into_iter()
        .map(|window| series.sum(until - window, until))
        .find(|counts| counts.total >= CALM_RUNS);
    latest
        .is_some_and(|counts| counts.share() <= sequence::expected(judge.rate(now).unwrap_or(0.0), objective))
}

fn ticket(seen: &[Seen; 4], before: Option<Ticket>, now: Micros) -> Option<Ticket> {
    let (rule, seen) = RULES.iter().zip(seen).find(|(rule, seen)| !rule.pages && seen.fires)?;
    Some(Ticket { at: before.map_or(now, |ticket| ticket.at), window: rule.long, counts: seen.long })
}

fn burn(rule: &Rule, seen: &Seen, objective: &Objective) -> Burn {
    Burn {
        rule: *rule,
        long: seen.long.burn(objective),
        short: seen.short.burn(objective),
        fires: seen.fires,
    }
}

fn budget(series: &Series, objective: &Objective, now: Micros) -> Budget {
    let since = objective.began.unwrap_or(now - objective.period);
    let counts = series.sum(since, end_of_minute(now));
    let left = (counts.total > 0).then(|| 1.0 - counts.burn(objective));
    Budget { counts, left }
}

fn state(fed: &Fed<'_>, judge: &Judge, budget: &Budget, settings: &Settings, now: Micros) -> State {
    if let Some(blind) = blind(fed, judge, settings, now) {
        return State::Blind(blind);
    }
    match budget.left {
        None => State::Blind(Blind::NoData),
        Some(left) if left <= 0.0 && budget.counts.bad() >= FEWEST_FAILURES => State::Exhausted,
        Some(left) if left < AT_RISK && budget.counts.bad() >= FEWEST_FAILURES => State::AtRisk,
        Some(_) if judge.page.is_some() || judge.ticket.is_some() => State::AtRisk,
        Some(_) => State::Ok,
    }
}

fn blind(fed: &Fed<'_>, judge: &Judge, settings: &Settings, now: Micros) -> Option<Blind> {
    let Some(heard) = fed.heard else { return Some(Blind::NoData) };
    if now.since(heard) > (settings.every * 2 + settings.settle).max(SHORTEST_SILENCE) {
        return Some(Blind::Silent(heard));
    }
    if let Some(at) = fed.series.impossible_at().filter(|at| now.since(*at) < Duration::from_secs(3_600)) {
        return Some(Blind::MoreGoodThanAll(at));
    }
    vanished(fed.series, judge, now).map(Blind::Vanished)
}

/// Runs do not come, by their pace and by what came at this time yesterday and a week ago, as far as that is known.
fn vanished(series: &Series, judge: &Judge, now: Micros) -> Option<Micros> {
    let last = judge.last_run()?;
    if judge.missing_runs(now)? < MISSING_RUNS {
        return None;
    }
    let silent = now.since(last).max(Duration::from_secs(3_600));
    let was_usual = |days: u64| {
        let until = now - Duration::from_secs(days * 86_400);
        let is_known = series.began().is_some_and(|began| began <= until - silent);
        is_known.then(|| series.sum(until - silent, until).total >= USUAL_RUNS)
    };
    (was_usual(1)? && was_usual(7).unwrap_or(true)).then_some(last)
}

fn end_of_minute(now: Micros) -> Micros {
    now + Duration::from_secs(60)
}
