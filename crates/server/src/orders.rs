//! What a worker process is told: a line of JSON on its standard input, because it holds secrets and neither a command
//! line nor an environment keeps those. A line that comes later tells of other upstreams and apps; the rest of the first
//! one stays.

use std::time::Duration;

use mainstay_base::snapshot::Timeouts;
use serde::{Deserialize, Serialize};

use crate::config::Reach;

/// The longest line a worker reads.
pub(crate) const MAX_ORDERS_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    pub(crate) slot: u32,
    pub(crate) worker_id: String,
    pub(crate) host: String,
    pub(crate) store_url: String,
    pub(crate) concurrency: usize,
    pub(crate) lease_ms: u64,
    pub(crate) grace_ms: u64,
    pub(crate) run_timeout_ms: u64,
    pub(crate) model_url: String,
    pub(crate) model_key: String,
    pub(crate) http_request: Reach,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) upstream_apps: Vec<UpstreamApp>,
    pub(crate) log_json: bool,
    pub(crate) log_filter: String,
}

/// A real Dify, for runs of apps that live there.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) base_url: String,
    pub(crate) connect_ms: u64,
    pub(crate) first_byte_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) total_ms: u64,
}

/// An app of a real Dify.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamApp {
    pub(crate) app_id: String,
    pub(crate) key: String,
}

impl Orders {
    pub(crate) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    pub(crate) fn parse(line: &str) -> Result<Orders, serde_json::Error> {
        serde_json::from_str(line)
    }
}

impl Upstream {
    pub(crate) fn new(name: &str, base_url: &str, timeouts: &Timeouts) -> Upstream {
        let Timeouts { connect, first_byte, idle, total } = timeouts;
        Upstream {
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            connect_ms: millis(*connect),
            first_byte_ms: millis(*first_byte),
            idle_ms: millis(*idle),
            total_ms: millis(*total),
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: Duration::from_millis(self.connect_ms),
            first_byte: Duration::from_millis(self.first_byte_ms),
            idle: Duration::from_millis(self.idle_ms),
            total: Duration::from_millis(self.total_ms),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
