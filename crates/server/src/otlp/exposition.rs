//! From our own OpenMetrics text to metrics of OTLP, so that both tell the same under the same names.

use std::collections::BTreeMap;

use mainstay_base::Micros;
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
        metric::Data, number_data_point::Value,
    },
};

use super::{genai::nanos, send::text};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family as it is read, until the next begins.
struct Family {
    name: String,
    about: String,
    kind: Kind,
    points: Vec<NumberDataPoint>,
    histograms: BTreeMap<String, Parts>,
}

/// One histogram: cumulative counts by bound.
#[derive(Default)]
struct Parts {
    labels: Vec<(String, String)>,
    bounds: Vec<f64>,
    below: Vec<u64>,
    sum: f64,
    count: u64,
}

/// Counters and histograms are cumulative since `since`.
pub(super) fn metrics(exposition: &str, since: Micros, now: Micros) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let mut family: Option<Family> = None;
    let mut about = String::new();
    for line in exposition.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            about = help.split_once(' ').map_or("", |(_, about)| about).to_owned();
        } else if let Some(declared) = line.strip_prefix("# TYPE ") {
            metrics.extend(family.take().map(|family| family.metric(since, now)));
            family = declare(declared, std::mem::take(&mut about));
        } else if !line.starts_with('#')
            && let (Some(family), Some(sample)) = (&mut family, Sample::read(line))
        {
            family.take(sample, since, now);
        }
    }
    metrics.extend(family.map(|family| family.metric(since, now)));
    metrics.retain(has_points);
    metrics
}

/// `NAME KIND`; kinds that we do not export are passed over. The help of a family comes before its kind.
fn declare(declared: &str, about: String) -> Option<Family> {
    let (name, kind) = declared.split_once(' ')?;
    let kind = match kind {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        _ => return None,
    };
    Some(Family { name: name.to_owned(), about, kind, points: Vec::new(), histograms: BTreeMap::new() })
}

impl Family {
    fn take(&mut self, sample: Sample, since: Micros, now: Micros) {
        if self.kind != Kind::Histogram {
            let start_time_unix_nano = if self.kind == Kind::Counter { nanos(since) } else { 0 };
            self.points.push(NumberDataPoint {
                attributes: attributes(&sample.labels),
                start_time_unix_nano,
                time_unix_nano: nanos(now),
                value: Some(Value::AsDouble(sample.value)),
                ..NumberDataPoint::default()
            });
            return;
        }
        let Sample { name, mut labels, value } = sample;
        let bound = labels.iter().position(|(name, _)| name == "le").map(|index| labels.remove(index).1);
        let parts = self.histograms.entry(format!("{labels:?}")).or_default();
        parts.labels = labels;
        match (name.strip_prefix(&self.name), bound) {
            (Some("_bucket"), Some(bound)) => {
                parts.below.push(value as u64);
                parts.bounds.extend(bound.parse::<f64>().ok().filter(|bound| bound.is_finite()));
            }
            (Some("_sum"), _) => parts.sum = value,
            (Some("_count"), _) => parts.count = value as u64,
            _ => {}
        }
    }

    fn metric(self, since: Micros, now: Micros) -> Metric {
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        let data = match self.kind {
            Kind::Gauge => Data::Gauge(Gauge { data_points: self.points }),
            Kind::Counter => {
                Data::Sum(Sum { data_points: self.points, aggregation_temporality, is_monotonic: true })
            }
            Kind::Histogram => {
                let data_points =
                    self.histograms.into_values().map(|parts| parts.point(since, now)).collect();
                Data::Histogram(Histogram { data_points, aggregation_temporality })
            }
        };
        Metric { name: self.name, description: self.about, data: Some(data), ..Metric::default() }
    }
}

impl Parts {
    fn point(self, since: Micros, now: Micros) -> HistogramDataPoint {
        let before = std::iter::once(0).chain(self.below.iter().copied());
        let counts = self.below.iter().zip(before).map(|(below, before)| below.saturating_sub(before));
        HistogramDataPoint {
            attributes: attributes(&self.labels),
            start_time_unix_nano: nanos(since),
            time_unix_nano: nanos(now),
            count: self.count,
            sum: Some(self.sum),
            bucket_counts: counts.collect(),
            explicit_bounds: self.bounds,
            ..HistogramDataPoint::default()
        }
    }
}

fn attributes(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| text(name, value)).collect()
}

fn has_points(metric: &Metric) -> bool {
    match &metric.data {
        Some(Data::Gauge(gauge)) => !gauge.data_points.is_empty(),
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        _ => false,
    }
}

/// `NAME{LABEL="VALUE",…} NUMBER`
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn read(line: &str) -> Option<Sample> {
        let name_ends = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(name_ends);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        // What is not known now has no number.
        let value = rest.split_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())?;
        Some(Sample { name: name.to_owned(), labels, value })
    }
}

/// The labels, and what follows their closing brace.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        labels.push((name.to_owned(), value));
        rest = after;
    }
}

/// Up to the closing quote, with `\\`, `\"` and `\n` as what they stand for.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}
