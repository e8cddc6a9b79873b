//! How an objective stands, in words, as JSON for the store, and as a component for the alert step.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_signal::slo::{self as judge, Blind, Budget, Counts, Look, State};
use serde_json::{Value, json};

use super::{
    document::{Alerting, Document},
    fault::Fault,
    tracked::{Remembered, Tracked},
};
use crate::health::{self, Component, Group};

/// Before the name, in a component's id.
const PREFIX: &str = "slo:";
/// A blindness that lasted no longer may be a restart.
const BLIND_GRACE: Duration = Duration::from_secs(60);

/// `ok`, `at_risk`, `exhausted`, `blind`, `no_data`.
pub(super) fn word(look: &Look) -> &'static str {
    match look.state {
        State::Ok => "ok",
        State::AtRisk => "at_risk",
        State::Exhausted => "exhausted",
        State::Blind(Blind::NoData) => "no_data",
        State::Blind(_) => "blind",
    }
}

/// What the error budget policy offers in such a state; nothing of it is done by itself.
pub(super) fn offers(state: &str) -> &'static [&'static str] {
    match state {
        "at_risk" => &["tighten budgets"],
        "exhausted" => &["freeze canaries", "tighten budgets"],
        _ => &[],
    }
}

/// What the alert step is told. A budget that is spent alone wakes nobody: it is told as an event, once.
pub(super) fn health(look: &Look) -> health::State {
    match (&look.page, &look.ticket, look.state) {
        (Some(_), _, _) => health::State::Down,
        (None, Some(_), _) => health::State::Degraded,
        (None, None, State::Blind(Blind::NoData)) => health::State::Unknown,
        (None, None, State::Blind(_)) => health::State::Degraded,
        _ => health::State::Ok,
    }
}

/// Of an open alert about a service level that was not judged yet since this control acts: nothing can be said but what
/// was told of it before, `labels`, by which it stays quiet or not.
pub(crate) fn unjudged(id: &str, labels: BTreeMap<String, String>) -> Option<Component> {
    let name = id.strip_prefix(PREFIX)?;
    let told = health::Told {
        state: health::State::Unknown,
        reason: "it was not judged yet".to_owned(),
        at: Micros(0),
    };
    let component = Component::told(Group::Slo, &told, Micros(0));
    Some(Component { id: id.to_owned(), name: name.to_owned(), labels, ..component })
}

pub(super) fn component(tracked: &Tracked, now: Micros) -> Option<Component> {
    let Document { name, selector, sli, owner, alerting, .. } = &tracked.held.document;
    let look = tracked.look.as_ref()?;
    if *alerting == Alerting::Off {
        return None;
    }
    let is_blind = matches!(look.state, State::Blind(_)) && look.page.is_none() && look.ticket.is_none();
    let state = match health(look) {
        health::State::Degraded if is_blind && now.since(tracked.health_since) < BLIND_GRACE => {
            health::State::Unknown
        }
        state => state,
    };
    let mut labels: BTreeMap<String, String> = selector
        .pairs()
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
        .collect();
    labels.insert("slo".to_owned(), name.clone());
    labels.insert("sli".to_owned(), sli.kind().to_owned());
    labels.insert(
        "alerting".to_owned(),
        if *alerting == Alerting::Shadow { "shadow" } else { "on" }.to_owned(),
    );
    if !owner.is_empty() {
        labels.insert("owner".to_owned(), owner.clone());
    }
    labels.extend(tracked.fault.iter().flat_map(Fault::labels));
    Some(Component {
        id: format!("{PREFIX}{name}"),
        group: Group::Slo,
        name: name.clone(),
        state,
        reason: reason(tracked, look),
        since: tracked.health_since,
        last_check: Some(now),
        trouble: None,
        finding: None,
        labels,
    })
}

/// Why it stands so, in a sentence.
pub(super) fn reason(tracked: &Tracked, look: &Look) -> String {
    let Document { sli, target, window, .. } = &tracked.held.document;
    if let Err(why) = &tracked.source {
        return why.clone();
    }
    let promise = format!("promised are {target} % in {} ({})", window.words(), sli.words());
    if let Some(page) = &look.page {
        let by = match page.by {
            judge::Detector::Burn => "the budget burns too fast",
            judge::Detector::Sequence => "more fail than can be chance",
            judge::Detector::Outage => "nothing succeeds any more",
        };
        let fault = tracked.fault.as_ref().map_or_else(String::new, |fault| format!("; {}", fault.words()));
        let since = health::second_text(page.since);
        return format!("{} since {since}: {by}{fault}; {promise}", missed(page.counts));
    }
    if let Some(ticket) = &look.ticket {
        let hours = ticket.window.as_secs() / 3_600;
        return format!("{} in {hours} h: the budget burns slowly; {promise}", missed(ticket.counts));
    }
    match look.state {
        State::Blind(Blind::NoData) => "nothing was seen of it yet".to_owned(),
        State::Blind(Blind::Silent(since)) => {
            format!("its source says nothing since {}", health::second_text(since))
        }
        State::Blind(Blind::Vanished(since)) => {
            format!("no run came since {}, at a time when many do", health::second_text(since))
        }
        State::Blind(Blind::MoreGoodThanAll(at)) => {
            format!("more good runs than runs were counted at {}", health::second_text(at))
        }
        State::Ok | State::AtRisk | State::Exhausted => {
            let Budget { counts, left } = &look.budget;
            let left = left
                .map_or_else(String::new, |left| format!("; {:.0} % of the budget is left", left * 100.0));
            format!("{} in {}{left}", missed(*counts), window.words())
        }
    }
}

fn missed(counts: Counts) -> String {
    format!("{} of {} missed it", counts.bad(), counts.total)
}

/// What every process is told, and what the next judge has to remember.
pub(super) fn state(tracked: &Tracked) -> Option<Value> {
    let look = tracked.look.as_ref()?;
    let burns: Vec<Value> = look
        .burns
        .iter()
        .map(|burn| {
            json!({
                "long_s": burn.rule.long.as_secs(), "short_s": burn.rule.short.as_secs(),
                "factor": burn.rule.factor, "pages": burn.rule.pages,
                "long": rounded(burn.long), "short": rounded(burn.short), "fires": burn.fires,
            })
        })
        .collect();
    let Budget { counts, left } = &look.budget;
    let word = if tracked.source.is_err() { "blind" } else { word(look) };
    Some(json!({
        "state": word,
        "reason": reason(tracked, look),
        "since": tracked.since,
        "health": health(look).as_str(),
        "health_since": tracked.health_since,
        "source": tracked.source.as_ref().ok().map(|source| source.as_str()),
        "good": counts.good,
        "total": counts.total,
        "achieved": (counts.total > 0).then(|| rounded(100.0 * (1.0 - counts.share()))),
        "budget_left": left.map(rounded),
        "burns": burns,
        "page": look.page,
        "fault": tracked.fault,
        "ticket": look.ticket,
        "detectors": tracked.detectors,
        "judge": tracked.judge,
    }))
}

/// The other way round.
pub(super) fn remembered(state: &Value) -> Option<Remembered> {
    let read = |key: &str| state.get(key).cloned().unwrap_or_default();
    Some(Remembered {
        judge: serde_json::from_value(read("judge")).ok()?,
        detectors: serde_json::from_value(read("detectors")).ok()?,
        since: serde_json::from_value(read("since")).ok()?,
        health_since: serde_json::from_value(read("health_since")).ok()?,
    })
}

fn rounded(figure: f64) -> f64 {
    (figure * 10_000.0).round() / 10_000.0
}
