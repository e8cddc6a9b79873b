//! One request to the collector, tried again as the specification of OTLP/HTTP says: after 429, 502, 503, 504 and broken
//! connections, and after nothing else.

use std::time::Duration;

use http::{Request, header};
use mainstay_base::{Secret, snapshot::Timeouts};
use mainstay_control::delivery::retry_after;
use mainstay_net::{AddressRule, Client};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use prost::Message;
use tracing::warn;

use crate::config;

/// After each failed try so long; then the batch is given up.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];
/// A collector that asks for more gets this much.
const MAX_PAUSE: Duration = Duration::from_secs(30);
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(10),
};
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const NAME: &str = "mainstay";

#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
        }
    }
}

pub(super) struct Collector {
    client: Client,
    endpoint: String,
    headers: Vec<(String, Secret)>,
    service: String,
    instance: String,
}

enum Tried {
    Taken,
    Again { why: String, after: Option<Duration> },
    Refused(String),
}

impl Collector {
    pub(super) fn new(config: &config::Otlp, client: Client) -> Collector {
        Collector {
            client,
            endpoint: config.endpoint.clone(),
            headers: config.headers.clone(),
            service: config.service.clone(),
            instance: mainstay_base::id::new(),
        }
    }

    /// Who tells.
    pub(super) fn resource(&self) -> Resource {
        let attributes = vec![
            text("service.name", &self.service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &self.instance),
        ];
        Resource { attributes, ..Resource::default() }
    }

    pub(super) fn scope() -> InstrumentationScope {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        InstrumentationScope { name: NAME.to_owned(), version, ..InstrumentationScope::default() }
    }

    /// `Err`: it was given up, and the log says why.
    pub(super) async fn send<M: Message>(&self, signal: Signal, message: &M) -> Result<(), ()> {
        let body = bytes::Bytes::from(message.encode_to_vec());
        let mut pauses = PAUSES.into_iter();
        loop {
            let (why, pause) = match self.attempt(signal, body.clone()).await {
                Tried::Taken => return Ok(()),
                Tried::Refused(why) => (why, None),
                Tried::Again { why, after } => {
                    (why, pauses.next().map(|pause| after.map_or(pause, |after| after.min(MAX_PAUSE))))
                }
            };
            let Some(pause) = pause else {
                warn!(endpoint = %self.endpoint, ?signal, "the OpenTelemetry collector did not take a batch: {why}");
                return Err(());
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, signal: Signal, body: bytes::Bytes) -> Tried {
        let request = match self.request(signal, body) {
            Ok(request) => request,
            Err(error) => return Tried::Refused(error.to_string()),
        };
        let response = match self.client.send(request, &TIMEOUTS, AddressRule::Any).await {
            Ok(response) => response,
            Err(error) => return Tried::Again { why: error.to_string(), after: None },
        };
        let status = response.status().as_u16();
        let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| retry_after(value, mainstay_base::Clock::System.now()));
        let _ = mainstay_net::collect(response.into_body(), MAX_ANSWER_BYTES).await;
        let why = format!("answered {status}");
        match status {
            200..=299 => Tried::Taken,
            429 | 502..=504 => Tried::Again { why, after },
            _ => Tried::Refused(why),
        }
    }

    fn request(
        &self,
        signal: Signal,
        body: bytes::Bytes,
    ) -> Result<Request<mainstay_net::Body>, http::Error> {
        let mut request = Request::post(format!("{}{}", self.endpoint, signal.path()))
            .header(header::CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &self.headers {
            request = request.header(name, value.expose());
        }
        request.body(mainstay_net::full(body))
    }
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(super) fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
