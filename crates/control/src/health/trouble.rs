//! The story of a provider's failures in numbers: since when, how large a share, who sees it, who answered instead.

use std::collections::BTreeMap;

use mainstay_base::{
    Micros, Record, record,
    standing::{Answers, CallerAnswers},
};
use serde::{Serialize, Serializer};

use super::report::{iso_text, second_text};

/// Without a failure for so long, a run of failures is over, and the next failure begins another.
const QUIET_US: i64 = 60_000_000;
/// For so long after its last failure a run is still told of.
const TOLD_US: i64 = 10 * QUIET_US;
/// Callers, classes and detours counted one by one; what comes beyond is counted in the sums only.
pub(super) const MAX_CALLERS: usize = 64;
pub(super) const MAX_CLASSES: usize = 32;
pub(super) const MAX_DETOURS: usize = 32;
/// Of those, so many are named.
const MAX_NAMED: usize = 20;
const MAX_NAME_CHARS: usize = 100;
/// Apps whose names are known; those beyond are told by their id.
const MAX_NAMES: usize = 4096;

/// A run of failures of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The first failure.
    #[serde(serialize_with = "iso")]
    pub since: Micros,
    #[serde(serialize_with = "iso")]
    pub last_failure: Micros,
    /// From the first failure on.
    pub attempts: u32,
    pub failures: u32,
    pub share_percent: u32,
    /// How often each class of failure was met.
    pub classes: BTreeMap<String, u32>,
    /// Apps, or virtual keys where no app is known, that saw failures.
    pub callers: Vec<String>,
    pub callers_failing: u32,
    /// Those that called it in this time and saw no failure.
    pub callers_well: u32,
    /// Who answered the calls that it failed.
    pub detours: Vec<Detour>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detour {
    pub provider: String,
    pub model: Option<String>,
    pub calls: u32,
}

impl Trouble {
    /// One caller alone sees it while others are served: it is more likely theirs than the provider's.
    pub fn is_of_one_caller(&self) -> bool {
        self.callers_failing == 1 && self.callers_well > 0
    }

    /// One line for people.
    pub fn words(&self) -> String {
        let mut text = format!(
            "since {}: {} of {} attempts failed ({} %)",
            second_text(self.since),
            self.failures,
            self.attempts,
            self.share_percent
        );
        if !self.callers.is_empty() {
            text.push_str(&format!("; seen by {}", self.callers.join(", ")));
        }
        let name = |detour: &Detour| match &detour.model {
            Some(model) => format!("{}/{model} ({})", detour.provider, detour.calls),
            None => format!("{} ({})", detour.provider, detour.calls),
        };
        match self.detours.is_empty() {
            true => text.push_str("; nobody answered instead"),
            false => {
                let detours: Vec<String> = self.detours.iter().map(name).collect();
                text.push_str(&format!("; answered instead: {}", detours.join(", ")));
            }
        }
        text
    }
}

/// What is counted of the present run, or of the last one.
#[derive(Clone, Debug, Default)]
pub(super) struct Spell {
    since: Option<Micros>,
    last_failure: Micros,
    attempts: u32,
    failures: u32,
    classes: BTreeMap<String, u32>,
    /// Good and bad attempts of each caller.
    callers: BTreeMap<String, (u32, u32)>,
    detours: BTreeMap<(String, Option<String>), u32>,
}

impl Spell {
    pub(super) fn count(&mut self, record: &Record, attempt: &record::Attempt, is_failure: bool, at: Micros) {
        let is_on = self.since.is_some() && at.0.saturating_sub(self.last_failure.0) <= QUIET_US;
        if is_failure && !is_on {
            *self = Spell { since: Some(at), ..Spell::default() };
        } else if !is_on {
            return;
        }
        self.attempts = self.attempts.saturating_add(1);
        if let Some(caller) = caller(record) {
            let count = at_most(&mut self.callers, caller.to_owned(), MAX_CALLERS);
            if let Some((good, bad)) = count {
                let side = if is_failure { bad } else { good };
                *side = side.saturating_add(1);
            }
        }
        if is_failure {
            self.failures = self.failures.saturating_add(1);
            self.last_failure = self.last_failure.max(at);
            let class = attempt.class.map_or("unknown", mainstay_base::Class::as_str);
            add(at_most(&mut self.classes, class.to_owned(), MAX_CLASSES));
            if let Some(answered) = answered_instead(record, attempt) {
                add(at_most(&mut self.detours, answered, MAX_DETOURS));
            }
        }
    }

