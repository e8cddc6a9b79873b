//! Reads a document, and says every problem of it at once, each with its key path.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    document::{Alerting, Calendar, Document, MODES, SLIS, Selector, Sli, Source, Window},
    endpoint,
};

/// Words that stand in the place of a name in the admin API.
const RESERVED: [&str; 6] = ["set", "import", "export", "lint", "history", "rules"];
const MAX_NAME: usize = 80;
const MAX_TEXT: usize = 500;
/// A target outside of these cannot be judged: below, a coin is as good; above, nobody lives to see it.
const TARGETS: std::ops::RangeInclusive<f64> = 50.1..=99.999;
const MAX_DAYS: u64 = 92;
const MAX_THRESHOLD_MS: u64 = 24 * 3_600_000;
const MAX_AGE_S: u64 = 31 * 86_400;

/// What is wrong, and where: `sli.threshold_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub path: String,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            return formatter.write_str(&self.message);
        }
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// The document that is written there, or everything that is wrong with it. What is left out has its default.
pub fn document(value: &Value) -> Result<Document, Vec<Problem>> {
    let mut reader = Reader::default();
    let document = reader.document(value);
    match document {
        Some(document) if reader.problems.is_empty() => Ok(document),
        _ => Err(reader.problems),
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), message: message.into() });
    }

    fn document(&mut self, value: &Value) -> Option<Document> {
        const KEYS: [&str; 9] =
            ["name", "description", "sli", "source", "selector", "target", "window", "owner", "alerting"];
        let table = self.table("", value, &KEYS)?;
        let name = self.name(table);
        let sli = match table.get("sli") {
            Some(value) => self.sli(value),
            None => {
                self.problem("sli", format!("is missing; its `kind` is one of {}", SLIS.join(", ")));
                None
            }
        };
        let target = self.target(table.get("target"));
        let selector = self.selector(table.get("selector"));
        let source = self.word(
            table,
            "",
            "source",
            &[("auto", Source::Auto), ("gateway", Source::Gateway), ("dify", Source::Dify)],
        );
        let alerting = self.word(table, "", "alerting", &Alerting::ALL.map(|each| (each.as_str(), each)));
        let window = self.window(table.get("window"));
        let text = |reader: &mut Reader, key| reader.text(table, "", key, MAX_TEXT).unwrap_or_default();
        let (description, owner) = (text(self, "description"), text(self, "owner"));
        let document = Document {
            name: name?,
            description,
            sli: sli?,
            source: source.unwrap_or(Source::Auto),
            selector: selector?,
            target: target?,
            window: window?,
            owner,
            alerting: alerting.unwrap_or(Alerting::On),
        };
        self.together(&document);
        Some(document)
    }

    fn name(&mut self, table: &Map<String, Value>) -> Option<String> {
        let name = self.text(table, "", "name", MAX_NAME).unwrap_or_default();
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if name.is_empty() {
            self.problem("name", "is missing");
            return None;
        }
        if !name.chars().all(is_word) || !name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) {
            self.problem(
                "name",
                "may have letters, digits, `-`, `_` and `.` only, and begins with a letter or digit",
            );
            return None;
        }
        if RESERVED.contains(&name.as_str()) {
            self.problem("name", format!("is none of {}: the API has them", RESERVED.join(", ")));
            return None;
        }
        Some(name)
    }

    fn sli(&mut self, value: &Value) -> Option<Sli> {
        let table = self.table("sli", value, &["kind", "threshold_ms", "max_age_s"])?;
        let Some(kind) = table.get("kind").and_then(Value::as_str) else {
            self.problem("sli.kind", format!("is one of {}", SLIS.join(", ")));
            return None;
        };
        let needs = match kind {
            "availability" | "retrieval_emptiness" => None,
            "run_freshness" => Some("max_age_s"),
            _ => Some("threshold_ms"),
        };
        for key in ["threshold_ms", "max_age_s"] {
            if table.contains_key(key) && needs != Some(key) && SLIS.contains(&kind) {
                self.problem(&format!("sli.{key}"), format!("means nothing for {kind}"));
            }
        }
        let millis = |reader: &mut Reader| {
            reader
                .number("sli.threshold_ms", table.get("threshold_ms"), 1, MAX_THRESHOLD_MS)
                .map(Duration::from_millis)
        };
        match kind {
            "availability" => Some(Sli::Availability),
            "retrieval_emptiness" => Some(Sli::RetrievalEmptiness),
            "latency" => Some(Sli::Latency { threshold: millis(self)? }),
            "first_token" => Some(Sli::FirstToken { threshold: millis(self)? }),
            "queue_wait" => Some(Sli::QueueWait { threshold: millis(self)? }),
            "schedule_punctuality" => Some(Sli::SchedulePunctuality { threshold: millis(self)? }),
            "run_freshness" => {
                let seconds = self.number("sli.max_age_s", table.get("max_age_s"), 60, MAX_AGE_S)?;
                Some(Sli::RunFreshness { max_age: Duration::from_secs(seconds) })
            }
            other => {
                self.problem("sli.kind", format!("is one of {}, not `{other}`", SLIS.join(", ")));
                None
            }
        }
    }

    fn target(&mut self, value: Option<&Value>) -> Option<f64> {
        let target = value.and_then(Value::as_f64);
        match target {
            Some(target) if TARGETS.contains(&target) => Some(target),
            Some(target) => {
                let why = if target >= 100.0 { "; at 100 % one failure is always too much" } else { "" };
                self.problem(
                    "target",
                    format!("is {target}, and must be {} to {} percent{why}", TARGETS.start(), TARGETS.end()),
                );
                None
            }
            None => {
                self.problem("target", "is the percentage that must be good, as 99.5");
                None
            }
        }
    }

    fn selector(&mut self, value: Option<&Value>) -> Option<Selector> {
        const KEYS: [&str; 7] = ["path", "app", "mode", "endpoint", "model", "provider", "version"];
        let Some(value) = value else { return Some(Selector::default()) };
        let table = self.table("selector", value, &KEYS)?;
        let [path, app, mode, endpoint, model, provider, version] =
            KEYS.map(|key| self.text(table, "selector.", key, MAX_TEXT).filter(|text| !text.is_empty()));
        let mut one_of = |key: &str, value: &Option<String>, words: &[&str]| {
            if let Some(value) = value
                && !words.contains(&value.as_str())
            {
                self.problem(
                    &format!("selector.{key}"),
                    format!("is one of {}, not `{value}`", words.join(", ")),
                );
            }
        };
        one_of("path", &path, &["app", "model"]);
        one_of("mode", &mode, &MODES);
        let mut endpoints = endpoint::NAMED.to_vec();
        endpoints.extend([endpoint::OTHER, "any"]);
        one_of("endpoint", &endpoint, &endpoints);
        Some(Selector { path, app, mode, endpoint, model, provider, version })
    }

    fn window(&mut self, value: Option<&Value>) -> Option<Window> {
        let Some(value) = value else { return Some(Window::Rolling { days: 30 }) };
        let table = self.table("window", value, &["rolling_days", "calendar"])?;
        match (table.get("rolling_days"), table.get("calendar")) {
            (Some(days), None) => {
                let days = self.number("window.rolling_days", Some(days), 1, MAX_DAYS)?;
                Some(Window::Rolling { days: u32::try_from(days).unwrap_or(30) })
            }
            (None, Some(_)) => {
                let words = Calendar::ALL.map(|each| (each.as_str(), each));
                self.word(table, "window.", "calendar", &words).map(Window::Calendar)
            }
            _ => {
                self.problem("window", "has either `rolling_days` or `calendar`");
                None
            }
        }
    }

    /// What each key allows and both together do not.
    fn together(&mut self, document: &Document) {
        let Document { sli, source, selector, .. } = document;
        let of_model = selector.model.is_some() || selector.provider.is_some();
        let from_dify_only =
            matches!(sli, Sli::QueueWait { .. } | Sli::RetrievalEmptiness | Sli::SchedulePunctuality { .. });
        let is_dify = *source == Source::Dify || from_dify_only;
        let is_model = match selector.path.as_deref() {
            Some(path) => path == "model",
            // As `figures` has it: a model that is named means its calls.
            None => of_model && !is_dify,
        };
        for (key, value) in [("mode", &selector.mode), ("version", &selector.version)] {
            if is_model && value.is_some() {
                self.problem(&format!("selector.{key}"), "is of apps, and the path is `model`");
            }
        }
        if is_dify && selector.endpoint.is_some() {
            self.problem("selector.endpoint", "is what the gateway sees; Dify does not write it down");
        }
        if matches!(sli, Sli::RetrievalEmptiness)
            && let Some(mode @ ("chat" | "agent-chat" | "completion")) = selector.mode.as_deref()
        {
            let message = format!("apps of mode {mode} do not write down what they looked for in vain");
            self.problem("selector.mode", message);
        }
        if *source == Source::Gateway && selector.mode.as_deref() == Some("rag-pipeline") {
            self.problem("source", "runs of pipelines do not come through the gateway; leave `source` out");
        }
        if selector.path.as_deref() == Some("app") && of_model && !is_dify {
            self.problem("selector.model", "model and provider are of the path `model`; leave `path` out");
        }
        if from_dify_only && *source == Source::Gateway {
            self.problem("source", format!("the gateway does not see {}; it is read of Dify", sli.kind()));
        }
        if *source == Source::Dify && matches!(sli, Sli::FirstToken { .. }) {
            self.problem("source", "Dify does not write down when the first token came; the gateway does");
        }
        if is_dify && is_model {
            self.problem("selector.path", "calls of models are seen by the gateway; leave `path` out");
        }
    }

    fn table<'v>(&mut self, path: &str, value: &'v Value, keys: &[&str]) -> Option<&'v Map<String, Value>> {
        let Some(table) = value.as_object() else {
            self.problem(path, format!("is an object with {}", keys.join(", ")));
            return None;
        };
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        for key in table.keys().filter(|key| !keys.contains(&key.as_str())) {
            self.problem(&format!("{prefix}{key}"), format!("is not known; known are {}", keys.join(", ")));
        }
        Some(table)
    }

    fn text(&mut self, table: &Map<String, Value>, prefix: &str, key: &str, most: usize) -> Option<String> {
        let path = format!("{prefix}{key}");
        match table.get(key)? {
            Value::String(text) if text.chars().count() > most => {
                self.problem(&path, format!("is longer than {most} characters"));
                None
            }
            Value::String(text) if text.chars().any(char::is_control) => {
                self.problem(&path, "has control characters in it");
                None
            }
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            _ => {
                self.problem(&path, "is a text");
                None
            }
        }
    }

    fn word<T: Copy>(
        &mut self,
        table: &Map<String, Value>,
        prefix: &str,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let value = table.get(key)?;
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem(&format!("{prefix}{key}"), format!("is one of {}, not {value}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    fn number(&mut self, path: &str, value: Option<&Value>, least: u64, most: u64) -> Option<u64> {
        let number = value.and_then(Value::as_u64).filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let given = value.map_or_else(|| "missing".to_owned(), Value::to_string);
            self.problem(path, format!("is {given}, and must be a whole number from {least} to {most}"));
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_is_told_at_once_with_its_path() {
        let cases = [
            (json!([]), vec![""]),
            (json!({ "name": "lint", "target": 99, "sli": { "kind": "availability" } }), vec!["name"]),
            (json!({}), vec!["name", "sli", "target"]),
            (
                json!({
                    "name": "a b", "target": 100, "sli": { "kind": "latency" }, "window": { "rolling_days": 0 },
                    "selector": { "mode": "wokflow", "colour": "red" }, "alerting": "loud", "sla": 1,
                }),
                vec![
                    "sla",
                    "name",
                    "sli.threshold_ms",
                    "target",
                    "selector.colour",
                    "selector.mode",
                    "alerting",
                    "window.rolling_days",
                ],
            ),
            (
                json!({ "name": "a", "target": 99, "sli": { "kind": "availability", "threshold_ms": 5 } }),
                vec!["sli.threshold_ms"],
            ),
            (
                json!({ "name": "a", "target": 99, "source": "gateway", "sli": { "kind": "queue_wait", "threshold_ms": 5 },
                    "selector": { "path": "model", "mode": "chat" }, "window": { "calendar": "month" } }),
                vec!["selector.mode", "source", "selector.path"],
            ),
            (
                json!({ "name": "a", "target": 99, "sli": { "kind": "retrieval_emptiness" },
                    "selector": { "path": "model", "mode": "chat", "endpoint": "workflows/run" } }),
                vec!["selector.mode", "selector.endpoint", "selector.mode", "selector.path"],
            ),
            (
                json!({ "name": "a", "target": 99, "sli": { "kind": "availability" },
                    "selector": { "provider": "openai", "mode": "chat", "version": "2" } }),
                vec!["selector.mode", "selector.version"],
            ),
            (
                json!({ "name": "a", "target": 99, "sli": { "kind": "availability" }, "source": "gateway",
                    "selector": { "mode": "rag-pipeline" } }),
                vec!["source"],
            ),
            (
                json!({ "name": "a", "target": "99", "sli": { "kind": "speed" }, "window": {}, "owner": 7 }),
                vec!["sli.kind", "target", "window", "owner"],
            ),
        ];
        for (value, expected) in cases {
            let problems = document(&value).unwrap_err();
            let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
            assert_eq!(paths, expected, "{value}: {problems:?}");
        }
    }

    #[test]
    fn a_document_is_read_back_as_it_was_written() {
        for document in super::super::defaults::documents() {
            assert_eq!(super::document(&document.json()).as_ref(), Ok(&document), "{}", document.json());
        }
    }
}
