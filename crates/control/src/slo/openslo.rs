//! OpenSLO (v1) in and out. What cannot be kept is refused and named; what this writes is read back as it was.

use mainstay_wire::yaml;
use serde_json::{Map, Value, json};

use super::{
    document::{Calendar, Document, Window},
    read::Problem,
};

const VERSION: &str = "openslo/v1";
/// Our own part of a document's annotations.
const OURS: &str = "mainstay";

/// The documents of a text, OpenSLO's or our own, YAML or JSON, as values for [`super::document`].
pub fn read(text: &str) -> Result<Vec<Value>, Vec<Problem>> {
    let problem = |path: String, message: String| Problem { path, message };
    let documents = yaml::documents(text).map_err(|why| vec![problem(String::new(), why)])?;
    let documents: Vec<Value> = documents
        .into_iter()
        .flat_map(|document| match document {
            Value::Array(list) => list,
            one => vec![one],
        })
        .collect();
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    let several = documents.len() > 1;
    for (index, document) in documents.iter().enumerate() {
        if document.get("apiVersion").is_none() {
            read.push(document.clone());
            continue;
        }
        let mut reader = Reader::default();
        if let Some(value) = reader.slo(document) {
            read.push(value);
        }
        problems.extend(reader.problems.into_iter().map(|Problem { path, message }| Problem {
            path: if several { format!("[{index}].{path}") } else { path },
            message,
        }));
    }
    if documents.is_empty() {
        problems.push(problem(String::new(), "there is no document in it".to_owned()));
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// As OpenSLO, in YAML.
pub fn write(documents: &[Document]) -> String {
    yaml::write(&documents.iter().map(slo).collect::<Vec<_>>())
}

fn slo(document: &Document) -> Value {
    let own = document.json();
    let window = match document.window {
        Window::Rolling { days } => json!({ "duration": format!("{days}d"), "isRolling": true }),
        Window::Calendar(calendar) => json!({
            "duration": match calendar { Calendar::Week => "1w", Calendar::Month => "1M", Calendar::Quarter => "1Q" },
            "isRolling": false,
            // A Monday, and the first of a month and of a quarter.
            "calendar": { "startTime": if calendar == Calendar::Week { "2024-01-01 00:00:00" } else { "2026-01-01 00:00:00" }, "timeZone": "UTC" },
        }),
    };
    let source = |what: &str| {
        json!({ "metricSource": { "type": OURS, "spec": {
            "count": what, "sli": own["sli"], "source": own["source"], "selector": own["selector"],
        } } })
    };
    json!({
        "apiVersion": VERSION,
        "kind": "SLO",
        "metadata": {
            "name": document.name,
            "annotations": { "mainstay/owner": document.owner, "mainstay/alerting": document.alerting.as_str() },
        },
        "spec": {
            "description": document.description,
            "service": document.selector.app.as_deref().unwrap_or("dify"),
            "indicator": {
                "metadata": { "name": format!("{}-indicator", document.name) },
                "spec": { "ratioMetric": { "counter": true, "good": source("good"), "total": source("total") } },
            },
            "timeWindow": [window],
            "budgetingMethod": "Occurrences",
            "objectives": [{ "displayName": document.sli.words(), "targetPercent": document.target }],
        },
    })
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), message: message.into() });
    }

    fn slo(&mut self, value: &Value) -> Option<Value> {
        let version = value["apiVersion"].as_str().unwrap_or_default();
        if version != VERSION {
            self.problem("apiVersion", format!("is `{version}`; {VERSION} is read"));
        }
        let kind = value["kind"].as_str().unwrap_or_default();
        if kind != "SLO" {
            self.problem("kind", format!("`{kind}` cannot be kept; only SLO is"));
            return None;
        }
        self.only(value, "", &["apiVersion", "kind", "metadata", "spec"]);
        self.only(&value["metadata"], "metadata", &["name", "displayName", "annotations", "labels"]);
        let (metadata, spec) = (&value["metadata"], &value["spec"]);
        if metadata.get("labels").and_then(Value::as_object).is_some_and(|labels| !labels.is_empty()) {
            self.problem("metadata.labels", "cannot be kept; `mainstay/owner` in the annotations is");
        }
        self.only(
            spec,
            "spec",
            &[
                "description",
                "service",
                "indicator",
                "timeWindow",
                "budgetingMethod",
                "objectives",
                "indicatorRef",
                "alertPolicies",
            ],
        );
        if spec.get("indicatorRef").is_some() {
            self.problem("spec.indicatorRef", "cannot be followed; write the indicator in its place");
        }
        if spec["alertPolicies"].as_array().is_some_and(|policies| !policies.is_empty()) {
            self.problem(
                "spec.alertPolicies",
                "cannot be kept: who pages is chosen by each objective's own history",
            );
        }
        match spec["budgetingMethod"].as_str() {
            None | Some("Occurrences") => {}
            Some(other) => {
                self.problem("spec.budgetingMethod", format!("`{other}` cannot be kept; Occurrences can"));
            }
        }
        let target = self.target(&spec["objectives"]);
        let window = self.window(&spec["timeWindow"]);
        let own = self.indicator(&spec["indicator"]);
        let annotation =
            |name: &str| metadata["annotations"].get(name).cloned().filter(|value| !value.is_null());
        let mut document = Map::new();
        document.insert("name".to_owned(), metadata["name"].clone());
        document.insert("description".to_owned(), spec["description"].as_str().unwrap_or_default().into());
        document.insert("target".to_owned(), target?);
        document.insert("window".to_owned(), window?);
        for (key, value) in own? {
            document.insert(key, value);
        }
        for (key, name) in [("owner", "mainstay/owner"), ("alerting", "mainstay/alerting")] {
            if let Some(value) = annotation(name) {
                document.insert(key.to_owned(), value);
            }
        }
        Some(Value::Object(document))
    }

    fn target(&mut self, objectives: &Value) -> Option<Value> {
        let Some([objective]) = objectives.as_array().map(Vec::as_slice) else {
            self.problem("spec.objectives", "has exactly one objective here; write one SLO for each");
            return None;
        };
        self.only(objective, "spec.objectives[0]", &["displayName", "target", "targetPercent"]);
        let percent = objective["targetPercent"].as_f64();
        // As written: 0.999 is 99.9 and not 99.90000000000001.
        let of_share = objective["target"].as_f64().map(|share| (share * 1e8).round() / 1e6);
        let target = percent.or(of_share);
        if target.is_none() {
            self.problem("spec.objectives[0].target", "is missing");
        }
        target.map(Value::from)
    }

    fn window(&mut self, windows: &Value) -> Option<Value> {
        let Some([window]) = windows.as_array().map(Vec::as_slice) else {
            self.problem("spec.timeWindow", "has exactly one window");
            return None;
        };
        let text = window["duration"].as_str().unwrap_or_default();
        let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (text[..split].parse::<u64>().unwrap_or(0), &text[split..]);
        let days = match unit {
            "d" => Some(number),
            "w" => Some(number * 7),
            _ => None,
        };
        if window["isRolling"].as_bool() == Some(true) {
            if days.is_none() {
                self.problem(
                    "spec.timeWindow[0].duration",
                    format!("`{text}` is not in days (30d) or weeks (4w)"),
                );
            }
            return days.map(|days| json!({ "rolling_days": days }));
        }
        let zone = window["calendar"]["timeZone"].as_str().unwrap_or("UTC");
        if zone != "UTC" {
            self.problem("spec.timeWindow[0].calendar.timeZone", format!("`{zone}` cannot be kept; UTC can"));
        }
        match (number, unit) {
            (1, "w") | (7, "d") => Some(json!({ "calendar": "week" })),
            (1, "M") => Some(json!({ "calendar": "month" })),
            (1, "Q") | (3, "M") => Some(json!({ "calendar": "quarter" })),
            _ => {
                self.problem(
                    "spec.timeWindow[0].duration",
                    format!("`{text}` of a calendar is 1w, 1M or 1Q"),
                );
                None
            }
        }
    }

    /// `sli`, `source` and `selector`.
    fn indicator(&mut self, indicator: &Value) -> Option<Vec<(String, Value)>> {
        let spec = &indicator["spec"];
        if spec.get("thresholdMetric").is_some() {
            self.problem(
                "spec.indicator.spec.thresholdMetric",
                "cannot be kept; a ratioMetric of type mainstay can",
            );
            return None;
        }
        let ratio = &spec["ratioMetric"];
        for part in ["good", "total", "bad", "raw"] {
            let source = &ratio[part]["metricSource"];
            let path = format!("spec.indicator.spec.ratioMetric.{part}");
            match (part, ratio.get(part).is_some(), source["type"].as_str()) {
                ("good" | "total", false, _) => self.problem(&path, "is missing"),
                ("good" | "total", true, Some(OURS)) | (_, false, _) => {}
                ("good" | "total", true, other) => {
                    let other = other.unwrap_or("none");
                    self.problem(
                        &format!("{path}.metricSource.type"),
                        format!("`{other}` cannot be asked; Mainstay counts by itself: write type mainstay with sli and selector"),
                    );
                }
                _ => self.problem(&path, "cannot be kept; good and total can"),
            }
        }
        let (good, total) = (&ratio["good"]["metricSource"]["spec"], &ratio["total"]["metricSource"]["spec"]);
        let keys = ["sli", "source", "selector"];
        if keys.iter().any(|key| good[key] != total[key]) {
            self.problem(
                "spec.indicator.spec.ratioMetric.total.metricSource.spec",
                "is about something else than good is",
            );
        }
        let own = keys.into_iter().filter_map(|key| Some((key.to_owned(), good.get(key)?.clone())));
        self.problems.is_empty().then(|| own.collect())
    }

    fn only(&mut self, value: &Value, path: &str, keys: &[&str]) {
        let Some(table) = value.as_object() else {
            return self.problem(path, "is missing");
        };
        for key in table.keys().filter(|key| !keys.contains(&key.as_str())) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.problem(&path, "cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::{defaults, document};

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let mut all = defaults::documents();
        for (one, calendar) in all.iter_mut().zip(Calendar::ALL) {
            one.window = Window::Calendar(calendar);
            one.owner = "ann: \"the first\"".to_owned();
        }
        let text = write(&all);
        let read: Vec<Document> = read(&text).unwrap().iter().map(|value| document(value).unwrap()).collect();
        assert_eq!(read, all);
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let text = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a, labels: {team: x}}\nspec:\n  service: s\n  \
            indicatorRef: i\n  budgetingMethod: Timeslices\n  alertPolicies: [p]\n  timeWindow: [{duration: 1y, isRolling: true}]\n  \
            objectives: [{target: 0.99, timeSliceTarget: 0.9}]\n  indicator: {spec: {ratioMetric: {good: {metricSource: \
            {type: Prometheus, spec: {query: q}}}, total: {metricSource: {type: mainstay}}}}}\n---\napiVersion: openslo/v1\nkind: AlertPolicy\n";
        let problems = read(text).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "[0].metadata.labels",
                "[0].spec.indicatorRef",
                "[0].spec.alertPolicies",
                "[0].spec.budgetingMethod",
                "[0].spec.objectives[0].timeSliceTarget",
                "[0].spec.timeWindow[0].duration",
                "[0].spec.indicator.spec.ratioMetric.good.metricSource.type",
                "[1].kind",
            ],
            "{problems:?}"
        );
    }

    #[test]
    fn our_own_form_is_read_too() {
        let text = "name: a\ntarget: 99\nsli: {kind: availability}\nselector: {mode: chat}\n";
        let [value] = &read(text).unwrap()[..] else { panic!("one") };
        assert_eq!(document(value).unwrap().selector.mode.as_deref(), Some("chat"));
        assert!(read("").is_err());
    }
}
