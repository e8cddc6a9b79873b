//! The embedded Dify over a temporary store and a fake model.

mod apps;
mod compat;
mod durable;
mod refusals;
mod sample;
mod stage;
