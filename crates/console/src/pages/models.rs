//! Logical models: who answers them, in which order, how that goes; and where a call would go now.

use askama::Template;
use mainstay_base::{
    listed,
    snapshot::{CallPolicy, LogicalModel, Strategy},
};
use mainstay_control::Overrides;
use serde::{Deserialize, Serialize};

use super::{
    fleet::{Now, Recent, TargetRow},
    given,
    providers::{failover, out_of_rotation},
};
use crate::{
    App, Explained, Failure, RouteAsk, RouteRefused,
    page::{Chrome, NoQuery, Page},
};

#[derive(Serialize)]
pub(crate) struct Models {
    pub(crate) models: Vec<Row>,
    /// Where names without a route go.
    pub(crate) other_models_to: Vec<String>,
    pub(crate) generation: u64,
    pub(crate) recent_span_s: u64,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) targets: Vec<TargetRow>,
    pub(crate) recent: Recent,
}

impl Row {
    /// Targets whose breaker is closed and whose provider is in rotation.
    pub(crate) fn usable(&self) -> usize {
        self.targets.iter().filter(|target| target.breaker() != "open" && target.drained.is_none()).count()
    }

    pub(crate) fn success(&self) -> String {
        success(&self.recent)
    }

    pub(crate) fn state(&self) -> &'static str {
        match self.usable() {
            0 => "down",
            usable if usable < self.targets.len() => "degraded",
            _ => "ok",
        }
    }
}

pub(crate) fn success(recent: &Recent) -> String {
    match recent.answered + recent.failed {
        0 => "–".to_owned(),
        whole => format!("{:.1} %", recent.answered as f64 * 100.0 / whole as f64),
    }
}

/// As in the configuration.
pub(crate) fn strategy_word(strategy: &Strategy) -> &'static str {
    match strategy {
        Strategy::Ordered => "ordered",
        Strategy::Weighted => "weighted",
        Strategy::LeastLatency => "least latency",
        Strategy::LeastBusy => "least busy",
    }
}

#[derive(Template)]
#[template(path = "models.html")]
struct ModelsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Models,
}

impl Page for Models {
    const SECTION: &'static str = "models";
    const TOPICS: &'static str = "health runbooks requests beat";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Models, Failure> {
        let snapshot = app.ports.routes.snapshot();
        let (now, overrides) = (Now::read(app).await?, app.ports.control.overrides());
        let mut names: Vec<&String> = snapshot.model.models.keys().collect();
        names.sort();
        let (mut models, mut recent_span_s) = (Vec::new(), 0);
        for name in names {
            let Some(model) = snapshot.model.models.get(name) else { continue };
            let recent = Recent::read(app, Some(name)).await?;
            recent_span_s = recent_span_s.max(recent.span_s);
            models.push(row(model, &overrides, &now, recent));
        }
        let others = snapshot.model.other_models_to.iter().map(|provider| provider.name.clone()).collect();
        Ok(Models { models, other_models_to: others, generation: snapshot.generation, recent_span_s })
    }

    fn title(&self) -> String {
        "Models".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        ModelsHtml { chrome, page: self }.render()
    }
}

fn row(model: &LogicalModel, overrides: &Overrides, now: &Now, recent: Recent) -> Row {
    let target = |target: &mainstay_base::snapshot::ModelTarget| {
        let provider = &target.provider.name;
        TargetRow {
            provider: provider.clone(),
            model: target.model.clone(),
            asked_as: vec![model.name.clone()],
            priority: target.priority,
            weight: target.weight,
            standing: now.target(provider, &target.model),
            recent: recent.target(provider, &target.model),
            drained: out_of_rotation(overrides, provider),
            fails_over_to: failover(overrides, provider).map(|failover| failover.to),
        }
    };
    let targets = model.targets.iter().map(target).collect();
    Row { name: model.name.clone(), strategy: model.strategy, targets, recent }
}

/// One model.
#[derive(Serialize)]
pub(crate) struct ModelPage {
    #[serde(flatten)]
    pub(crate) row: Row,
    pub(crate) policy: Vec<Setting>,
    /// Virtual keys that may ask for it.
    pub(crate) keys: Vec<String>,
    pub(crate) generation: u64,
}

/// One line of a policy in words.
#[derive(Serialize)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

#[derive(Template)]
#[template(path = "model.html")]
struct ModelHtml<'a> {
    chrome: &'a Chrome,
    page: &'a ModelPage,
}

impl Page for ModelPage {
    const SECTION: &'static str = "models";
    const TOPICS: &'static str = "health runbooks requests beat";
    type Query = NoQuery;

    async fn load(app: &App, name: &str, _: NoQuery) -> Result<ModelPage, Failure> {
        let snapshot = app.ports.routes.snapshot();
        let model = snapshot.model.models.get(name);
        let model = model.ok_or_else(|| unknown(app, name))?;
        let (now, overrides) = (Now::read(app).await?, app.ports.control.overrides());
        let recent = Recent::read(app, Some(name)).await?;
        let may = |key: &&std::sync::Arc<mainstay_base::snapshot::ModelKey>| {
            key.models.as_ref().is_none_or(|models| models.iter().any(|model| model == name))
        };
        let mut keys: Vec<String> =
            snapshot.model.keys.values().filter(may).map(|key| key.name.clone()).collect();
        keys.sort();
        Ok(ModelPage {
            row: row(model, &overrides, &now, recent),
            policy: policy(&model.policy),
            keys,
            generation: snapshot.generation,
        })
    }

    fn title(&self) -> String {
        self.row.name.clone()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        ModelHtml { chrome, page: self }.render()
    }
}

fn unknown(app: &App, name: &str) -> Failure {
    let snapshot = app.ports.routes.snapshot();
    let known = listed(snapshot.model.models.keys().map(String::as_str));
    Failure { next: format!("there are: {known}"), ..Failure::not_found("model", name) }
}

