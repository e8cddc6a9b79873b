//! Peers for tests, all on loopback with a port of the system's choice: an HTTP server from a function, a raw TCP
//! script that can cut anywhere, a TCP proxy that can cut, freeze and slow down, a mail server, an authority for their
//! certificates, and an OpenAI-shaped model that echoes and fails on request.
//!
//! A dev-dependency only. Nothing here is careful about load: it is careful to fail exactly as told.
#![expect(clippy::expect_used, reason = "a test peer that cannot start should end the test")]

pub mod authority;
pub mod celery;
pub mod http_server;
pub mod model;
pub mod proxy;
pub mod raw;
pub mod smtp;
pub mod wait;

pub use authority::Authority;
pub use http_server::{HttpServer, Reply};
pub use wait::wait_until;