    /// What another process counted.
    pub(super) fn hear(&mut self, told: &Answers, at: Micros) {
        let is_on = self.since.is_some() && at.0.saturating_sub(self.last_failure.0) <= QUIET_US;
        if told.bad > 0 && !is_on {
            *self = Spell { since: Some(at), ..Spell::default() };
        } else if !is_on {
            return;
        }
        self.attempts = self.attempts.saturating_add(told.good).saturating_add(told.bad);
        self.failures = self.failures.saturating_add(told.bad);
        if told.bad > 0 {
            self.last_failure = self.last_failure.max(at);
        }
        for CallerAnswers { caller, name: _, good, bad } in &told.callers {
            if let Some(known) = at_most(&mut self.callers, caller.clone(), MAX_CALLERS) {
                *known = (known.0.saturating_add(*good), known.1.saturating_add(*bad));
            }
        }
        for (class, count) in told.classes.iter().filter(|(_, count)| **count > 0) {
            if let Some(known) = at_most(&mut self.classes, class.clone(), MAX_CLASSES) {
                *known = known.saturating_add(*count);
            }
        }
        for (provider, model, calls) in told.detours.iter().filter(|(_, _, calls)| *calls > 0) {
            let name = (provider.clone(), model.clone());
            if let Some(known) = at_most(&mut self.detours, name, MAX_DETOURS) {
                *known = known.saturating_add(*calls);
            }
        }
    }

    pub(super) fn trouble(&self, now: Micros, names: &Names) -> Option<Trouble> {
        let since = self.since.filter(|_| now.0.saturating_sub(self.last_failure.0) <= TOLD_US)?;
        let share = u64::from(self.failures) * 100 / u64::from(self.attempts.max(1));
        let failing = self.callers.iter().filter(|(_, (_, bad))| *bad > 0);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let mut detours: Vec<Detour> = self
            .detours
            .iter()
            .map(|((provider, model), calls)| Detour {
                provider: provider.clone(),
                model: model.clone(),
                calls: *calls,
            })
            .collect();
        detours.sort_by_key(|detour| std::cmp::Reverse(detour.calls));
        detours.truncate(MAX_NAMED);
        Some(Trouble {
            since,
            last_failure: self.last_failure,
            attempts: self.attempts,
            failures: self.failures,
            share_percent: u32::try_from(share).unwrap_or(100),
            classes: self.classes.clone(),
            callers: failing.clone().map(|(caller, _)| names.of(caller)).take(MAX_NAMED).collect(),
            callers_failing: number(failing.count()),
            callers_well: number(self.callers.values().filter(|(_, bad)| *bad == 0).count()),
            detours,
        })
    }
}

pub(super) fn at_most<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, max: usize) -> Option<&mut V> {
    if map.len() >= max && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}

pub(super) fn add(count: Option<&mut u32>) {
    if let Some(count) = count {
        *count = count.saturating_add(1);
    }
}

/// The app on whose behalf it was, by its id where it has one; else the key that was shown.
pub(super) fn caller(record: &Record) -> Option<&str> {
    let name = record.app_id.as_deref().or(record.app.as_deref()).or(record.key.as_deref())?;
    let end = name.char_indices().nth(MAX_NAME_CHARS).map_or(name.len(), |(end, _)| end);
    name.get(..end)
}

/// What apps are called. A call of a model tells its app's id only; the app's own requests tell its name too.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_id: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn learn(&mut self, record: &Record) {
        let (Some(id), Some(name)) = (&record.app_id, &record.app) else { return };
        self.put(id, name);
    }

    /// What another process calls it.
    pub(super) fn hear(&mut self, told: &Answers) {
        for CallerAnswers { caller, name, .. } in &told.callers {
            if let Some(name) = name {
                self.put(caller, name);
            }
        }
    }

    fn put(&mut self, id: &str, name: &str) {
        if self.by_id.get(id).is_some_and(|known| known == name)
            || (self.by_id.len() >= MAX_NAMES && !self.by_id.contains_key(id))
        {
            return;
        }
        self.by_id.insert(id.to_owned(), name.chars().take(MAX_NAME_CHARS).collect());
    }

    pub(super) fn known(&self, caller: &str) -> Option<&str> {
        self.by_id.get(caller).map(String::as_str)
    }

    fn of(&self, caller: &str) -> String {
        self.known(caller).unwrap_or(caller).to_owned()
    }
}

/// Whose answer the caller got, when it was another provider's.
pub(super) fn answered_instead(
    record: &Record,
    failed: &record::Attempt,
) -> Option<(String, Option<String>)> {
    let is_answer = |attempt: &&record::Attempt| attempt.class.is_none() && attempt.error.is_none();
    let answer = record.attempts.iter().rev().find(is_answer)?;
    (answer.upstream != failed.upstream).then(|| (answer.upstream.clone(), answer.model.clone()))
}

fn iso<S: Serializer>(at: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso_text(*at))
}
