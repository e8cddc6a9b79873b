//! The addresses of an instance, bound before anything else so that a taken port is the first thing to be told.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::{cli::Role, config::Config, failure::Failure};

pub(super) struct Bound {
    pub(super) admin: TcpListener,
    pub(super) app: Option<TcpListener>,
    pub(super) model: Option<TcpListener>,
}

pub(super) async fn bind(config: &Config, role: Role) -> Result<Bound, Failure> {
    let listeners = &config.listeners;
    let routes = matches!(role, Role::All | Role::Gateway);
    Ok(Bound {
        admin: listen("admin", listeners.admin).await?,
        app: if routes { Some(listen("app", listeners.app).await?) } else { None },
        model: if routes { Some(listen("model", listeners.model).await?) } else { None },
    })
}

async fn listen(name: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::unreachable(
            format!("cannot listen on {address} for {name}"),
            error,
            format!(
                "free the port, or choose another with listeners.{name} or --{name} (port 0 takes a free one)"
            ),
        )
    })
}

pub(super) fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::problem("a listener has no address", error, ""))
}

pub(super) fn optional(listener: &Option<TcpListener>) -> Result<Option<SocketAddr>, Failure> {
    listener.as_ref().map(address).transpose()
}
