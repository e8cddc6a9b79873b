//! `mainstay demo`: everything on this machine, with traffic to look at and faults to inject.

mod model;
mod provider;
mod receiver;
pub(crate) mod scenario;
