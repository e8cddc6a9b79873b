//! What workers publish of themselves.

use serde::Deserialize;

use super::message::{Broken, Raw, read};

/// One published event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Every 2 s unless a worker was told otherwise.
    Heartbeat(Heartbeat),
    Online {
        worker: String,
    },
    Offline {
        worker: String,
    },
    /// Of another type; the type.
    Other(String),
}

/// How a worker is, by its own word.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// `celery@host`.
    pub worker: String,
    pub pid: Option<u32>,
    /// Seconds between heartbeats.
    pub every_s: f64,
    /// Tasks that run now.
    pub active: u64,
    /// Tasks since the worker's start.
    pub processed: u64,
    /// Of its machine: over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Unix seconds by the worker's clock.
    pub timestamp: f64,
}

impl Event {
    pub fn parse(bytes: &[u8]) -> Result<Event, Broken> {
        let raw: Raw = read(bytes)?;
        let body: Body = serde_json::from_slice(&raw.body_bytes()?)
            .map_err(|error| Broken::Body(format!("no event: {error}")))?;
        let worker = || body.hostname.clone().ok_or(Broken::Without("hostname"));
        Ok(match body.kind.as_str() {
            "worker-heartbeat" => Event::Heartbeat(Heartbeat {
                worker: worker()?,
                pid: body.pid,
                every_s: body.freq.filter(|every_s| every_s.is_finite() && *every_s > 0.0).unwrap_or(2.0),
                active: body.active.unwrap_or(0),
                processed: body.processed.unwrap_or(0),
                load: body.loadavg,
                timestamp: body.timestamp.unwrap_or(0.0),
            }),
            "worker-online" => Event::Online { worker: worker()? },
            "worker-offline" => Event::Offline { worker: worker()? },
            _ => Event::Other(body.kind),
        })
    }
}

#[derive(Debug, Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    hostname: Option<String>,
    pid: Option<u32>,
    freq: Option<f64>,
    active: Option<u64>,
    processed: Option<u64>,
    loadavg: Option<[f64; 3]>,
    timestamp: Option<f64>,
}
