//! In the place of `otlp` in a binary that was built without it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_base::{Clock, Record, snapshot::Snapshot};
use tokio_util::sync::CancellationToken;

use crate::{config, insight::Insight, metrics::OtlpNow};

/// There is none: a configuration that wants one is refused.
#[derive(Clone)]
pub(crate) enum Otlp {}
pub(crate) enum Exporter {}

pub(crate) fn start(
    _: &config::Otlp,
    _: mainstay_net::Client,
    _: Arc<ArcSwap<Snapshot>>,
    _: Clock,
) -> Option<(Otlp, Exporter)> {
    None
}

impl Otlp {
    pub(crate) fn offer(&self, _: &Record) {
        match *self {}
    }

    pub(crate) fn now(&self) -> OtlpNow {
        match *self {}
    }
}

impl Exporter {
    pub(crate) async fn run(self, _: Arc<Insight>, _: CancellationToken) {
        match self {}
    }
}
