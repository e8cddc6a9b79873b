//! What providers answered, counted in spans so that it can be told to control in other processes, and heard there.
//!
//! Promises: what one process tells each second is counted once by each who hears it, also when a word is missed or the
//! hearer is new; a span, a caller, a class beyond a bound is counted in the sums only. Refuses to know the order of what
//! came within one word.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use mainstay_base::{
    Micros, Record, record,
    standing::{Answers, CallerAnswers},
};
use mainstay_store::model::Stood;

use super::trouble::{MAX_CALLERS, MAX_CLASSES, MAX_DETOURS, Names, add, answered_instead, at_most, caller};

/// A minute, and the span that has not ended.
const MAX_SPANS: usize = 7;
/// How long an instance that is not heard of is remembered: what it tells when it is back was counted already.
const REMEMBERED: Duration = Duration::from_secs(120);
/// Instances heard; more than the store lists would be needed to reach it.
const MAX_INSTANCES: usize = 512;

/// The last spans of one provider, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(VecDeque<Span>);

#[derive(Clone, Debug, Default)]
struct Span {
    from: Micros,
    good: u32,
    bad: u32,
    last_bad_at: Option<Micros>,
    last_error: Option<String>,
    callers: BTreeMap<String, (u32, u32)>,
    classes: BTreeMap<String, u32>,
    detours: BTreeMap<(String, Option<String>), u32>,
}

impl Spans {
    pub(super) fn count(
        &mut self,
        record: &Record,
        attempt: &record::Attempt,
        failure: Option<&str>,
        at: Micros,
    ) {
        let span = self.at(at);
        let side = if failure.is_some() { &mut span.bad } else { &mut span.good };
        *side = side.saturating_add(1);
        if let Some(caller) = caller(record) {
            // Nothing is allocated for a caller that is known.
            let count = match span.callers.get_mut(caller) {
                None => at_most(&mut span.callers, caller.to_owned(), MAX_CALLERS),
                known => known,
            };
            if let Some((good, bad)) = count {
                let side = if failure.is_some() { bad } else { good };
                *side = side.saturating_add(1);
            }
        }
        let Some(error) = failure else { return };
        span.last_bad_at = span.last_bad_at.max(Some(at));
        span.last_error = Some(error.to_owned());
        let class = attempt.class.map_or("unknown", mainstay_base::Class::as_str);
        add(at_most(&mut span.classes, class.to_owned(), MAX_CLASSES));
        if let Some(answered) = answered_instead(record, attempt) {
            add(at_most(&mut span.detours, answered, MAX_DETOURS));
        }
    }

    /// What comes late for a span that is gone counts in the oldest.
    fn at(&mut self, at: Micros) -> &mut Span {
        let from = span_of(at);
        let index = self.0.iter().position(|span| span.from >= from).unwrap_or(self.0.len());
        let is_there = self.0.get(index).is_some_and(|span| span.from == from);
        let index = match is_there || (index == 0 && self.0.len() >= MAX_SPANS) {
            true => index,
            false => {
                self.0.insert(index, Span { from, ..Span::default() });
                let surplus = self.0.len().saturating_sub(MAX_SPANS);
                self.0.drain(..surplus);
                index - surplus
            }
        };
        &mut self.0[index]
    }

    /// What is told of them.
    pub(super) fn told(&self, provider: &str, names: &Names, now: Micros) -> Vec<Answers> {
        let oldest = span_of(now) - Answers::SPAN * (MAX_SPANS as u32 - 1);
        let recent = self.0.iter().filter(|span| span.from >= oldest);
        recent.map(|span| span.told(provider, names)).collect()
    }
}

impl Span {
    fn told(&self, provider: &str, names: &Names) -> Answers {
        let caller = |(caller, (good, bad)): (&String, &(u32, u32))| CallerAnswers {
            caller: caller.clone(),
            name: names.known(caller).map(str::to_owned),
            good: *good,
            bad: *bad,
        };
        let detour = |((provider, model), calls): (&(String, Option<String>), &u32)| {
            (provider.clone(), model.clone(), *calls)
        };
        Answers {
            provider: provider.to_owned(),
            from: self.from,
            good: self.good,
            bad: self.bad,
            last_bad_at: self.last_bad_at,
            last_error: self.last_error.clone(),
            callers: self.callers.iter().map(caller).collect(),
            classes: self.classes.clone(),
            detours: self.detours.iter().map(detour).collect(),
        }
    }
}

