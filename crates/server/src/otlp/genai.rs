//! The histograms of the conventions for generative AI (v1.37), of every attempt at a model since the start.

use std::collections::HashMap;

use mainstay_base::{
    Micros, Record,
    record::{Attempt, Path},
    snapshot::{Dialect, Provider, Snapshot},
};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{AggregationTemporality, Histogram, HistogramDataPoint, Metric, metric::Data},
};

use super::send::text;

/// Combinations of provider, model, operation and error that are told apart; the others are counted as `other`.
const MAX_SERIES: usize = 500;
const OTHER: &str = "other";
/// As the conventions ask for: seconds, and tokens.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

const DURATION: &str = "gen_ai.client.operation.duration";
const USAGE: &str = "gen_ai.client.token.usage";
const FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels {
    operation: &'static str,
    provider: &'static str,
    model: String,
    error: Option<&'static str>,
}

#[derive(Clone, Debug, Default)]
struct Series {
    duration: Buckets,
    input: Buckets,
    output: Buckets,
    first_token: Buckets,
}

#[derive(Clone, Debug, Default)]
struct Buckets {
    /// One more than there are bounds: the last has what is above all.
    counts: [u64; SECONDS.len() + 1],
    sum: f64,
}

impl Buckets {
    fn add(&mut self, value: f64, bounds: &[f64; SECONDS.len()]) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum += value;
    }

    fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

pub(super) struct GenAi {
    since: Micros,
    providers: Providers,
    series: HashMap<Labels, Series>,
}

impl GenAi {
    pub(super) fn new(since: Micros) -> GenAi {
        GenAi { since, providers: Providers::default(), series: HashMap::new() }
    }

    pub(super) fn observe(&mut self, record: &Record, snapshot: &Snapshot) {
        if record.path != Path::Model {
            return;
        }
        if self.providers.generation != Some(snapshot.generation) {
            self.providers = Providers::of(snapshot);
        }
        let operation = operation(&record.target);
        for attempt in &record.attempts {
            let labels = Labels {
                operation,
                provider: self.providers.name(&attempt.upstream),
                model: attempt.model.as_ref().or(record.model.as_ref()).cloned().unwrap_or_default(),
                error: attempt.class.map(|class| class.as_str()),
            };
            self.series(labels).add(attempt);
        }
    }

    fn series(&mut self, labels: Labels) -> &mut Series {
        let is_known = self.series.contains_key(&labels) || self.series.len() < MAX_SERIES;
        let labels =
            if is_known { labels } else { Labels { model: OTHER.to_owned(), error: None, ..labels } };
        self.series.entry(labels).or_default()
    }

    /// Counted from the start on, as of now.
    pub(super) fn metrics(&self, now: Micros) -> Vec<Metric> {
        vec![
            self.histogram(DURATION, "s", now, |series| vec![Part::of(&series.duration, &SECONDS)]),
            self.histogram(USAGE, "{token}", now, |series| {
                vec![
                    Part { token_type: Some("input"), ..Part::of(&series.input, &TOKENS) },
                    Part { token_type: Some("output"), ..Part::of(&series.output, &TOKENS) },
                ]
            }),
            self.histogram(FIRST_TOKEN, "s", now, |series| vec![Part::of(&series.first_token, &SECONDS)]),
        ]
    }

    fn histogram(&self, name: &str, unit: &str, now: Micros, parts: fn(&Series) -> Vec<Part<'_>>) -> Metric {
        let mut data_points = Vec::new();
        for (labels, series) in &self.series {
            let parts = parts(series).into_iter().filter(|part| part.buckets.count() > 0);
            data_points.extend(parts.map(|part| self.point(labels, &part, now)));
        }
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        let data = Some(Data::Histogram(Histogram { data_points, aggregation_temporality }));
        Metric { name: name.to_owned(), unit: unit.to_owned(), data, ..Metric::default() }
    }

