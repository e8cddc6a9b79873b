//! The console: server-rendered pages for operators and their JSON twins under `/api`.
//!
//! Promises: every page has a twin that says the same and more; nothing is shown or done without an admin token or a
//! session made from one; every write is in the timeline with the token's name before it happens; everything from
//! outside is escaped; the pages work without script, in the dark, on paper and on a telephone.
//! Refuses to know: SQL, HTTP to others, configuration, how the things it shows are decided.

mod action;
mod assets;
mod auth;
mod failure;
mod headers;
mod live;
mod login;
mod page;
mod pages;
mod ports;
mod route;
mod show;
mod svg;
#[cfg(test)]
mod tests;
mod tone;

use std::sync::Arc;

use axum::Router;

pub use auth::token::AdminTokens;
pub use ports::{
    Apps, Control, Dify, Explained, ImportError, ImportFile, ImportProblem, Imported, Ports, RouteAsk,
    RouteRefused, Routes, Simulation, Step,
};

pub(crate) use failure::Failure;

/// The pages, their twins, the actions, the way in, the assets and `/live`. Not `/health` and its kind, which need no
/// token: `server` puts them beside this.
pub fn router(ports: Ports) -> Router {
    route::router(App::new(ports))
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) attempts: auth::attempts::Attempts,
    pub(crate) ended: auth::session::Ended,
    pub(crate) live: live::Live,
    pub(crate) ports: Ports,
}

impl App {
    fn new(ports: Ports) -> App {
        App(Arc::new(Shared {
            attempts: auth::attempts::Attempts::default(),
            ended: auth::session::Ended::default(),
            live: live::Live::default(),
            ports,
        }))
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