fn policy(policy: &CallPolicy) -> Vec<Setting> {
    let CallPolicy {
        deadline,
        answer_within,
        max_cost,
        max_attempts,
        retry,
        hedge,
        pre_commit,
        on_cut,
        content_filter_falls_over,
        single_flight,
        drain: _,
    } = policy;
    let setting = |name, value: String| Setting { name, value };
    let seconds = |duration: &std::time::Duration| format!("{} s", duration.as_secs_f64());
    vec![
        setting("deadline", seconds(deadline)),
        setting("answer_within", seconds(answer_within)),
        setting("max_cost", max_cost.map_or_else(|| "none".to_owned(), |cost| cost.to_string())),
        setting("max_attempts", max_attempts.to_string()),
        setting("retry.same_target", retry.same_target.to_string()),
        setting("retry.ratio", format!("{} a call, {} saved up", retry.ratio, retry.burst)),
        setting(
            "hedge",
            hedge.map_or_else(
                || "off".to_owned(),
                |hedge| format!("after p{}, {} a call", hedge.after_quantile * 100.0, hedge.ratio),
            ),
        ),
        setting(
            "pre_commit",
            format!(
                "{} characters, at most {} events, {} bytes, {}",
                pre_commit.min_chars,
                pre_commit.max_events,
                pre_commit.max_bytes,
                seconds(&pre_commit.max_wait)
            ),
        ),
        setting("on_cut", word(on_cut)),
        setting("content_filter_falls_over", content_filter_falls_over.to_string()),
        setting("single_flight", word(single_flight)),
    ]
}

/// A word of configuration, as it is spelled there.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Where a call would go now, and why.
#[derive(Serialize)]
pub(crate) struct RoutePage {
    pub(crate) asked: RouteAsk,
    pub(crate) route: Explained,
    #[serde(skip)]
    pub(crate) keys: Vec<String>,
}

/// All is text in a form; a box that is not ticked is not sent.
#[derive(Deserialize)]
pub(crate) struct RouteQuery {
    key: Option<String>,
    region: Option<String>,
    data_class: Option<String>,
    input_tokens: Option<String>,
    max_output_tokens: Option<String>,
    tools: Option<String>,
    vision: Option<String>,
    structured_output: Option<String>,
    embeddings: Option<String>,
    responses: Option<String>,
    hosted: Option<String>,
}

#[derive(Template)]
#[template(path = "route.html")]
struct RouteHtml<'a> {
    chrome: &'a Chrome,
    page: &'a RoutePage,
}

impl Page for RoutePage {
    const SECTION: &'static str = "models";
    const TOPICS: &'static str = "";
    type Query = RouteQuery;

    async fn load(app: &App, name: &str, query: RouteQuery) -> Result<RoutePage, Failure> {
        let asked = ask(name, query)?;
        let route = app.ports.routes.explain(asked.clone()).await.map_err(|error| refused(&error))?;
        let snapshot = app.ports.routes.snapshot();
        let mut keys: Vec<String> = snapshot.model.keys.values().map(|key| key.name.clone()).collect();
        keys.sort();
        Ok(RoutePage { asked, route, keys })
    }

    fn title(&self) -> String {
        format!("Route of {}", self.asked.model)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        RouteHtml { chrome, page: self }.render()
    }
}

impl RoutePage {
    pub(crate) fn is_key(&self, name: &str) -> bool {
        self.asked.key.as_deref() == Some(name)
    }

    pub(crate) fn max_output(&self) -> String {
        self.asked.max_output_tokens.map_or_else(String::new, |tokens| tokens.to_string())
    }
}

fn ask(model: &str, query: RouteQuery) -> Result<RouteAsk, Failure> {
    let number = |name: &'static str, text: Option<String>| match given(text) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
            Failure::bad_request("bad_filter", format!("`{name}` is not a whole number"), "leave it out")
        }),
    };
    let ticked = |field: Option<String>| given(field).is_some_and(|text| text != "false" && text != "0");
    let hosted = ticked(query.hosted);
    Ok(RouteAsk {
        model: model.to_owned(),
        key: given(query.key),
        region: given(query.region),
        data_class: given(query.data_class),
        input_tokens: number("input_tokens", query.input_tokens)?.unwrap_or(0),
        max_output_tokens: number("max_output_tokens", query.max_output_tokens)?,
        tools: ticked(query.tools),
        vision: ticked(query.vision),
        structured_output: ticked(query.structured_output),
        embeddings: ticked(query.embeddings),
        responses: ticked(query.responses) || hosted,
        hosted,
    })
}

pub(super) fn refused(refusal: &RouteRefused) -> Failure {
    let message = refusal.to_string();
    match refusal {
        RouteRefused::NoModel { .. } | RouteRefused::NoKey { .. } => {
            Failure::new(http::StatusCode::NOT_FOUND, "not_found", message, "see /models for what there is")
        }
        RouteRefused::Forbidden { .. } => {
            Failure::bad_request("forbidden_model", message, "choose another key")
        }
        RouteRefused::Contradicted { what, .. } => Failure::bad_request(
            "contradicted_key",
            message,
            format!("leave the {what} out, or choose another key"),
        ),
        RouteRefused::BadPolicy(_) => Failure::bad_request(
            "bad_policy",
            message,
            "run mainstay check on it, and see docs/configuration.md",
        ),
        RouteRefused::Nothing(_) => Failure::conflict(message, "ask for a longer time, or for another model"),
        RouteRefused::Busy => Failure::conflict(message, "it takes a minute at most: try again then"),
        RouteRefused::Unavailable(cause) => Failure::unavailable("the store", cause.as_ref()),
    }
}
