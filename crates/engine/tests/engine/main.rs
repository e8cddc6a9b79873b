//! The engine from outside: whole apps, checked and run.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;
mod nodes;
mod samples;
mod shapes;
mod walks;