fn span_of(at: Micros) -> Micros {
    let length = i64::try_from(Answers::SPAN.as_micros()).unwrap_or(i64::MAX);
    Micros(at.0 - at.0.rem_euclid(length))
}

/// What was heard of other processes.
#[derive(Debug, Default)]
pub(super) struct Heard {
    instances: HashMap<String, Instance>,
}

#[derive(Debug)]
struct Instance {
    heard_at: Micros,
    /// The last word on each span, by provider.
    words: HashMap<(String, Micros), Answers>,
}

impl Heard {
    /// What is new in what the others say: by provider and time, oldest first, all instances together. Times are by our
    /// own clock: those of others may be wrong.
    pub(super) fn news(&mut self, stood: &[&Stood], now: Micros) -> Vec<(Micros, Answers)> {
        let mut news: BTreeMap<(Micros, String), Answers> = BTreeMap::new();
        for Stood { instance, at: _, standing } in stood {
            if self.instances.len() >= MAX_INSTANCES && !self.instances.contains_key(instance) {
                continue;
            }
            let new = || Instance { heard_at: now, words: HashMap::new() };
            let known = self.instances.entry(instance.clone()).or_insert_with(new);
            known.heard_at = now;
            for word in &standing.answers {
                let name = (word.provider.clone(), word.from);
                let fresh = match known.words.get(&name) {
                    Some(before) if before == word => continue,
                    Some(before) => since(word, before),
                    None => word.clone(),
                };
                let ago = standing.at.since(word.from + Answers::SPAN);
                let at = Micros(now.0.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(0)));
                match news.get_mut(&(at, word.provider.clone())) {
                    Some(sum) => join(sum, fresh),
                    None => drop(news.insert((at, word.provider.clone()), fresh)),
                }
                known.words.insert(name, word.clone());
            }
            let is_told = |name: &(String, Micros)| {
                standing.answers.iter().any(|word| word.from == name.1 && word.provider == name.0)
            };
            known.words.retain(|name, _| is_told(name));
        }
        self.instances.retain(|_, instance| now.since(instance.heard_at) <= REMEMBERED);
        news.into_iter().map(|((at, _), fresh)| (at, fresh)).collect()
    }
}

/// What `word` says beyond `before`. Less than before: another process took the name, and all of it is new.
fn since(word: &Answers, before: &Answers) -> Answers {
    if word.good < before.good || word.bad < before.bad {
        return word.clone();
    }
    let mut fresh = word.clone();
    fresh.good -= before.good;
    fresh.bad -= before.bad;
    for caller in &mut fresh.callers {
        if let Some(known) = before.callers.iter().find(|known| known.caller == caller.caller) {
            caller.good = caller.good.saturating_sub(known.good);
            caller.bad = caller.bad.saturating_sub(known.bad);
        }
    }
    for (class, count) in &mut fresh.classes {
        *count = count.saturating_sub(before.classes.get(class).copied().unwrap_or(0));
    }
    for (provider, model, calls) in &mut fresh.detours {
        let known = before.detours.iter().find(|(other, of, _)| other == provider && of == model);
        *calls = calls.saturating_sub(known.map_or(0, |(_, _, calls)| *calls));
    }
    fresh
}

/// Both, of the same provider and time.
fn join(sum: &mut Answers, more: Answers) {
    let Answers { provider: _, from: _, good, bad, last_bad_at, last_error, callers, classes, detours } =
        more;
    sum.good = sum.good.saturating_add(good);
    sum.bad = sum.bad.saturating_add(bad);
    sum.last_bad_at = sum.last_bad_at.max(last_bad_at);
    sum.last_error = last_error.or(sum.last_error.take());
    // Whoever counts them adds those of one name.
    sum.callers.extend(callers);
    for (class, count) in classes {
        let known = sum.classes.entry(class).or_default();
        *known = known.saturating_add(count);
    }
    sum.detours.extend(detours);
}

#[cfg(test)]
mod tests {
    use mainstay_base::Standing;

    use super::*;

    const START: Micros = Micros(1_800_000_000_000_000);

