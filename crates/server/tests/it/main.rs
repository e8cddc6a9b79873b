//! The binary from outside: real processes, real ports, real signals.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what goes wrong in a test's helper ends the test, and says why"
)]

mod alerting;
mod budgets;
mod check;
mod clients;
mod commands;
mod demo;
mod dependencies;
mod dify;
mod dify_health;
mod dify_lookers;
mod dify_metrics;
mod dify_world;
mod doctor;
mod incidents;
mod init;
mod kill;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod queue;
mod queue_feed;
mod reload;
mod reload_live;
mod reload_storm;
mod scenario;
mod serve;
mod simulate;
mod support;
