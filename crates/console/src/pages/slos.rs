//! Service levels: what is promised, what is left of the error budget, and what would have woken somebody.

use askama::Template;
use mainstay_control::slo::view::{self, Detail, List, View};
use serde::Serialize;
use serde_json::Value;

use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
    show::{self, Html},
    svg,
};

/// Bars of the chart: five minutes each.
const BARS: i64 = 36;
const BAR_US: i64 = 300_000_000;

#[derive(Serialize)]
pub(crate) struct Slos {
    #[serde(flatten)]
    pub(crate) list: List,
}

#[derive(Template)]
#[template(path = "slos.html")]
struct SlosHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Slos,
}

impl Page for Slos {
    const SECTION: &'static str = "slos";
    const TOPICS: &'static str = "beat alerts";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Slos, Failure> {
        Ok(Slos { list: view::list(&app.ports.store).await? })
    }

    fn title(&self) -> String {
        let burning = self.list.slos.iter().filter(|slo| !slo.page.is_null()).count();
        match burning {
            0 => "Service levels".to_owned(),
            count => format!("{count} service levels page"),
        }
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        SlosHtml { chrome, page: self }.render()
    }
}

#[derive(Serialize)]
pub(crate) struct SloPage {
    #[serde(flatten)]
    pub(crate) slo: Detail,
    #[serde(skip)]
    now_us: i64,
}

#[derive(Template)]
#[template(path = "slo.html")]
struct SloHtml<'a> {
    chrome: &'a Chrome,
    page: &'a SloPage,
}

impl Page for SloPage {
    const SECTION: &'static str = "slos";
    const TOPICS: &'static str = "beat alerts";
    type Query = NoQuery;

    async fn load(app: &App, name: &str, _: NoQuery) -> Result<SloPage, Failure> {
        let dify = app.ports.dify.as_ref().map(|dify| dify.name());
        let now = app.ports.clock.now();
        let found = view::one(&app.ports.store, dify.as_deref(), name, now).await?;
        let slo = found.ok_or_else(|| Failure::not_found("service level", name))?;
        Ok(SloPage { slo, now_us: now.0 })
    }

    fn title(&self) -> String {
        self.slo.view.name.clone()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        SloHtml { chrome, page: self }.render()
    }
}

/// What one looks like that is not there yet.
pub(crate) const SAMPLE: &str = "name: guide-latency
description: Guide answers within 20 s
sli:
  kind: latency
  threshold_ms: 20000
selector:
  app: Guide
target: 95
window:
  rolling_days: 30
owner: platform
alerting: shadow
";

/// `/slos/NAME` and what is under it.
pub(crate) fn path(name: &str, under: &str) -> String {
    format!("/slos/{}{under}", super::segment(name))
}

impl SloPage {
    /// What can be done with it as a whole.
    pub(crate) fn offers(&self) -> Vec<(&'static str, &'static str)> {
        let View { document, is_default, .. } = &self.slo.view;
        let is_shadow = document["alerting"] == "shadow";
        let all = [
            (is_shadow, ("promote", "Let it tell people")),
            (!self.slo.history.is_empty(), ("undo", "Take the last change back")),
            (!is_default, ("remove", "Remove")),
        ];
        all.into_iter().filter(|(is_offered, _)| *is_offered).map(|(_, offer)| offer).collect()
    }

    /// Key, label and value of its threshold, where it has one.
    pub(crate) fn threshold(&self) -> Option<(&'static str, &'static str, u64)> {
        let sli = &self.slo.view.document["sli"];
        let millis = sli["threshold_ms"].as_u64().map(|value| ("sli.threshold_ms", "Threshold, ms", value));
        millis
            .or_else(|| sli["max_age_s"].as_u64().map(|value| ("sli.max_age_s", "At most so old, s", value)))
    }

    pub(crate) fn rolling_days(&self) -> Option<u64> {
        self.slo.view.document["window"]["rolling_days"].as_u64()
    }

    pub(crate) fn owner(&self) -> &str {
        self.slo.view.document["owner"].as_str().unwrap_or_default()
    }

    /// The whole document, to be edited.
    pub(crate) fn text(&self) -> String {
        mainstay_control::slo::plan::text(std::slice::from_ref(&self.slo.view.document))
    }

    /// The last three hours, oldest first.
    pub(crate) fn chart(&self) -> Html {
        let first = self.now_us.div_euclid(BAR_US) - BARS + 1;
        let mut steps = vec![svg::Step::default(); usize::try_from(BARS).unwrap_or(0)];
        for slot in &self.slo.minutes {
            let at = usize::try_from(slot.at.0.div_euclid(BAR_US) - first).unwrap_or(usize::MAX);
            if let Some(step) = steps.get_mut(at) {
                step.good += u64::from(slot.good);
                step.bad += u64::from(slot.bad);
            }
        }
        let bad: u64 = steps.iter().map(|step| step.bad).sum();
        let all: u64 = steps.iter().map(|step| step.good + step.bad).sum();
        svg::sparkline(&steps, &format!("{bad} of {all} missed it in the last three hours"))
    }
}

/// The state, and whether somebody is woken by it.
pub(crate) fn state(slo: &View) -> Html {
    match (slo.page.is_null(), slo.ticket.is_null()) {
        (false, _) => show::state_as("critical", "page"),
        (true, false) => show::state_as("warning", "ticket"),
        (true, true) => show::state(&slo.state),
    }
}

/// What is left of the budget, as a bar and in words.
pub(crate) fn budget(slo: &View) -> Html {
    let Some(left) = slo.budget_left else { return Html::trusted("–".to_owned()) };
    let tone = match left {
        left if left <= 0.0 => crate::tone::Tone::Bad,
        left if left < 0.25 => crate::tone::Tone::Warn,
        _ => crate::tone::Tone::Ok,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    let width = (left.clamp(0.0, 1.0) * 1_000.0) as u64;
    Html::trusted(format!(
        "{}<span class=\"small\">{:.0} %</span>",
        svg::lane(1_000, 0, width, tone),
        left * 100.0
    ))
}

pub(crate) fn percent(share: &Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{share:.3} %"))
}

/// A field of a document or a figure of a burn, in a line.
pub(crate) fn word(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// `mode=workflow, app=Guide`; everything where nothing is selected.
pub(crate) fn selected(document: &Value) -> String {
    let pairs = document["selector"].as_object().into_iter().flatten();
    let words: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("?"))).collect();
    if words.is_empty() { "everything".to_owned() } else { words.join(", ") }
}

/// `1 h`, `5 min`.
pub(crate) fn span(burn: &Value, pointer: &str) -> String {
    let seconds = burn.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    if seconds >= 3_600 { format!("{} h", seconds / 3_600) } else { format!("{} min", seconds / 60) }
}

pub(crate) fn burns(slo: &View) -> &[Value] {
    slo.burns.as_array().map_or(&[], Vec::as_slice)
}
