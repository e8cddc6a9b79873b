//! Against the real PostgreSQL that `cargo xtask test` starts (`TEST_DATABASE_URL`), and against peers on loopback that
//! are no PostgreSQL at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot reach its database should fail")]

mod facts;
mod fixture;
mod grants;
mod read;
mod reader;
mod schema;
