//! Thousands of random lives of a provider and the objectives behind it: alerts come, grow and go, people silence and
//! acknowledge, controls die before and after they store, two believe that they lead, clocks jump. What was told is held
//! against what was true, and each way of doing it wrong is found out.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use mainstay_wire::notify::What;

use super::{
    Active, Group, Input, Outgoing, Quiet, step,
    tests::{active, reach},
    told_severity,
};
use crate::alert::{
    AFTER_INHIBITION, Inhibition, Matcher, Plan, REPEAT,
    inhibit::{Side, relate},
};

const LIVES: u64 = 40;
const LOOKS: u64 = 400;
/// After these looks at which all is well, everything has ended.
const CALM: u64 = 5;
/// The provider, three objectives behind it, and two that it does not explain.
const ALERTS: usize = 6;
/// So long after it has begun to be heard, a page has been told.
const PATIENCE: Duration = AFTER_INHIBITION.saturating_add(Duration::from_secs(120));

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

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
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
    random: Random,
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
            random: Random(seed),
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
        let seconds = 1 + self.random.below(60);
        self.real += seconds;
        self.clock = self.clock + Duration::from_secs(seconds);
        if self.random.one_in(200) {
            let jump = Duration::from_secs(self.random.below(7200));
            self.clock = if self.random.one_in(2) { self.clock + jump } else { self.clock - jump };
            self.jumped = true;
        }
    }

    /// What happens to the world, not to those who watch it.
    fn fate(&mut self) {
        for place in 0..ALERTS {
            let now = match self.truth[place].severity {
                None if self.random.one_in(40) => Some(Severity::Warning),
                None if self.random.one_in(40) => Some(Severity::Page),
                Some(Severity::Warning) if self.random.one_in(20) => Some(Severity::Page),
                Some(_) if self.random.one_in(25) => None,
                unchanged => unchanged,
            };
            self.set(place, now);
            if self.random.one_in(60) {
                self.truth[place].silenced = !self.truth[place].silenced;
            }
            if self.random.one_in(50)
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

    /// One control looks; sometimes it dies before or after it stores, or another takes over meanwhile.
    fn look(&mut self) {
        let read = self.stored.clone();
        if self.random.one_in(15) {
            // Another leads now and looks first; this one has read before that and does not know.
            self.stored.epoch += 1;
            self.commit_look(self.stored.clone());
            if self.random.one_in(2) {
                self.commit_look(read);
            }
            return;
        }
        if self.random.one_in(20) {
            self.forgets_for = 12;
            if self.wrong == Wrong::ForgetsGroups {
                self.stored.groups.clear();
            }
        }
        self.commit_look(self.stored.clone());
    }

    /// What a control that has read this decides, and what comes of it.
    fn commit_look(&mut self, read: Stored) {
        let alerts = self.alerts(&read);
        let silences = self.silences();
        let receivers = [reach("chat", Severity::Info)];
        let listed: Vec<Active> = alerts.values().cloned().collect();
        let input = Input {
            plan: &self.plan,
            receivers: &receivers,
            alerts: &listed,
            silences: &silences,
            overrides: &[],
        };
        let ids = &mut self.ids;
        let decision = step(&input, &read.groups, self.clock, || {
            *ids += 1;
            format!("g{ids}")
        });
        let dies = self.random.one_in(20);
        let is_fenced = read.epoch != self.stored.epoch && self.wrong != Wrong::NoFence;
        self.seen.refused += u64::from(is_fenced);
        if dies || is_fenced {
            if self.wrong == Wrong::TwoTransactions && !is_fenced {
                self.told(&decision.outgoing);
            }
            return;
        }
        self.told(&decision.outgoing);
        for (place, _) in alerts.iter().filter(|(_, alert)| alert.is_resolved) {
            self.truth[*place].told = None;
        }
        self.stored.alerts = alerts.into_iter().filter(|(_, alert)| !alert.is_resolved).collect();
        for group in decision.groups {
            self.stored.groups.retain(|known| known.id != group.id);
            if group.ended_at.is_none() {
                self.stored.groups.push(group);
            }
        }
        self.check_pages();
        self.jumped = false;
        self.forgets_for = self.forgets_for.saturating_sub(1);
    }

    /// The rows of alerts as they become by this look: what explains graver ones is lifted.
    fn alerts(&mut self, read: &Stored) -> BTreeMap<usize, Active> {
        let forgets = self.wrong == Wrong::ForgetsAlerts && self.forgets_for > 0;
        let mut alerts = BTreeMap::new();
        for place in 0..ALERTS {
            let known = read.alerts.get(&place);
            let Some(severity) = self.truth[place].severity else {
                if let Some(known) = known {
                    alerts.insert(place, Active { is_resolved: true, ..known.clone() });
                }
                continue;
            };
            if forgets && place == 0 {
                continue;
            }
            let labels: &[(&str, &str)] = match place {
                0 => &[("group", "provider"), ("provider", "openai")],
                1..=3 => &[("group", "slo"), ("provider", "openai")],
                _ => &[("group", "slo"), ("provider", "azure")],
            };
            let mut alert = known.cloned().unwrap_or_else(|| {
                self.ids += 1;
                let mut alert = active(&format!("a{place}-{}", self.ids), severity, labels);
                alert.told.labels.insert("place".to_owned(), place.to_string());
                alert
            });
            if severity > alert.severity {
                (alert.severity, alert.acknowledged_by) = (severity, None);
            }
            alert.inhibited_by = None;
            alerts.insert(place, alert);
        }
        self.explain(&mut alerts);
        alerts
    }

    fn explain(&mut self, alerts: &mut BTreeMap<usize, Active>) {
        let places: Vec<usize> =
            alerts.iter().filter(|(_, alert)| !alert.is_resolved).map(|(place, _)| *place).collect();
        let none = BTreeMap::new();
        let side = |place: &usize| Side {
            labels: &alerts[place].told.labels,
            touches: &none,
            severity: alerts[place].severity,
            is_shadow: false,
            is_silenced: self.truth[*place].silenced,
            is_pending: false,
        };
        let relations = relate(&Inhibition::built_in(), &places.iter().map(side).collect::<Vec<_>>());
        self.seen.inhibited += relations.by.len() as u64;
        for (target, source) in relations.by {
            let by = alerts[&places[source]].told.component.clone();
            alerts.entry(places[target]).and_modify(|alert| alert.inhibited_by = Some(by));
        }
        for (place, severity) in relations.lifted {
            alerts.entry(places[place]).and_modify(|alert| {
                (alert.severity, alert.acknowledged_by) = (severity, None);
            });
        }
    }

    fn silences(&mut self) -> Vec<Quiet> {
        let is_silenced = |place: &usize| self.truth[*place].silenced;
        let begun =
            |place: &usize| self.wrong == Wrong::SilencesOnce && self.stored.alerts.contains_key(place);
        let places: Vec<usize> = (0..ALERTS).filter(is_silenced).filter(|place| !begun(place)).collect();
        self.seen.silenced += places.len() as u64;
        let silence = |place: usize| Quiet {
            id: place.to_string(),
            matchers: Matcher::parse(&format!("place={place}")).into_iter().collect(),
        };
        places.into_iter().map(silence).collect()
    }

    /// Everything that is told is held against what is true at this moment.
    fn told(&mut self, outgoing: &[Outgoing]) {
        for Outgoing { notice, receivers, .. } in outgoing {
            let what = notice.what;
            let ends = what == What::Resolved;
            // By default each alert is told of by itself; what explains graver ones is as grave.
            let severity = match notice.severity {
                told if told == told_severity(Severity::Page) => Severity::Page,
                _ => Severity::Warning,
            };
            for alert in &notice.alerts {
                let Some(place) = alert.labels.get("place").and_then(|place| place.parse::<usize>().ok())
                else {
                    self.faults.push(format!("{what:?} names no alert"));
                    continue;
                };
                let truth = &mut self.truth[place];
                if !ends && !receivers.is_empty() {
                    truth.told = truth.told.max(Some(severity));
                }
                let (silenced, well) = (truth.silenced, truth.severity.is_none());
                if !ends && (silenced || well || self.is_explained(place)) {
                    let why = format!("{what:?} of {place}: silenced {silenced}, well {well}");
                    self.faults.push(why);
                }
            }
            let notices = self.told.entry(notice.key.clone()).or_default();
            let count = |kind| notices.iter().filter(|(what, ..)| *what == kind).count();
            let last = notices.last().map(|(_, at, _)| *at);
            let is_soon = last.is_some_and(|last| self.clock.since(last) < REPEAT && self.clock >= last);
            let jumped = self.jumped || notices.last().is_some_and(|(.., jumped)| *jumped);
            let is_double = match what {
                What::Firing | What::Resolved | What::Escalated => count(what) > 0,
                What::Reminder => is_soon && !jumped,
                What::Acknowledged | What::Test => false,
            };
            if is_double {
                self.faults.push(format!("{what:?} of {} again: {notices:?}", notice.key));
            }
            // What was told to nobody needs no end; acknowledgements are between.
            if what != What::Acknowledged {
                notices.push((what, self.clock, self.jumped));
            }
            self.seen.firing += u64::from(what == What::Firing);
            self.seen.resolved += u64::from(ends);
            self.seen.reminders += u64::from(what == What::Reminder);
        }
    }

    /// A page that could be heard for long enough has been told as one; by now all looks before were stored.
    fn check_pages(&mut self) {
        for (place, truth) in self.truth.iter().enumerate() {
            let waits = truth.heard_since.map_or(0, |since| self.real - since);
            // Jumps make pauses longer by less than themselves.
            if Duration::from_secs(waits) > 2 * PATIENCE && truth.told < Some(Severity::Page) {
                self.faults.push(format!("a page of {place} was not told for {waits} s"));
            }
        }
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
