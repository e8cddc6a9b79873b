//! The real path against real peers on loopback.

mod app;
mod durable;
mod limits;
mod model;
mod records;
mod rig;
mod streams;
