//! The real path against real peers on loopback.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should end")]

mod admission;
mod app;
mod call;
mod durable;
mod failover;
mod forwarding;
mod hostile;
mod leaks;
mod limits;
mod matrix;
mod model;
mod records;
mod rig;
mod smuggling;
mod stream;
mod streams;
mod writes;
