//! One component's bookkeeping: what its looks said, and when the next one is due.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_dify::probe::{Component, Pace, Report};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Looked, again, standing::Standing};

/// Those in trouble are looked at no less often than this, if a look costs nothing.
pub(super) const TROUBLED_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Turn {
    pub(super) next_at: Instant,
    pub(super) is_out: bool,
    pub(super) out_since: Option<Micros>,
    pub(super) at: Micros,
    pub(super) looks: u64,
    pub(super) last: Option<Report>,
    pub(super) standing: Standing,
}

/// What one process tells the others of a component.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    at: Micros,
    looks: u64,
    out_since: Option<Micros>,
    last: Report,
    standing: Standing,
}

impl Turn {
    pub(super) fn new(now: Instant) -> Turn {
        Turn {
            next_at: now,
            is_out: false,
            out_since: None,
            at: Micros(0),
            looks: 0,
            last: None,
            standing: Standing::default(),
        }
    }

    pub(super) fn take(&mut self, report: Report, at: Micros) {
        self.is_out = false;
        self.out_since = None;
        (self.at, self.looks) = (at, self.looks + 1);
        self.last = Some(report.clone());
        self.standing.take(report);
    }

    /// From the end of the last look to the next.
    pub(super) fn pause(&self, component: Component, pace: &Pace) -> Duration {
        let every = pace.every(component);
        let is_cheap = again(component) < TROUBLED_EVERY;
        let pause = match &self.standing {
            standing if standing.is_in_doubt() => again(component),
            standing if standing.is_in_trouble() && is_cheap => TROUBLED_EVERY,
            _ => every,
        };
        pause.min(every)
    }

    pub(super) fn looked(&self, component: Component) -> Option<Looked> {
        Some(Looked {
            component,
            at: self.at,
            looks: self.looks,
            stands: self.standing.report.clone(),
            last: self.last.clone()?,
            out_since: self.out_since,
        })
    }

    pub(super) fn told(&self) -> Option<Told> {
        let Turn { next_at: _, is_out: _, out_since, at, looks, last, standing } = self;
        let (out_since, at, looks) = (*out_since, *at, *looks);
        Some(Told { at, looks, out_since, last: last.clone()?, standing: standing.clone() })
    }

    /// Takes what another process saw; whoever goes on from there keeps its pace.
    pub(super) fn hear(&mut self, told: Told, now: Micros, component: Component, pace: &Pace) {
        let Told { at, looks, out_since, last, standing } = told;
        (self.at, self.looks, self.out_since) = (at, looks, out_since);
        (self.last, self.standing) = (Some(last), standing);
        self.next_at = Instant::now() + self.pause(component, pace).saturating_sub(now.since(at));
    }
}

impl Told {
    pub(super) fn age(&self, now: Micros) -> Duration {
        now.since(self.at)
    }

    pub(super) fn component(&self) -> Option<Component> {
        Component::named(&self.last.component)
    }
}
