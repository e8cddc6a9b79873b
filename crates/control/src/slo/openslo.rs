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
const OUR_ANNOTATIONS: [(&str, &str); 2] = [("owner", "mainstay/owner"), ("alerting", "mainstay/alerting")];
const RATIO: &str = "spec.indicator.spec.ratioMetric";
const GOOD: &str = "spec.indicator.spec.ratioMetric.good";
const WINDOW: &str = "spec.timeWindow[0]";

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
        let (value, found) = one(document);
        read.push(value);
        problems.extend(found.into_iter().map(|Problem { path, message }| Problem {
            path: if several { format!("[{index}].{path}").trim_end_matches('.').to_owned() } else { path },
            message,
        }));
    }
    if documents.is_empty() {
        problems.push(problem(String::new(), "there is no document in it".to_owned()));
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// A document in our own form, and all that is wrong with it, by the keys of the form in which it was written.
fn one(document: &Value) -> (Value, Vec<Problem>) {
    if document.get("apiVersion").is_none() {
        return (document.clone(), super::document(document).err().unwrap_or_default());
    }
    let mut reader = Reader::default();
    let value = reader.slo(document);
    let Some(value) = value else { return (Value::Null, reader.problems) };
    for Problem { path, message } in super::document(&value).err().unwrap_or_default() {
        let key = path.split('.').next().unwrap_or_default();
        let (part, place) = match key {
            "name" => ("metadata.name", "metadata.name".to_owned()),
            "owner" | "alerting" => ("metadata.annotations", format!("metadata.annotations.mainstay/{key}")),
            "target" => ("spec.objectives", "spec.objectives[0].target".to_owned()),
            "window" => ("spec.timeWindow", format!("{WINDOW}.duration")),
            "sli" | "source" | "selector" => ("spec.indicator", format!("{GOOD}.metricSource.spec.{path}")),
            _ => ("spec", format!("spec.{path}")),
        };
        // A part that could not be read has been named.
        let is_named = reader.problems.iter().any(|known| known.path.starts_with(part));
        if value.get(key).is_some() || !is_named {
            reader.problem(&place, message);
        }
    }
    (value, reader.problems)
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

    /// What can be read of it in our own form; parts that cannot are left out, and named.
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
        let (metadata, spec) = (&value["metadata"], &value["spec"]);
        self.metadata(metadata);
        self.what_is_not_kept(spec);
        let mut document = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                document.insert(key.to_owned(), value);
            }
        };
        put("name", metadata.get("name").cloned());
        put("description", spec.get("description").cloned());
        put("target", self.target(&spec["objectives"]));
        put("window", self.window(&spec["timeWindow"]));
        for (key, value) in self.indicator(&spec["indicator"]) {
            put(&key, Some(value));
        }
        for (key, name) in OUR_ANNOTATIONS {
            put(key, metadata["annotations"].get(name).cloned().filter(|value| !value.is_null()));
        }
        Some(Value::Object(document))
    }

    fn metadata(&mut self, metadata: &Value) {
        self.only(metadata, "metadata", &["name", "displayName", "annotations", "labels"]);
        if !is_empty(&metadata["labels"]) {
            self.problem("metadata.labels", "cannot be kept; `mainstay/owner` in the annotations is");
        }
        if !is_empty(&metadata["displayName"]) {
            self.problem("metadata.displayName", "cannot be kept; `spec.description` is");
        }
        if !is_empty(&metadata["annotations"]) {
            let ours = OUR_ANNOTATIONS.map(|(_, name)| name);
            self.only(&metadata["annotations"], "metadata.annotations", &ours);
        }
    }

    fn what_is_not_kept(&mut self, spec: &Value) {
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
        if !is_empty(&spec["alertPolicies"]) {
            self.problem(
                "spec.alertPolicies",
                "cannot be kept: who pages is chosen by each objective's own history",
            );
        }
        match &spec["budgetingMethod"] {
            Value::Null => {}
            Value::String(method) if method == "Occurrences" => {}
            other => {
                self.problem("spec.budgetingMethod", format!("{other} cannot be kept; Occurrences can"));
            }
        }
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
        self.only(window, WINDOW, &["duration", "isRolling", "calendar"]);
        let text = window["duration"].as_str().unwrap_or_default();
        let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        // One that is too long for a number is too long for a window.
        let (number, unit) = (text[..split].parse::<u64>().unwrap_or(u64::MAX), &text[split..]);
        match window["isRolling"].as_bool() {
            Some(true) => self.rolling(text, number, unit),
            Some(false) => self.calendar(&window["calendar"], text, number, unit),
            None => {
                self.problem(&format!("{WINDOW}.isRolling"), "is true or false");
                None
            }
        }
    }

    fn rolling(&mut self, text: &str, number: u64, unit: &str) -> Option<Value> {
        let days = match unit {
            "d" => Some(number),
            "w" => Some(number.saturating_mul(7)),
            _ => None,
        };
        if days.is_none() {
            let message = format!("`{text}` is not in days (30d) or weeks (4w)");
            self.problem(&format!("{WINDOW}.duration"), message);
        }
        days.map(|days| json!({ "rolling_days": days }))
    }

    fn calendar(&mut self, calendar: &Value, text: &str, number: u64, unit: &str) -> Option<Value> {
        let period = match (number, unit) {
            (1, "w") | (7, "d") => Some(Calendar::Week),
            (1, "M") => Some(Calendar::Month),
            (1, "Q") | (3, "M") => Some(Calendar::Quarter),
            _ => None,
        };
        if period.is_none() {
            let message = format!("`{text}` of a calendar is 1w, 1M or 1Q");
            self.problem(&format!("{WINDOW}.duration"), message);
        }
        if !calendar.is_null() {
            let path = format!("{WINDOW}.calendar");
            self.only(calendar, &path, &["startTime", "timeZone"]);
            let zone = calendar["timeZone"].as_str().unwrap_or("UTC");
            if zone != "UTC" {
                self.problem(&format!("{path}.timeZone"), format!("`{zone}` cannot be kept; UTC can"));
            }
            if let (Some(start), Some(period)) = (calendar.get("startTime"), period)
                && !start.as_str().is_some_and(|start| begins(period, start))
            {
                let message = format!("{start} is not when a {} begins; leave it out", period.as_str());
                self.problem(&format!("{path}.startTime"), message);
            }
        }
        period.map(|period| json!({ "calendar": period.as_str() }))
    }

    /// `sli`, `source` and `selector`.
    fn indicator(&mut self, indicator: &Value) -> Vec<(String, Value)> {
        let spec = &indicator["spec"];
        if spec.get("thresholdMetric").is_some() {
            self.problem(
                "spec.indicator.spec.thresholdMetric",
                "cannot be kept; a ratioMetric of type mainstay can",
            );
            return Vec::new();
        }
        let ratio = &spec["ratioMetric"];
        for part in ["good", "total", "bad", "raw"] {
            self.metric(part, ratio.get(part));
        }
        let (good, total) = (&ratio["good"]["metricSource"]["spec"], &ratio["total"]["metricSource"]["spec"]);
        let keys = ["sli", "source", "selector"];
        if keys.iter().any(|key| good[key] != total[key]) {
            self.problem(&format!("{RATIO}.total.metricSource.spec"), "is about something else than good is");
        }
        keys.into_iter().filter_map(|key| Some((key.to_owned(), good.get(key)?.clone()))).collect()
    }

    fn metric(&mut self, part: &str, metric: Option<&Value>) {
        let path = format!("{RATIO}.{part}");
        let is_needed = matches!(part, "good" | "total");
        match metric {
            None if is_needed => self.problem(&path, "is missing"),
            None => {}
            Some(_) if !is_needed => self.problem(&path, "cannot be kept; good and total can"),
            Some(metric) if metric["metricSource"]["type"] == OURS => {
                let path = format!("{path}.metricSource.spec");
                self.only(&metric["metricSource"]["spec"], &path, &["count", "sli", "source", "selector"]);
            }
            Some(metric) => {
                let other = metric["metricSource"]["type"].as_str().unwrap_or("none");
                self.problem(
                    &format!("{path}.metricSource.type"),
                    format!("`{other}` cannot be asked; Mainstay counts by itself: write type mainstay with sli and selector"),
                );
            }
        }
    }

    fn only(&mut self, value: &Value, path: &str, keys: &[&str]) {
        let table = match value {
            Value::Object(table) => table,
            Value::Null => return self.problem(path, "is missing"),
            _ => return self.problem(path, format!("is an object with {}", keys.join(", "))),
        };
        for key in table.keys().filter(|key| !keys.contains(&key.as_str())) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.problem(&path, "cannot be kept");
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Whether a period of ours begins then: `2026-01-01 00:00:00`.
fn begins(period: Calendar, start: &str) -> bool {
    let start = start.trim_end_matches('Z').replace(' ', "T");
    let Ok(at) = start.parse::<jiff::civil::DateTime>() else { return false };
    let date = at.date();
    at.time() == jiff::civil::Time::midnight()
        && match period {
            Calendar::Week => date.weekday() == jiff::civil::Weekday::Monday,
            Calendar::Month => date.day() == 1,
            Calendar::Quarter => date.day() == 1 && date.month() % 3 == 1,
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
                "[0].spec.indicator.spec.ratioMetric.total.metricSource.spec",
                "[1].kind",
            ],
            "{problems:?}"
        );
    }

    /// An SLO with these pairs put over one that is right.
    fn problems_of(changed: &[(&str, Value)]) -> Vec<String> {
        let mut value = slo(&defaults::documents()[0]);
        for (pointer, part) in changed {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = value.pointer_mut(parent).unwrap();
            match part {
                Value::Null => drop(parent.as_object_mut().unwrap().remove(key)),
                part => parent[key] = part.clone(),
            }
        }
        let problems = read(&yaml::write(&[value])).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_by_the_keys_of_openslo() {
        /// What is changed in a document, and the paths that are told.
        type Case<'a> = (Vec<(&'a str, Value)>, &'a [&'a str]);

        let window = |window: Value| ("/spec/timeWindow", json!([window]));
        let calendar = |start: &str| {
            window(json!({ "duration": "1M", "isRolling": false, "calendar": { "startTime": start } }))
        };
        let sli = "/spec/indicator/spec/ratioMetric/good/metricSource/spec/sli";
        let cases: [Case<'_>; 10] = [
            (vec![], &[]),
            (
                vec![
                    ("/metadata/name", json!("two words")),
                    ("/metadata/displayName", json!("Two words")),
                    ("/metadata/annotations", json!({ "team": "x", "mainstay/alerting": 3 })),
                    ("/spec/description", json!(7)),
                    ("/spec/objectives", json!([{ "targetPercent": 200, "op": "lt" }])),
                    window(json!({ "duration": "0d", "isRolling": true })),
                    (sli, json!({ "kind": "speed" })),
                ],
                &[
                    "metadata.displayName",
                    "metadata.annotations.team",
                    "spec.objectives[0].op",
                    "spec.indicator.spec.ratioMetric.total.metricSource.spec",
                    "metadata.name",
                    "spec.indicator.spec.ratioMetric.good.metricSource.spec.sli.kind",
                    "spec.objectives[0].target",
                    "metadata.annotations.mainstay/alerting",
                    "spec.timeWindow[0].duration",
                    "spec.description",
                ],
            ),
            (vec![("/metadata/name", Value::Null)], &["metadata.name"]),
            (vec![("/spec/objectives", json!([]))], &["spec.objectives"]),
            // Longer than any number, and, times seven, longer than 64 bits.
            (
                vec![window(json!({ "duration": format!("{}d", "9".repeat(30)), "isRolling": true }))],
                &["spec.timeWindow[0].duration"],
            ),
            (
                vec![window(json!({ "duration": "9999999999999999999w", "isRolling": true }))],
                &["spec.timeWindow[0].duration"],
            ),
            (vec![window(json!({ "duration": "30d" }))], &["spec.timeWindow[0].isRolling"]),
            (vec![calendar("2026-02-01 00:00:00")], &[]),
            (vec![calendar("2026-02-15 00:00:00")], &["spec.timeWindow[0].calendar.startTime"]),
            (
                vec![("/spec/indicator", json!({ "spec": { "thresholdMetric": {} } }))],
                &["spec.indicator.spec.thresholdMetric"],
            ),
        ];
        for (changed, expected) in cases {
            assert_eq!(problems_of(&changed), expected, "{changed:?}");
        }
    }

    #[test]
    fn problems_of_both_forms_are_told_together() {
        let text = "apiVersion: openslo/v1\nkind: Service\n---\nname: a\ntarget: 100\nsli: {kind: availability}\n---\ntext\n";
        let problems = read(text).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["[0].kind", "[1].target", "[2]"]);
    }

    #[test]
    fn our_own_form_is_read_too() {
        let text = "name: a\ntarget: 99\nsli: {kind: availability}\nselector: {mode: chat}\n";
        let [value] = &read(text).unwrap()[..] else { panic!("one") };
        assert_eq!(document(value).unwrap().selector.mode.as_deref(), Some("chat"));
        assert!(read("").is_err());
    }
}
