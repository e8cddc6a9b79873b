//! Thousands of random lives of a provider and the objectives behind it: alerts come, grow and go, people silence and
//! acknowledge, controls die before and after they store, two believe that they lead, clocks jump. What was told is held
//! against what was true, and each way of doing it wrong is found out.

mod look;
mod told;

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_signal::simulate::Chance;
use mainstay_store::model::Severity;
use mainstay_wire::notify::What;

use super::{Active, Group};
use crate::alert::Plan;

const LIVES: u64 = 40;
const LOOKS: u64 = 400;
/// After these looks at which all is well, everything has ended.
const CALM: u64 = 5;
/// The provider, three objectives behind it, and two that it does not explain.
const ALERTS: usize = 6;

/// What is done wrong, to see that it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Whoever does not lead any more stores what it decided all the same.
    NoFence,
    /// Notices go out whether or not the state is stored.
    TwoTransactions,
    /// A restart forgets what was told.
    ForgetsGroups,
    /// A restart forgets what fires until it is seen anew, as if alerts were not kept.
    ForgetsAlerts,
    /// A silence is only looked at when an alert begins.
    SilencesOnce,
}

/// What is stored: nothing else outlives a control.
#[derive(Clone, Default)]
struct Stored {
    alerts: BTreeMap<usize, Active>,
    groups: Vec<Group>,
    epoch: u64,
}

/// What was true of one alert, kept apart from what is under test.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    severity: Option<Severity>,
    /// Since when, by a clock that never jumps, a page may be told of it.
    heard_since: Option<u64>,
    silenced: bool,
    told: Option<Severity>,
}

#[derive(Default)]
struct Seen {
    firing: u64,
    resolved: u64,
    reminders: u64,
    refused: u64,
    inhibited: u64,
    silenced: u64,
}

struct Life {
    wrong: Wrong,
    chance: Chance,
    plan: Plan,
    stored: Stored,
    truth: [Truth; ALERTS],
    /// By the clock that controls see, which jumps.
    clock: Micros,
    /// In seconds, which do not.
    real: u64,
    forgets_for: u64,
    ids: u64,
    /// Of each group: notices in order.
    told: BTreeMap<String, Vec<(What, Micros, bool)>>,
    jumped: bool,
    seen: Seen,
    faults: Vec<String>,
}

impl Life {
    fn new(wrong: Wrong, seed: u64) -> Life {
        Life {
            wrong,
            chance: Chance::new(seed),
            plan: Plan::default(),
            stored: Stored::default(),
            truth: [Truth::default(); ALERTS],
            clock: Micros(1_800_000_000_000_000),
            real: 0,
            forgets_for: 0,
            ids: 0,
            told: BTreeMap::new(),
            jumped: false,
            seen: Seen::default(),
            faults: Vec::new(),
        }
    }

    fn live(mut self) -> (Seen, Vec<String>) {
        for _ in 0..LOOKS {
            self.pass_time();
            self.fate();
            self.look();
        }
        for place in 0..ALERTS {
            self.set(place, None);
        }
        for _ in 0..CALM {
            self.pass_time();
            self.commit_look(self.stored.clone());
        }
        if !self.stored.groups.is_empty() {
            self.faults.push("a group never ended".to_owned());
        }
        for (group, notices) in &self.told {
            let ends = notices.iter().filter(|(what, ..)| *what == What::Resolved).count();
            if ends != 1 || notices.last().is_none_or(|(what, ..)| *what != What::Resolved) {
                self.faults.push(format!("{group} has {ends} ends: {notices:?}"));
            }
        }
        (self.seen, self.faults)
    }

    fn pass_time(&mut self) {
        let seconds = 1 + self.chance.below(60);
        self.real += seconds;
        self.clock = self.clock + Duration::from_secs(seconds);
        if self.chance.one_in(200) {
            let jump = Duration::from_secs(self.chance.below(7200));
            self.clock = if self.chance.one_in(2) { self.clock + jump } else { self.clock - jump };
            self.jumped = true;
        }
    }

    /// What happens to the world, not to those who watch it.
    fn fate(&mut self) {
        for place in 0..ALERTS {
            let now = match self.truth[place].severity {
                None if self.chance.one_in(40) => Some(Severity::Warning),
                None if self.chance.one_in(40) => Some(Severity::Page),
                Some(Severity::Warning) if self.chance.one_in(20) => Some(Severity::Page),
                Some(_) if self.chance.one_in(25) => None,
                unchanged => unchanged,
            };
            self.set(place, now);
            if self.chance.one_in(60) {
                self.truth[place].silenced = !self.truth[place].silenced;
            }
            if self.chance.one_in(50)
                && let Some(alert) = self.stored.alerts.get_mut(&place)
            {
                alert.acknowledged_by = Some("ann".to_owned());
            }
        }
        for place in 0..ALERTS {
            let truth = &self.truth[place];
            let heard =
                truth.severity == Some(Severity::Page) && !truth.silenced && !self.is_explained(place);
            let since = truth.heard_since.filter(|_| heard).or(heard.then_some(self.real));
            self.truth[place].heard_since = since;
        }
    }

    fn set(&mut self, place: usize, severity: Option<Severity>) {
        self.truth[place].severity = severity;
        if severity.is_none() {
            self.truth[place].heard_since = None;
        }
    }

    fn is_explained(&self, place: usize) -> bool {
        (1..=3).contains(&place) && self.truth[0].severity.is_some()
    }
}

/// A wrong one is given up at its first fault.
fn lives(wrong: Wrong) -> (Seen, Vec<String>) {
    let mut all = Seen::default();
    let mut faults = Vec::new();
    for seed in 0..LIVES {
        let (seen, found) = Life::new(wrong, seed).live();
        let Seen { firing, resolved, reminders, refused, inhibited, silenced } = seen;
        all.firing += firing;
        all.resolved += resolved;
        all.reminders += reminders;
        all.refused += refused;
        all.inhibited += inhibited;
        all.silenced += silenced;
        if wrong != Wrong::Nothing && !found.is_empty() {
            return (all, found);
        }
        faults.extend(found.into_iter().map(|fault| format!("seed {seed}: {fault}")));
    }
    (all, faults)
}

#[test]
fn no_page_is_lost_nothing_is_told_twice_and_what_is_silenced_or_explained_is_not_told() {
    let (seen, faults) = lives(Wrong::Nothing);
    assert!(faults.is_empty(), "{} faults, as {}", faults.len(), faults[0]);
    // Lives in which nothing happens would prove nothing.
    let Seen { firing, resolved, reminders, refused, inhibited, silenced } = seen;
    let all = [firing, resolved, reminders, refused, inhibited, silenced];
    assert!(all.iter().all(|count| *count >= 10), "{all:?}");
}

#[test]
fn every_way_of_doing_it_wrong_is_found_out() {
    for wrong in [
        Wrong::NoFence,
        Wrong::TwoTransactions,
        Wrong::ForgetsGroups,
        Wrong::ForgetsAlerts,
        Wrong::SilencesOnce,
    ] {
        let (_, faults) = lives(wrong);
        assert!(!faults.is_empty(), "{wrong:?} went unnoticed");
    }
}
