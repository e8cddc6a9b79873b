//! The engine and the embedded Dify, made the same way in the instance and in its workers.

use std::time::Duration;

use mainstay_base::{Clock, Secret};
use mainstay_engine::{Engine, Limits, ModelEndpoint};
use mainstay_net::Client;
use mainstay_standby::{Options, Ports, Standby, Upstream, Upstreams};
use mainstay_store::Store;

use crate::orders::{self, Orders};

/// Both, from the orders that workers get too.
pub(crate) fn build(orders: &Orders, store: &Store, client: &Client, clock: &Clock) -> (Engine, Standby) {
    let engine = Engine::new(mainstay_engine::Ports {
        client: client.clone(),
        model: ModelEndpoint {
            base_url: orders.model_url.clone(),
            key: Secret::new(orders.model_key.clone()),
        },
        http_rule: orders.http_request.rule(),
        limits: Limits { max_time: Duration::from_millis(orders.run_timeout_ms), ..Limits::default() },
        clock: clock.clone(),
    });
    let options = Options { upstreams: upstreams(orders), ..Options::default() };
    let ports =
        Ports { store: store.clone(), engine: engine.clone(), client: client.clone(), clock: clock.clone() };
    (engine, Standby::new(ports, options))
}

/// The real Difys of the orders: all that new orders change in a process that runs.
pub(crate) fn upstreams(orders: &Orders) -> Upstreams {
    let upstream = |known: &orders::Upstream| {
        let upstream = Upstream { base_url: known.base_url.clone(), timeouts: known.timeouts() };
        (known.name.clone(), upstream)
    };
    let key = |app: &orders::UpstreamApp| (app.app_id.clone(), Secret::new(app.key.clone()));
    Upstreams {
        by_name: orders.upstreams.iter().map(upstream).collect(),
        keys: orders.upstream_apps.iter().map(key).collect(),
    }
}