    fn seconds(seconds: u64) -> Micros {
        START + Duration::from_secs(seconds)
    }

    fn word(from: u64, good: u32, bad: u32) -> Answers {
        let caller = CallerAnswers { caller: "a".to_owned(), name: None, good, bad };
        let classes = BTreeMap::from([("server_error".to_owned(), bad)]);
        let (provider, callers) = ("p".to_owned(), vec![caller]);
        Answers { provider, from: seconds(from), good, bad, callers, classes, ..Answers::default() }
    }

    fn stood(instance: &str, at: u64, answers: Vec<Answers>) -> Stood {
        let standing = Standing { at: seconds(at), answers, ..Standing::default() };
        Stood { instance: instance.to_owned(), at: seconds(at), standing }
    }

    /// (seconds since the start, good, bad, of the caller) of each piece of news.
    fn news(heard: &mut Heard, now: u64, stood: &[Stood]) -> Vec<(i64, u32, u32, (u32, u32))> {
        let stood: Vec<_> = stood.iter().collect();
        let told = heard.news(&stood, seconds(now)).into_iter().map(|(at, fresh)| {
            let sum = |side: fn(&CallerAnswers) -> u32| fresh.callers.iter().map(side).sum();
            let callers = (sum(|caller| caller.good), sum(|caller| caller.bad));
            (at.unix_seconds() - START.unix_seconds(), fresh.good, fresh.bad, callers)
        });
        told.collect()
    }

    #[test]
    fn each_answer_is_heard_once_whoever_tells_it_how_often() {
        let mut heard = Heard::default();
        let first = stood("one", 5, vec![word(0, 3, 1)]);
        assert_eq!(news(&mut heard, 5, std::slice::from_ref(&first)), [(5, 3, 1, (3, 1))]);
        assert_eq!(news(&mut heard, 6, &[first]), []);
        // Two processes are one sum; words that were missed in between are in the next.
        let (one, two) = (stood("one", 8, vec![word(0, 4, 4)]), stood("two", 8, vec![word(0, 10, 0)]));
        assert_eq!(news(&mut heard, 8, &[one, two]), [(8, 11, 3, (11, 3))]);
        let later = stood("one", 21, vec![word(0, 4, 5), word(10, 1, 1), word(20, 0, 1)]);
        let expected = [(10, 0, 1, (0, 1)), (20, 1, 1, (1, 1)), (21, 0, 1, (0, 1))];
        assert_eq!(news(&mut heard, 21, &[later]), expected);
        // One that was silent for a while is not counted again, one that was made anew under the name is.
        assert_eq!(news(&mut heard, 60, &[]), []);
        assert_eq!(news(&mut heard, 61, &[stood("one", 61, vec![word(20, 0, 1)])]), []);
        assert_eq!(news(&mut heard, 62, &[stood("one", 62, vec![word(60, 0, 2)])]), [(62, 0, 2, (0, 2))]);
        assert_eq!(news(&mut heard, 63, &[stood("one", 63, vec![word(60, 1, 0)])]), [(63, 1, 0, (1, 0))]);
    }

    #[test]
    fn clocks_of_others_do_not_matter() {
        let mut heard = Heard::default();
        let told = stood("one", 100_005, vec![word(99_980, 1, 0), word(100_000, 1, 0)]);
        assert_eq!(news(&mut heard, 5, &[told]), [(-10, 1, 0, (1, 0)), (5, 1, 0, (1, 0))]);
    }

    #[test]
    fn spans_are_few_and_lose_no_count() {
        let mut spans = Spans::default();
        let record = Record { key: Some("k".to_owned()), ..Record::blank(record::Path::Model) };
        let attempt = record::Attempt::default();
        for second in (0..200).rev().chain(0..200) {
            spans.count(&record, &attempt, (second % 2 == 0).then_some("503"), seconds(second));
        }
        assert_eq!(spans.0.len(), MAX_SPANS);
        let told = spans.told("p", &Names::default(), seconds(199));
        assert_eq!(told.len(), MAX_SPANS);
        let last = told.last().unwrap();
        assert_eq!((last.good, last.bad, last.callers[0].good), (10, 10, 10), "{last:?}");
        assert!(spans.told("p", &Names::default(), seconds(400)).is_empty());
    }
}
