//! What a running instance can say about itself: health, readiness, metrics.

use std::{sync::Arc, time::Duration};

use mainstay_base::{Clock, Micros};
use mainstay_control::{Facade, Report, State};
use mainstay_gateway::Gateway;
use mainstay_store::Store;

use crate::{
    metrics::{Metrics, Now},
    publisher::Publisher,
    records::Unstored,
    supervisor::Supervisor,
};

/// A scrape does not wait longer for the store.
const ASK_STORE: Duration = Duration::from_secs(2);

/// What `/health`, `/readyz` and `/metrics` look at.
pub(crate) struct Insight {
    pub(crate) store: Store,
    pub(crate) facade: Option<Facade>,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) metrics: Metrics,
    pub(crate) unstored: Unstored,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) supervisor: Option<Supervisor>,
    pub(crate) clock: Clock,
    pub(crate) started_at: Micros,
}

impl Insight {
    /// Control's report; a process without control can only say that it serves.
    pub(crate) fn report(&self) -> Arc<Report> {
        if let Some(facade) = &self.facade {
            return facade.report();
        }
        let mut report = Report::unknown(self.clock.now());
        report.state = State::Ok;
        report.since = self.started_at;
        report.reason =
            "this process serves; components are judged by the processes that run control".to_owned();
        Arc::new(report)
    }

    pub(crate) fn is_ready(&self) -> Result<(), String> {
        let routes = self.publisher.generation() > 0;
        match &self.facade {
            _ if !routes => Err("no routes were published yet".to_owned()),
            Some(facade) if !facade.report().is_ready() => Err(facade.report().reason.clone()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        let queue = tokio::time::timeout(ASK_STORE, self.store.jobs().stats()).await;
        let slots = self.supervisor.as_ref().map(mainstay_control::Supervisor::list).unwrap_or_default();
        self.metrics.text(&Now {
            gateway: self.gateway.as_ref().map(Gateway::stats),
            records_unstored: self.unstored.count(),
            generation: self.publisher.generation(),
            queue: queue.ok().and_then(Result::ok),
            slots,
            report: self.facade.as_ref().map(Facade::report),
        })
    }
}
