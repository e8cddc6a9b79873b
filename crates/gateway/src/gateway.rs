//! The gateway as the server sees it: ports in, two handlers out.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use mainstay_base::{Clock, Snapshot, Standing, record::Path};
use mainstay_net::{Body, BodyError};

use crate::{
    limits::Limits,
    path::{
        self,
        drain::Drains,
        execute::model::plan::{self, Needs, RouteExplained},
        policy::Ledger,
        share::Shares,
    },
    ports::{Allowance, Durable, Embedded},
    records::RecordSender,
    targets::Targets,
};

/// What the gateway is given.
pub struct Ports {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub client: mainstay_net::Client,
    pub embedded: Option<Arc<dyn Embedded>>,
    pub durable: Option<Arc<dyn Durable>>,
    /// Who keeps the money of virtual keys. `None`: budgets are counted in this process alone.
    pub allowance: Option<Arc<dyn Allowance>>,
    pub records: RecordSender,
    pub clock: Clock,
    pub limits: Limits,
}

/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) ports: Ports,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) targets: Targets,
    pub(crate) drains: Arc<Drains>,
    pub(crate) shares: Arc<Shares>,
}

/// Counts since the start, and what is open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Permits that are out.
    pub in_flight: usize,
    pub admitted: u64,
    /// Permits settled from a complete answer.
    pub settled: u64,
    /// Permits settled from what was streamed so far, because the exchange ended early.
    pub settled_early: u64,
    /// Streams that are read on without a caller.
    pub draining: usize,
    pub records_lost: u64,
}

impl Gateway {
    pub fn new(ports: Ports) -> Gateway {
        let ledger = Arc::new(Ledger::new(&ports));
        let targets = Targets::new(&ports.clock);
        let (drains, shares) = (Arc::new(Drains::new()), Arc::default());
        Gateway { inner: Arc::new(Inner { ports, ledger, targets, drains, shares }) }
    }

    /// Answers one request of the app path: Dify's Service API. `peer` is what upstreams are told of the caller.
    pub async fn app<B>(&self, request: Request<B>, peer: Option<IpAddr>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        path::serve(self, Path::App, peer, request.map(mainstay_net::boxed)).await
    }

    /// Answers one request of the model path: an OpenAI-shaped API.
    pub async fn model<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        path::serve(self, Path::Model, None, request.map(mainstay_net::boxed)).await
    }

    pub fn stats(&self) -> Stats {
        let draining = self.inner.drains.under_way();
        Stats { draining, records_lost: self.ports().records.lost(), ..self.inner.ledger.stats() }
    }

    /// Where a call of this model would go now, and why; nothing is sent. `None`: nobody serves the model.
    pub fn route(&self, model: &str, key: Option<&str>, needs: &Needs) -> Option<RouteExplained> {
        plan::explained(self, model, key, needs)
    }

    /// How the targets of models stand now, as this process sees them. What is not configured any more is forgotten here,
    /// so this is to be asked now and then.
    pub fn standing(&self) -> Standing {
        let snapshot = self.ports().snapshot.load_full();
        self.inner.ledger.follow(&snapshot);
        self.targets().standing(&snapshot)
    }

    pub(crate) fn targets(&self) -> &Targets {
        &self.inner.targets
    }

    /// Waits for the streams that are read on without a caller, for so long at most. For the end of the process, after
    /// the listeners.
    pub async fn finish(&self, grace: Duration) {
        self.inner.drains.finish(grace).await;
    }

    pub(crate) fn drains(&self) -> &Arc<Drains> {
        &self.inner.drains
    }

    pub(crate) fn shares(&self) -> &Arc<Shares> {
        &self.inner.shares
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }
}
