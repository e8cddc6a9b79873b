//! The contract of the store, held on SQLite always and on PostgreSQL when `TEST_DATABASE_URL` names one.

#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

mod alerting;
mod apps;
mod chats;
mod dify;
mod fixture;
mod idempotency;
mod models;
mod operations;
mod queue;
mod runs;
mod schedule;
mod schema;
mod sharing;
mod slo;
mod timeline;
