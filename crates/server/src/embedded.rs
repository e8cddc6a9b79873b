//! The engine and the embedded Dify, made the same way in the instance and in its workers.

use std::time::Duration;

use mainstay_base::{Clock, Secret};
use mainstay_engine::{Engine, Limits, ModelEndpoint};
use mainstay_net::Client;
use mainstay_standby::{Options, Ports, Standby, Upstream};
use mainstay_store::Store;

use crate::orders::Orders;

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
    let mut options = Options::default();
    for upstream in &orders.upstreams {
        let known = Upstream { base_url: upstream.base_url.clone(), timeouts: upstream.timeouts() };
        options.upstreams.insert(upstream.name.clone(), known);
    }
    for app in &orders.upstream_apps {
        options.upstream_keys.insert(app.app_id.clone(), Secret::new(app.key.clone()));
    }
    let ports =
        Ports { store: store.clone(), engine: engine.clone(), client: client.clone(), clock: clock.clone() };
    (engine, Standby::new(ports, options))
}
