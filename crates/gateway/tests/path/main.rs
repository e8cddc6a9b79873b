//! The real path against real peers on loopback.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should end")]

mod app;
mod durable;
mod hostile;
mod limits;
mod model;
mod records;
mod rig;
mod streams;
