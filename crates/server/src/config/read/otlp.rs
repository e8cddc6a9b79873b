//! Where traces and metrics are sent: `[otlp]`.

use std::time::Duration;

use super::{http_url, named};
use crate::config::{
    Otlp,
    reader::Reader,
    secrets::{self, Follow},
};

const SERVICE: &str = "mainstay";
const EVERY: Duration = Duration::from_secs(30);

/// Off without an endpoint.
pub(super) fn otlp(reader: Reader<'_>, follow: Follow) -> Option<Otlp> {
    let endpoint = reader.parsed("endpoint", http_url);
    let headers = named(reader.sections("header"), "name", |reader, name| {
        if let Err(error) = http::HeaderName::try_from(&name) {
            reader.report("name", error.to_string());
        }
        Some((name, secrets::required(reader, "value", follow)?))
    });
    let otlp = Otlp {
        endpoint: endpoint.clone().unwrap_or_default(),
        headers,
        service: reader.text("service").unwrap_or_else(|| SERVICE.to_owned()),
        traces: reader.flag("traces").unwrap_or(true),
        metrics: reader.flag("metrics").unwrap_or(true),
        every: reader.span("every", Duration::from_secs(1)..=Duration::from_secs(3600)).unwrap_or(EVERY),
        keep_success: reader.share("keep_success").unwrap_or(1.0),
    };
    if reader.has_keys() && !reader.is_given("endpoint") {
        reader.report("endpoint", "is missing: give the collector's address, as http://127.0.0.1:4318");
    }
    if endpoint.is_some() && !cfg!(feature = "otlp") {
        reader.report("endpoint", "cannot be used: this binary was built without the feature otlp");
    }
    reader.done();
    endpoint.map(|_| otlp)
}
