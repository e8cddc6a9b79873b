//! What running parts read when they need it, so that a reload changes it while they run: who is called, who is told,
//! what is kept, how many may connect, and which real Difys runs go to.
//!
//! Promises: everything is made before any of it is given out, so a value that cannot be made changes nothing.

use std::sync::Arc;

use mainstay_control::{Options, Peers};
use mainstay_gateway::ListenLimits;
use mainstay_standby::Standby;
use tokio::sync::watch;

use crate::{
    config::{Config, Problem},
    embedded,
    orders::Orders,
    wiring,
};

pub(crate) struct Live {
    peers: watch::Sender<Arc<Peers>>,
    options: watch::Sender<Arc<Options>>,
    listen: watch::Sender<ListenLimits>,
    /// What workers of this process are told.
    orders: watch::Sender<Arc<Orders>>,
    /// The embedded Dify of this process.
    standby: Standby,
}

/// The values of another configuration, ready to be given out.
pub(crate) struct Next {
    peers: Peers,
    options: Options,
    listen: ListenLimits,
    orders: Orders,
}

impl Live {
    pub(crate) fn new(config: &Config, orders: Orders, standby: Standby) -> Result<Live, Problem> {
        Ok(Live {
            peers: watch::Sender::new(Arc::new(wiring::peers(config))),
            options: watch::Sender::new(Arc::new(wiring::control_options(config)?)),
            listen: watch::Sender::new(wiring::listen_limits(config)),
            orders: watch::Sender::new(Arc::new(orders)),
            standby,
        })
    }

    pub(crate) fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.subscribe()
    }

    pub(crate) fn options(&self) -> watch::Receiver<Arc<Options>> {
        self.options.subscribe()
    }

    pub(crate) fn listen(&self) -> watch::Receiver<ListenLimits> {
        self.listen.subscribe()
    }

    pub(crate) fn orders(&self) -> watch::Receiver<Arc<Orders>> {
        self.orders.subscribe()
    }

    pub(crate) fn next(&self, config: &Config) -> Result<Next, Problem> {
        let mut options = wiring::control_options(config)?;
        if options.callback_key.is_none() {
            // What was accepted to be signed is not sent unsigned because the key was taken away.
            options.callback_key.clone_from(&self.options.borrow().callback_key);
        }
        let (upstreams, upstream_apps) = wiring::upstreams(config);
        let orders = Orders { upstreams, upstream_apps, ..self.orders.borrow().as_ref().clone() };
        Ok(Next { peers: wiring::peers(config), options, listen: wiring::listen_limits(config), orders })
    }

    /// Before the routes of the same configuration: what is routed to a new upstream finds it known.
    pub(crate) fn set(&self, next: Next) {
        let Next { peers, options, listen, orders } = next;
        self.standby.set_upstreams(embedded::upstreams(&orders));
        let orders = Arc::new(orders);
        self.orders.send_if_modified(|before| {
            let is_news = *before != orders;
            *before = orders;
            is_news
        });
        self.peers.send_replace(Arc::new(peers));
        self.options.send_replace(Arc::new(options));
        self.listen.send_replace(listen);
    }
}
