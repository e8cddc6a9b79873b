//! The embedded Dify over a temporary store and a fake model.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod apps;
mod compat;
mod durable;
mod odd;
mod refusals;
mod sample;
mod stage;