    fn point(&self, labels: &Labels, part: &Part<'_>, now: Micros) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: attributes(labels, part.token_type),
            start_time_unix_nano: nanos(self.since),
            time_unix_nano: nanos(now),
            count: part.buckets.count(),
            sum: Some(part.buckets.sum),
            bucket_counts: part.buckets.counts.to_vec(),
            explicit_bounds: part.bounds.to_vec(),
            ..HistogramDataPoint::default()
        }
    }
}

/// What one data point is made of.
struct Part<'a> {
    token_type: Option<&'static str>,
    buckets: &'a Buckets,
    bounds: &'static [f64],
}

impl<'a> Part<'a> {
    fn of(buckets: &'a Buckets, bounds: &'static [f64]) -> Part<'a> {
        Part { token_type: None, buckets, bounds }
    }
}

impl Series {
    fn add(&mut self, attempt: &Attempt) {
        self.duration.add(attempt.took_us as f64 / 1e6, &SECONDS);
        if let Some(us) = attempt.first_token_us {
            self.first_token.add(us as f64 / 1e6, &SECONDS);
        }
        if let Some(tokens) = attempt.input_tokens {
            self.input.add(tokens as f64, &TOKENS);
        }
        if let Some(tokens) = attempt.output_tokens {
            self.output.add(tokens as f64, &TOKENS);
        }
    }
}

fn attributes(labels: &Labels, token_type: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("gen_ai.operation.name", labels.operation),
        text("gen_ai.provider.name", labels.provider),
        text("gen_ai.request.model", &labels.model),
    ];
    attributes.extend(labels.error.map(|error| text("error.type", error)));
    attributes.extend(token_type.map(|token_type| text("gen_ai.token.type", token_type)));
    attributes
}

pub(super) fn nanos(at: Micros) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_mul(1000)
}

/// The conventions' word for what a path of the model listener asks for; where they have none, ours.
pub(super) fn operation(target: &str) -> &'static str {
    let words = [
        ("/chat/completions", "chat"),
        ("/responses", "chat"),
        ("/completions", "text_completion"),
        ("/embeddings", "embeddings"),
        ("/rerank", "rerank"),
        ("/moderations", "moderations"),
    ];
    let found = words.into_iter().find(|(path, _)| target.ends_with(path));
    match found {
        Some((_, word)) => word,
        None if target.contains("/images/") => "image_generation",
        None if target.contains("/audio/") => "audio",
        None => OTHER,
    }
}

/// The conventions' names of whoever stands behind the configured providers.
#[derive(Debug, Default)]
pub(super) struct Providers {
    /// Of the snapshot they are from.
    generation: Option<u64>,
    names: HashMap<String, &'static str>,
}

impl Providers {
    pub(super) fn of(snapshot: &Snapshot) -> Providers {
        let routed =
            snapshot.model.models.values().flat_map(|model| &model.targets).map(|target| &target.provider);
        let all = routed.chain(&snapshot.model.other_models_to);
        let names = all.map(|provider| (provider.name.clone(), name_of(provider))).collect();
        Providers { generation: Some(snapshot.generation), names }
    }

    pub(super) fn name(&self, provider: &str) -> &'static str {
        self.names.get(provider).copied().unwrap_or(OTHER)
    }
}

/// By its address where that is known, else by the dialect it speaks.
fn name_of(provider: &Provider) -> &'static str {
    let hosts = [
        ("deepseek.com", "deepseek"),
        ("groq.com", "groq"),
        ("mistral.ai", "mistral_ai"),
        ("perplexity.ai", "perplexity"),
        ("x.ai", "x_ai"),
    ];
    let authority = provider.base_url.split('/').nth(2).unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    let is_of = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    match &provider.dialect {
        Dialect::OpenAi => {
            hosts.into_iter().find(|(domain, _)| is_of(domain)).map_or("openai", |(_, name)| name)
        }
        Dialect::Azure { .. } => "azure.ai.openai",
        Dialect::Anthropic => "anthropic",
        Dialect::Gemini => "gcp.gemini",
        Dialect::Bedrock { .. } => "aws.bedrock",
        Dialect::Cohere => "cohere",
    }
}
