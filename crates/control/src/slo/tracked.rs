//! One objective that is judged: what was counted of it, and how it stands.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_signal::slo::{self as judge, Counts, Judge, Look, Series, Settings, Slot};
use mainstay_store::model::{SLI_SLOT_US, SLI_SLOTS};

use super::{
    HOUR_US, MINUTE_US,
    admin::Held,
    document::{Sli, Source},
    fault::{Fault, Faults, Tally},
    figures::Figures,
    tell, terms,
};

/// Slots that wait to be eaten; a judge that was away for longer begins with the newest.
const MAX_SLOTS: usize = 2_000;

/// One objective.
pub(super) struct Tracked {
    pub(super) held: Held,
    pub(super) source: Result<Source, String>,
    series: Series,
    /// Whose fault the failures were, where the SLI is of failures.
    faults: Faults,
    /// What explains its page, if one thing does.
    pub(super) fault: Option<Fault>,
    pub(super) judge: Judge,
    /// By their beginning, from the first that the judge has not eaten.
    slots: BTreeMap<i64, (u32, u32)>,
    /// Of freshness: minutes of which something succeeded, the newest.
    succeeded_at: Option<i64>,
    /// Of freshness: the last minute that was judged.
    judged_to: Option<i64>,
    pub(super) detectors: judge::Detectors,
    pub(super) look: Option<Look>,
    /// Since when its state is what it is, for people and for the alert step.
    pub(super) since: Micros,
    pub(super) health_since: Micros,
}

/// Figures of one minute of one objective.
#[derive(Clone, Default)]
pub(super) struct Sum {
    pub(super) figures: Figures,
    pub(super) faults: Tally,
    pub(super) slots: [(u32, u32); SLI_SLOTS],
}

/// What was remembered of one by the control that judged before.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) judge: Judge,
    pub(super) detectors: judge::Detectors,
    pub(super) since: Micros,
    pub(super) health_since: Micros,
}

/// When sources said last what they saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) gateway: Option<Micros>,
    pub(super) dify: Option<Micros>,
}

impl Tracked {
    pub(super) fn new(
        held: Held,
        source: Result<Source, String>,
        before: Option<Remembered>,
        now: Micros,
    ) -> Tracked {
        let Remembered { judge, detectors, since, health_since } = before.unwrap_or_else(|| Remembered {
            judge: Judge::default(),
            detectors: judge::Detectors::ALL,
            since: now,
            health_since: now,
        });
        Tracked {
            held,
            source,
            series: Series::default(),
            faults: Faults::default(),
            fault: None,
            judge,
            slots: BTreeMap::new(),
            succeeded_at: None,
            judged_to: None,
            detectors,
            look: None,
            since,
            health_since,
        }
    }

    /// Whether what is counted comes in slots of a few seconds.
    fn is_fine(&self) -> bool {
        self.source == Ok(Source::Gateway) && self.held.document.sli == Sli::Availability
    }

    pub(super) fn settings(&self) -> Settings {
        terms::settings(&self.held.document, self.source.as_ref().ok().copied(), self.detectors)
    }

    pub(super) fn put(&mut self, minute: i64, sum: Sum, now: Micros) {
        let at = minute * MINUTE_US;
        if let Sli::RunFreshness { .. } = self.held.document.sli {
            if sum.figures.good > 0 {
                self.succeeded_at = self.succeeded_at.max(Some(minute));
            }
            return;
        }
        self.series.set_minute(Micros(at), counts(sum.figures), now);
        self.faults.put(minute, sum.faults);
        if self.is_fine() {
            for (place, slot) in sum.slots.into_iter().enumerate() {
                self.put_slot(at + i64::try_from(place).unwrap_or(0) * SLI_SLOT_US, slot);
            }
        } else {
            let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            self.put_slot(at, (count(sum.figures.good), count(sum.figures.bad())));
        }
    }

    /// A whole hour, from before the minutes that are kept. Freshness is of minutes only.
    pub(super) fn put_hour(&mut self, hour: i64, figures: Figures, now: Micros) {
        if !matches!(self.held.document.sli, Sli::RunFreshness { .. }) {
            self.series.set_hour(Micros(hour * HOUR_US), counts(figures), now);
        }
    }

    fn put_slot(&mut self, at: i64, slot: (u32, u32)) {
        if at >= self.judge.next().0 && slot != (0, 0) {
            self.slots.insert(at, slot);
            while self.slots.len() > MAX_SLOTS {
                self.slots.pop_first();
            }
        }
    }

    /// Of freshness: each minute that has ended is good when the last success was not too old then.
    fn pass_minutes(&mut self, max_age: Duration, now: Micros) {
        let Some(succeeded_at) = self.succeeded_at else { return };
        let ended = now.0.div_euclid(MINUTE_US) - 1;
        let first = self.judged_to.map_or(ended, |last| last + 1).max(ended - 180);
        for minute in first..=ended {
            let age = (minute + 1 - succeeded_at.min(minute + 1)).saturating_mul(60);
            let is_good = age <= i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
            let (good, bad) = (u32::from(is_good), u32::from(!is_good));
            let at = Micros(minute * MINUTE_US);
            self.series.set_minute(at, Counts::new(u64::from(good), u64::from(bad)), now);
            self.put_slot(at.0, (good, bad));
        }
        self.judged_to = Some(ended.max(self.judged_to.unwrap_or(ended)));
    }

    pub(super) fn look(&mut self, heard: Heard, now: Micros) {
        if let Sli::RunFreshness { max_age } = self.held.document.sli {
            self.pass_minutes(max_age, now);
        }
        let heard = match &self.source {
            Ok(Source::Gateway) => heard.gateway,
            Ok(_) => heard.dify,
            Err(_) => None,
        };
        let slots: Vec<Slot> = self
            .slots
            .range(self.judge.next().0..)
            .map(|(at, (good, bad))| Slot { at: Micros(*at), good: *good, bad: *bad })
            .collect();
        let fed = judge::Fed { series: &self.series, slots: &slots, heard };
        let objective = terms::objective(&self.held.document, now);
        let settings = self.settings();
        let look = judge::look(&fed, &mut self.judge, &objective, &settings, now);
        let next = self.judge.next().0;
        while self.slots.first_key_value().is_some_and(|(at, _)| *at < next) {
            self.slots.pop_first();
        }
        let before = self.look.as_ref().map(|look| (tell::word(look), tell::health(look)));
        if before.is_some_and(|(word, _)| word != tell::word(&look)) {
            self.since = now;
        }
        if before.is_some_and(|(_, health)| health != tell::health(&look)) {
            self.health_since = now;
        }
        let explained = |page: &judge::Page| {
            self.faults.of_page(page.since, &self.series, 1.0 - self.held.document.share(), now)
        };
        self.fault = look.page.as_ref().and_then(explained);
        self.look = Some(look);
    }

    /// Chooses who pages by its own last three days, as far as they are in memory.
    pub(super) fn choose(&mut self, now: Micros) {
        let minutes = self.series.minutes(now - Duration::from_secs(73 * 3_600), now);
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let slots: Vec<Slot> = minutes
            .filter(|(_, counts)| counts.total > 0)
            .map(|(at, counts)| Slot { at, good: count(counts.good), bad: count(counts.bad()) })
            .collect();
        let settings = Settings { slot: terms::MINUTE, ..self.settings() };
        self.detectors =
            judge::choose(&slots, &terms::objective(&self.held.document, now), &settings).detectors;
    }
}

fn counts(figures: Figures) -> Counts {
    Counts { good: figures.good, total: figures.total }
}
